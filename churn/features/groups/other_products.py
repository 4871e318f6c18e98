"""Use of other products."""

from collections.abc import Iterator

from churn.config.settings import Product
from churn.features.feature import ANY, Feature, Group, Range
from churn.features.phrases import LAST_WEEK, MONEY, SPAN_AGO, TIMES_OF_USE, WINDOW, value_noun


def other_products(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    group = Group("other products", "features_other")
    unit, value = product.value_unit, value_noun(product)
    amount = (
        "spent {only}{value} on other products"
        if unit in MONEY
        else "{only}{value} with other products"
        if unit in TIMES_OF_USE
        else "{only}{value} of other products"
    )
    unused = "other products not used"
    for (span, when, within), days in ((LAST_WEEK, 7), (WINDOW, 91)):
        yield group.count(
            f"other_days_{span}", "days", f"days with use of other products {within}", Range(0, days)
        ).says(f"other products used on {{only}}{{value}} {when}", f"{unused} {when}")
        yield group.number(f"other_value_{span}", unit, f"{value} of other products {within}").says(
            f"{amount} {when}", f"{unused} {when}"
        )
    yield group.count(
        "other_weeks_13w", "weeks", "weeks of the last 13 with use of other products", Range(0, 13)
    ).says("other products used in {only}{value:number} of the last 13 weeks", f"{unused} in 13 weeks")
    yield group.count("other_products_13w", "products", "other products used in 13 weeks").says(
        "{only}{value} used beside this one in 13 weeks", f"{unused} in 13 weeks"
    )
    yield group.share("own_share_13w", f"share of all {value} that is this product's").says(
        "{only}{value} of all use is of this product", "", "no use of any product in 13 weeks"
    )
    yield group.count(
        "other_days_since_last", "days", "days since another product was used, in 13 weeks"
    ).says(
        "other products last used {value:span} ago",
        "other products used on the last day",
        "other products never used",
        tail=SPAN_AGO,
    )
    yield from _trend()


def _trend() -> Iterator[Feature]:
    group = Group("other products", "features_other_use", 12)
    unused, events = "other products not used in 13 weeks", "events"
    what = "weekly events of other products"
    steady = f"{what} neither rising nor falling"
    yield (
        group.number("other_events_slope", f"{events} a week", f"change of {what}, week by week", ANY)
        .says(f"{what} {{value:trend}}", steady, unused, compared=False)
        .reported_as(f"trend of {what}")
    )
    yield group.number("other_events_intercept", events, f"{what} at the start of the trend line", ANY).says(
        f"trend of {what} began 13 weeks ago at {{value:number}}", missing=unused
    )
    yield group.number(
        "other_events_zero_week", "weeks", f"week in which the trend line of {what} reaches zero", ANY
    ).says(f"trend of {what} reaching zero in week {{value:number}}", missing=unused, compared=False)
    yield group.flag("other_events_falling", f"{what} falling").says(
        f"{what} falling", f"{what} not falling", unused
    )


def other_devices(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    group = Group("devices of other products", "features_other_use", 12)
    unused = "other products not played in 13 weeks"
    yield group.count(
        "other_devices_used",
        "kinds of device",
        "kinds of device used for other products in 13 weeks",
        Range(0, max(1, len(product.devices))),
    ).says("other products on {only}{value} in 13 weeks", unused, unused)
    yield group.text(
        "other_preferred_device", "kind of device with most use of other products in 13 weeks"
    ).says("other products mostly on {value}", "", unused, compared=False)


def other_favourite(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    group = Group("favourite of other products", "features_other_favourite", 12)
    what = "the favourite programme of other products"
    unused = "no programme of other products in 13 weeks"
    for column, word in (("genre", "genre"), ("master_brand", "station")):
        yield group.text(f"other_favourite_{column}", f"{word} of {what} in 13 weeks").says(
            f"{word} of {what}: {{value}}", missing=f"{word} of {what} not known", compared=False
        )
    yield group.share("other_favourite_share", f"share of other products' value in {what}").says(
        f"{{only}}{{value}} of other use in {what}", "", unused
    )
