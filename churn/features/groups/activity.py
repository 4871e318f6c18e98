"""How much and how often users come: each week, the trend, the whole life with the product."""

from collections.abc import Iterator

from churn.config.settings import Product
from churn.core.calendar import LAST_OBSERVED_OFFSET, OBSERVED_OFFSETS
from churn.features.feature import ANY, Feature, Group, Range
from churn.features.phrases import LAST_WEEK, SPAN_AGO, WINDOW, amount, escape, event_noun, value_noun, verb

# habit_days divided by the sum of its weights, 1 + 0.7 + ... + 0.7 ** 12, is days a week.
_HABIT_WEEKS = sum(0.7**week for week in range(len(OBSERVED_OFFSETS)))


def _weeks_back(offset: int) -> tuple[str, str]:
    """Return a week in words, for a feature's meaning and for a reason."""
    back = offset - LAST_OBSERVED_OFFSET
    if back == 0:
        return "in the last observed week", "last week"
    if back == 1:
        return "a week before the last observed week", "the week before last"
    return f"{back} weeks before the last observed week", f"{back + 1} weeks ago"


def activity(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    group = Group("activity", "features_activity", 1)
    unit, value, events = product.value_unit, value_noun(product), event_noun(product)
    did, spent, no_value = verb(product), amount(product), f"no {escape(value)}"
    usual = "{}_13w / active_weeks_13w"
    for offset in OBSERVED_OFFSETS:
        week, when = _weeks_back(offset)
        yield group.number(f"value_w{offset}", unit, f"{value} {week}").says(
            f"{spent} {when}", f"{no_value} {when}", usual=usual.format("value")
        )
        yield group.count(f"events_w{offset}", events, f"{events} {week}").says(
            f"{{only}}{{value}} {when}", f"no {events} {when}", usual=usual.format("events")
        )
        yield group.count(f"days_w{offset}", "days", f"active days {week}", Range(0, 7)).says(
            f"{did} on {{only}}{{value}} {when}", f"not active {when}", usual=usual.format("days")
        )
    for weeks, least in ((13, 1), (4, 0)):
        span, inactive = f"in {weeks} weeks", f"not active in {weeks} weeks"
        yield group.number(f"value_{weeks}w", unit, f"{value} {span}").says(
            f"{spent} {span}", f"{no_value} {span}"
        )
        if weeks == 13:
            yield group.count("events_13w", events, f"{events} {span}").says(
                f"{{only}}{{value}} {span}", f"no {events} {span}"
            )
        yield group.count(f"days_{weeks}w", "days", f"active days {span}", Range(least, 7 * weeks)).says(
            f"{did} on {{only}}{{value}} {span}", inactive
        )
        meaning = f"active weeks of the last {weeks}"
        yield group.count(f"active_weeks_{weeks}w", "weeks", meaning, Range(least, weeks)).says(
            f"active in {{only}}{{value:number}} of the last {weeks} weeks", inactive
        )
    yield (
        group.number(
            "habit_days",
            "days",
            "active days of 13 weeks, each week back counting for 0.7 of the week after it",
        )
        .says(f"{did} on {{only}}{{value:/{_HABIT_WEEKS:.4f}}} a week lately", "not active lately")
        .reported_as("active days a week lately")
    )
    average = "last week {value:ratio} the average of 13 weeks"
    for name, what, zero in (("value", value, no_value), ("days", "active days", "not active")):
        meaning = f"{what} of the last week, relative to the usual week"
        yield (
            group.number(f"{name}_last_to_mean", "ratio", meaning, Range(0, 13))
            .says(f"{escape(what)} {average}", f"{zero} last week", f"{zero} in 13 weeks", compared=False)
            .reported_as(f"{what} last week, compared with the usual week")
        )


def page_views(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    group = Group("page views", "features_activity", 1)
    event = event_noun(product).removesuffix("s")
    for span, when, within in (LAST_WEEK, WINDOW):
        yield group.count(f"page_views_{span}", "pages", f"page views {within}").says(
            f"{{only}}{{value}} viewed {when}", f"no pages viewed {when}"
        )
    yield (
        group.number("page_views_per_event", f"pages a {event}", "page views for each event in 13 weeks")
        .says("{value} in 13 weeks", "no pages viewed in 13 weeks")
        .reported_as(f"page views for each {event}")
    )


def trend(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    group = Group("trend", "features_trend", 1)
    events = event_noun(product)
    steady = f"weekly {events} neither rising nor falling"
    yield (
        group.number("events_slope", f"{events} a week", f"change of weekly {events}, week by week", ANY)
        .says(f"weekly {events} {{value:trend}}", steady, steady, compared=False)
        .reported_as(f"trend of weekly {events}")
    )
    yield (
        group.number("events_intercept", events, f"weekly {events} at the start of the trend line", ANY)
        .says(f"trend of weekly {events} began 13 weeks ago at {{value:number}}")
        .reported_as(f"weekly {events} 13 weeks ago, by the trend")
    )
    yield (
        group.number("events_zero_week", "weeks", f"week in which the trend of {events} reaches zero", ANY)
        .says(f"trend of weekly {events} {{value:crossing}}", "", steady, compared=False)
        .reported_as(f"weeks until weekly {events} reach zero, by the trend")
    )
    yield group.flag("events_falling", f"whether weekly {events} are falling").says(
        f"weekly {events} falling", f"weekly {events} not falling", compared=False
    )
    yield (
        group.number("days_slope", "days a week", "change of active days, week by week", ANY)
        .says(
            "active days a week {value:trend}",
            "active days a week neither rising nor falling",
            compared=False,
        )
        .reported_as("trend of active days a week")
    )
    yield group.number("days_deviation", "days", "how much active days vary from week to week").says(
        "active days varying by {value:number} from week to week", "as many active days in every week"
    )


def lifetime(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    group = Group("lifetime", "features_lifetime")
    unit, value, events, did = product.value_unit, value_noun(product), event_noun(product), verb(product)
    since, once = "since first seen", "active on a single day so far"
    yield group.count("tenure_days", "days", "days since first seen").says(
        "first seen {only}{value:span} ago", "first seen on the last day", tail=SPAN_AGO
    )
    yield group.count("days_since_last", "days", "days since last active").says(
        "last active {value} ago",
        "active on the last day",
        usual="days_between_visits",
        tail=", usually {usual:every}",
    )
    yield group.count("lifetime_active_weeks", "weeks", "active weeks since first seen").says(
        f"active in {{only}}{{value}} {since}", f"not active {since}"
    )
    yield group.share("lifetime_active_rate", "share of active weeks since first seen").says(
        f"active in {{only}}{{value}} of the weeks {since}", f"not active {since}"
    )
    yield group.count("lifetime_days", "days", "active days since first seen").says(
        f"{did} on {{only}}{{value}} {since}", f"not active {since}"
    )
    yield group.count("lifetime_events", events, f"{events} since first seen").says(
        f"{{only}}{{value}} {since}", f"no {events} {since}"
    )
    yield group.number("lifetime_value", unit, f"{value} since first seen").says(
        f"{amount(product)} {since}", f"no {escape(value)} {since}"
    )
    yield group.number(
        "lifetime_days_per_week", "days a week", "active days a week since first seen", Range(0, 7)
    ).says(f"{did} on {{only}}{{value}} {since}", f"not active {since}")
    yield group.number("days_between_visits", "days", "usual days between two active days").says(
        "active {value:every} as a rule", "", once
    )
    yield (
        group.number("days_since_last_to_usual", "ratio", "days since last active, relative to the usual gap")
        .says(
            "time since last active {value:ratio} the usual gap",
            "active on the last day",
            once,
            compared=False,
        )
        .reported_as("time since last active, compared with the usual gap")
    )
    yield group.count("longest_gap_weeks", "weeks", "longest time away, in weeks").says(
        "away for {value} at the longest", "never away for a whole week"
    )
    yield group.count("gaps", "gaps", "times away for a week or more").says(
        "away {value:times} for a week or more", "never away for a week or more"
    )
    yield group.count("streak_weeks", "weeks", "weeks in a row with activity").says(
        "active for {only}{value} in a row", "not active last week"
    )
    yield (
        group.number(
            "gap_variation", "share", "how much the time between active weeks varies, as a share of its mean"
        )
        .says(
            "time between active weeks varying by {value} of its mean",
            "always the same time between active weeks",
            "fewer than three active weeks so far",
        )
        .reported_as("how irregular the time between active weeks is")
    )


def memory(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    group = Group("long memory", "features_memory")
    did = verb(product)
    for weeks in (26, 52):
        yield group.count(
            f"active_weeks_{weeks}w", "weeks", f"active weeks of the last {weeks}", Range(1, weeks)
        ).says(
            f"active in {{only}}{{value:number}} of the last {weeks} weeks", f"not active in {weeks} weeks"
        )
    year_ago = "the target week a year ago"
    yield group.flag("active_year_ago", f"active in {year_ago}").says(
        f"{did} in {year_ago}", f"not active in {year_ago}"
    )
    yield group.count(
        "active_weeks_year_ago", "weeks", f"active weeks of the five around {year_ago}", Range(0, 5)
    ).says(
        f"active in {{only}}{{value:number}} of the five weeks around {year_ago}",
        f"not active around {year_ago}",
    )
    yield group.count(
        "past_weeks", "weeks", "active weeks of the last year whose outcome is known", Range(0, 53)
    ).says("{only}{value} of the last year to judge by", "no week of the last year to judge by")
    rate = "share of past active weeks after which the user stayed away"
    yield (
        group.share("past_churn_rate", f"{rate}, of the last year")
        .says(
            "stayed away after {value} of the active weeks of the last year",
            "",
            "no earlier week to judge by",
        )
        .reported_as("how often the user stayed away in the last year")
    )
    yield (
        group.share(
            "past_churn_rate_lately", f"{rate}, each week back counting for 0.95 of the week after it"
        )
        .says("stayed away after {value} of the active weeks lately", "", "no earlier week to judge by")
        .reported_as("how often the user stayed away lately")
    )
