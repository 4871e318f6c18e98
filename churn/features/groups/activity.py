"""How much and how often: each week, the trend, the whole life with the product."""

from collections.abc import Iterator

from churn.config.settings import Product
from churn.core.calendar import LAST_OBSERVED_OFFSET, OBSERVED_OFFSETS
from churn.features import phrases
from churn.features.feature import ANY, DOUBLE, FLAG, INTEGER, SHARE, Feature, Range, maker


def _week(offset: int) -> str:
    back = offset - LAST_OBSERVED_OFFSET
    if back == 0:
        return "in the last observed week"
    return f"{'a week' if back == 1 else f'{back} weeks'} before the last observed week"


def activity(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    feature = maker("activity", "features_activity", phrases.activity(product), 1)
    unit, stuff, plays = product.value_unit, phrases.stuff(product), phrases.events(product)
    for offset in OBSERVED_OFFSETS:
        yield feature(f"value_w{offset}", DOUBLE, unit, f"{stuff} {_week(offset)}")
        yield feature(f"events_w{offset}", INTEGER, plays, f"{plays} {_week(offset)}")
        yield feature(f"days_w{offset}", INTEGER, "days", f"active days {_week(offset)}", Range(0, 7))
    yield feature("value_13w", DOUBLE, unit, f"{stuff} in 13 weeks")
    yield feature("events_13w", INTEGER, plays, f"{plays} in 13 weeks")
    yield feature("days_13w", INTEGER, "days", "active days in 13 weeks", Range(1, 91))
    yield feature("active_weeks_13w", INTEGER, "weeks", "active weeks of the last 13", Range(1, 13))
    yield feature("value_4w", DOUBLE, unit, f"{stuff} in 4 weeks")
    yield feature("days_4w", INTEGER, "days", "active days in 4 weeks", Range(0, 28))
    yield feature("active_weeks_4w", INTEGER, "weeks", "active weeks of the last 4", Range(0, 4))
    yield feature(
        "habit_days",
        DOUBLE,
        "days",
        "active days of 13 weeks, each week back counting for 0.7 of the week after it",
    )
    yield feature(
        "value_last_to_mean",
        DOUBLE,
        "ratio",
        f"{stuff} of the last week, relative to the usual week",
        Range(0, 13),
    )
    yield feature(
        "days_last_to_mean",
        DOUBLE,
        "ratio",
        "active days of the last week, relative to the usual week",
        Range(0, 13),
    )


def page_views(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    feature = maker("page views", "features_activity", phrases.page_views(product), 1)
    event = phrases.events(product).removesuffix("s")
    yield feature("page_views_1w", INTEGER, "pages", "page views in the last observed week")
    yield feature("page_views_13w", INTEGER, "pages", "page views in 13 weeks")
    yield feature(
        "page_views_per_event",
        DOUBLE,
        f"pages a {event}",
        "page views for each event in 13 weeks",
    )


def trend(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    feature = maker("trend", "features_trend", phrases.trend(product), 1)
    plays = phrases.events(product)
    yield feature("events_slope", DOUBLE, f"{plays} a week", f"change of weekly {plays}, week by week", ANY)
    yield feature("events_intercept", DOUBLE, plays, f"weekly {plays} at the start of the trend line", ANY)
    yield feature(
        "events_zero_week", DOUBLE, "weeks", f"week in which the trend of {plays} reaches zero", ANY
    )
    yield feature("events_falling", INTEGER, "flag", f"whether weekly {plays} are falling", FLAG)
    yield feature("days_slope", DOUBLE, "days a week", "change of active days, week by week", ANY)
    yield feature("days_deviation", DOUBLE, "days", "how much active days vary from week to week")


def lifetime(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    feature = maker("lifetime", "features_lifetime", phrases.lifetime(product))
    unit, stuff, plays = product.value_unit, phrases.stuff(product), phrases.events(product)
    yield feature("tenure_days", INTEGER, "days", "days since first seen")
    yield feature("days_since_last", INTEGER, "days", "days since last active")
    yield feature("lifetime_active_weeks", INTEGER, "weeks", "active weeks since first seen")
    yield feature("lifetime_active_rate", DOUBLE, "share", "share of active weeks since first seen", SHARE)
    yield feature("lifetime_days", INTEGER, "days", "active days since first seen")
    yield feature("lifetime_events", INTEGER, plays, f"{plays} since first seen")
    yield feature("lifetime_value", DOUBLE, unit, f"{stuff} since first seen")
    yield feature(
        "lifetime_days_per_week", DOUBLE, "days a week", "active days a week since first seen", Range(0, 7)
    )
    yield feature("days_between_visits", DOUBLE, "days", "usual days between two active days")
    yield feature(
        "days_since_last_to_usual", DOUBLE, "ratio", "days since last active, relative to the usual gap"
    )
    yield feature("longest_gap_weeks", INTEGER, "weeks", "longest time away, in weeks")
    yield feature("gaps", INTEGER, "gaps", "times away for a week or more")
    yield feature("streak_weeks", INTEGER, "weeks", "weeks in a row with activity")
    yield feature(
        "gap_variation",
        DOUBLE,
        "share",
        "how much the time between active weeks varies, as a share of its mean",
    )
