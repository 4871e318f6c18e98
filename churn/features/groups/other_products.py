"""Use of other products."""

from collections.abc import Iterator

from churn.config.settings import Product
from churn.features.feature import Feature, Group, Range
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
