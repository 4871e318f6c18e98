"""How much and how often users come: each week, the trend, the whole life with the product."""

from collections.abc import Iterator

from churn.config.settings import Product
from churn.core.calendar import LAST_OBSERVED_OFFSET, OBSERVED_OFFSETS
from churn.features.feature import ANY, DOUBLE, FLAG, INTEGER, SHARE, Feature, Range, maker
from churn.features.phrases import amount, escape, event_noun, say, value_noun, verb

# habit_days divided by the sum of its weights, 1 + 0.7 + ... + 0.7 ** 12, is days a week.
_HABIT_WEEKS = sum(0.7**week for week in range(len(OBSERVED_OFFSETS)))


def _meaning(offset: int) -> str:
    back = offset - LAST_OBSERVED_OFFSET
    if back == 0:
        return "in the last observed week"
    return f"{'a week' if back == 1 else f'{back} weeks'} before the last observed week"


def _when(offset: int) -> str:
    back = offset - LAST_OBSERVED_OFFSET
    return ("last week", "the week before last")[back] if back < 2 else f"{back + 1} weeks ago"


def activity(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    feature = maker("activity", "features_activity", 1)
    unit, value, plays = product.value_unit, value_noun(product), event_noun(product)
    did, spent, no_value = verb(product), amount(product), f"no {escape(value)}"
    for offset in OBSERVED_OFFSETS:
        week, when = _meaning(offset), _when(offset)
        yield feature(f"value_w{offset}", DOUBLE, unit, f"{value} {week}").with_phrases(
            say(f"{spent} {when}", f"{no_value} {when}", usual="value_13w / active_weeks_13w")
        )
        yield feature(f"events_w{offset}", INTEGER, plays, f"{plays} {week}").with_phrases(
            say(f"{{only}}{{value}} {when}", f"no {plays} {when}", usual="events_13w / active_weeks_13w")
        )
        yield feature(f"days_w{offset}", INTEGER, "days", f"active days {week}", Range(0, 7)).with_phrases(
            say(
                f"{did} on {{only}}{{value}} {when}",
                f"not active {when}",
                usual="days_13w / active_weeks_13w",
            )
        )
    inactive = "not active in 13 weeks"
    yield feature("value_13w", DOUBLE, unit, f"{value} in 13 weeks").with_phrases(
        say(f"{spent} in 13 weeks", f"{no_value} in 13 weeks")
    )
    yield feature("events_13w", INTEGER, plays, f"{plays} in 13 weeks").with_phrases(
        say("{only}{value} in 13 weeks", f"no {plays} in 13 weeks")
    )
    yield feature("days_13w", INTEGER, "days", "active days in 13 weeks", Range(1, 91)).with_phrases(
        say(f"{did} on {{only}}{{value}} in 13 weeks", inactive)
    )
    yield feature(
        "active_weeks_13w", INTEGER, "weeks", "active weeks of the last 13", Range(1, 13)
    ).with_phrases(say("active in {only}{value:number} of the last 13 weeks", inactive))
    yield feature("value_4w", DOUBLE, unit, f"{value} in 4 weeks").with_phrases(
        say(f"{spent} in 4 weeks", f"{no_value} in 4 weeks")
    )
    yield feature("days_4w", INTEGER, "days", "active days in 4 weeks", Range(0, 28)).with_phrases(
        say(f"{did} on {{only}}{{value}} in 4 weeks", "not active in 4 weeks")
    )
    yield feature(
        "active_weeks_4w", INTEGER, "weeks", "active weeks of the last 4", Range(0, 4)
    ).with_phrases(say("active in {only}{value:number} of the last 4 weeks", "not active in 4 weeks"))
    yield feature(
        "habit_days",
        DOUBLE,
        "days",
        "active days of 13 weeks, each week back counting for 0.7 of the week after it",
    ).with_phrases(say(f"{did} on {{only}}{{value:/{_HABIT_WEEKS:.4f}}} a week lately", "not active lately"))
    average = "{value:ratio} the average of 13 weeks"
    yield feature(
        "value_last_to_mean",
        DOUBLE,
        "ratio",
        f"{value} of the last week, relative to the usual week",
        Range(0, 13),
    ).with_phrases(
        say(
            f"{escape(value)} last week {average}",
            f"{no_value} last week",
            f"{no_value} in 13 weeks",
            compared=False,
        )
    )
    yield feature(
        "days_last_to_mean",
        DOUBLE,
        "ratio",
        "active days of the last week, relative to the usual week",
        Range(0, 13),
    ).with_phrases(say(f"active days last week {average}", "not active last week", inactive, compared=False))


def page_views(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    feature = maker("page views", "features_activity", 1)
    yield feature("page_views_1w", INTEGER, "pages", "page views in the last observed week").with_phrases(
        say("{only}{value} viewed last week", "no pages viewed last week")
    )
    yield feature("page_views_13w", INTEGER, "pages", "page views in 13 weeks").with_phrases(
        say("{only}{value} viewed in 13 weeks", "no pages viewed in 13 weeks")
    )
    yield feature(
        "page_views_per_event",
        DOUBLE,
        f"pages a {event_noun(product).removesuffix('s')}",
        "page views for each event in 13 weeks",
    ).with_phrases(say("{value} in 13 weeks", "no pages viewed in 13 weeks"))


def trend(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    feature = maker("trend", "features_trend", 1)
    plays = event_noun(product)
    steady = f"weekly {plays} neither rising nor falling"
    yield feature(
        "events_slope", DOUBLE, f"{plays} a week", f"change of weekly {plays}, week by week", ANY
    ).with_phrases(say(f"weekly {plays} {{value:trend}}", steady, steady, compared=False))
    yield feature(
        "events_intercept", DOUBLE, plays, f"weekly {plays} at the start of the trend line", ANY
    ).with_phrases(say(f"trend of weekly {plays} began 13 weeks ago at {{value:number}}"))
    yield feature(
        "events_zero_week", DOUBLE, "weeks", f"week in which the trend of {plays} reaches zero", ANY
    ).with_phrases(say(f"trend of weekly {plays} {{value:crossing}}", "", steady, compared=False))
    yield feature(
        "events_falling", INTEGER, "flag", f"whether weekly {plays} are falling", FLAG
    ).with_phrases(say(f"weekly {plays} falling", f"weekly {plays} not falling", compared=False))
    yield feature(
        "days_slope", DOUBLE, "days a week", "change of active days, week by week", ANY
    ).with_phrases(
        say(
            "active days a week {value:trend}",
            "active days a week neither rising nor falling",
            compared=False,
        )
    )
    yield feature(
        "days_deviation", DOUBLE, "days", "how much active days vary from week to week"
    ).with_phrases(
        say("active days varying by {value:number} from week to week", "as many active days in every week")
    )


def lifetime(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    feature = maker("lifetime", "features_lifetime")
    unit, value, plays, did = product.value_unit, value_noun(product), event_noun(product), verb(product)
    since, once = "since first seen", "active on a single day so far"
    yield feature("tenure_days", INTEGER, "days", "days since first seen").with_phrases(
        say(
            "first seen {only}{value:span} ago",
            "first seen on the last day",
            tail=", typically {usual:span} ago",
        )
    )
    yield feature("days_since_last", INTEGER, "days", "days since last active").with_phrases(
        say(
            "last active {value} ago",
            "active on the last day",
            usual="days_between_visits",
            tail=", usually {usual:every}",
        )
    )
    yield feature("lifetime_active_weeks", INTEGER, "weeks", "active weeks since first seen").with_phrases(
        say(f"active in {{only}}{{value}} {since}", f"not active {since}")
    )
    yield feature(
        "lifetime_active_rate", DOUBLE, "share", "share of active weeks since first seen", SHARE
    ).with_phrases(say(f"active in {{only}}{{value}} of the weeks {since}", f"not active {since}"))
    yield feature("lifetime_days", INTEGER, "days", "active days since first seen").with_phrases(
        say(f"{did} on {{only}}{{value}} {since}", f"not active {since}")
    )
    yield feature("lifetime_events", INTEGER, plays, f"{plays} since first seen").with_phrases(
        say(f"{{only}}{{value}} {since}", f"no {plays} {since}")
    )
    yield feature("lifetime_value", DOUBLE, unit, f"{value} since first seen").with_phrases(
        say(f"{amount(product)} {since}", f"no {escape(value)} {since}")
    )
    yield feature(
        "lifetime_days_per_week", DOUBLE, "days a week", "active days a week since first seen", Range(0, 7)
    ).with_phrases(say(f"{did} on {{only}}{{value}} {since}", f"not active {since}"))
    yield feature("days_between_visits", DOUBLE, "days", "usual days between two active days").with_phrases(
        say("active {value:every} as a rule", "", once)
    )
    yield feature(
        "days_since_last_to_usual", DOUBLE, "ratio", "days since last active, relative to the usual gap"
    ).with_phrases(
        say(
            "time since last active {value:ratio} the usual gap",
            "active on the last day",
            once,
            compared=False,
        )
    )
    yield feature("longest_gap_weeks", INTEGER, "weeks", "longest time away, in weeks").with_phrases(
        say("away for {value} at the longest", "never away for a whole week")
    )
    yield feature("gaps", INTEGER, "gaps", "times away for a week or more").with_phrases(
        say("away {value:times} for a week or more", "never away for a week or more")
    )
    yield feature("streak_weeks", INTEGER, "weeks", "weeks in a row with activity").with_phrases(
        say("active for {only}{value} in a row", "not active last week")
    )
    yield feature(
        "gap_variation",
        DOUBLE,
        "share",
        "how much the time between active weeks varies, as a share of its mean",
    ).with_phrases(
        say(
            "time between active weeks varying by {value} of its mean",
            "always the same time between active weeks",
            "fewer than three active weeks so far",
        )
    )
