"""What is said of a feature's value when it is a user's reason: templates that `churn.explain.wording` fills.

A template holds ``{value}``, or ``{value:SPEC}`` where it is told in another way, and ``{only}`` where "only"
may stand if the value is far below what is usual. What is usual follows the phrase, as ``{usual}``.
"""

import re
from dataclasses import dataclass, replace

from churn.config.settings import Product
from churn.core.calendar import LAST_OBSERVED_OFFSET, OBSERVED_OFFSETS

TIMES_OF_USE = frozenset({"seconds", "minutes", "hours"})
MONEY = frozenset({"dollars", "euros", "pounds"})

# habit_days over the sum of its weights, 1 + 0.7 + ... + 0.7 ** 12, is days a week.
_HABIT_WEEKS = sum(0.7**week for week in range(len(OBSERVED_OFFSETS)))


@dataclass(frozen=True)
class Phrases:
    """Templates of one feature.

    Attributes:
        raises: said of a value that raises the risk.
        lowers: said of a value that lowers it.
        zero: said of 0 in place of either; empty: nothing special.
        missing: said of a missing value; empty: the feature's meaning, "unknown".
        usual: where the user's own habit can be read, in the same unit: a feature, or ``days_13w /
            active_weeks_13w``. Empty: the median of the users scored is told in its place.
        tail: follows the phrase where it is known what is usual; empty: never told.
    """

    raises: str = ""
    lowers: str = ""
    zero: str = ""
    missing: str = ""
    usual: str = ""
    tail: str = ""


def say(
    template: str, zero: str = "", missing: str = "", usual: str = "", *, compared: bool = True
) -> Phrases:
    """Return one template for both directions: "only" is said of what raises the risk.

    Args:
        template: said of the value.
        zero: said of 0 in place of it.
        missing: said of a missing value.
        usual: where the user's own habit can be read, as in ``Phrases``.
        compared: whether it is told what is usual.
    """
    told = re.search(r"\{value(:[^}]*)?\}", template)  # what is usual is told in the same way
    word = "usually" if usual else "typically"
    tail = f", {word} {{usual{(told and told[1]) or ''}}}" if compared else ""
    return Phrases(template, template.replace("{only}", ""), zero, missing, usual, tail)


def _verb(product: Product) -> str:
    return literal((product.verb.split() or ["used"])[0])  # "shopped" of "shopped in"


def literal(text: str) -> str:
    """Return the template that says a text as it is."""
    return text.replace("{", "{{").replace("}", "}}")


def events(product: Product) -> str:
    """Return what the product's events are called."""
    if product.value_unit in TIMES_OF_USE:
        return "plays"
    return "purchases" if product.verb == "bought" else "events"


def _amount(product: Product) -> str:
    """Return the start of a phrase about ``activity.value``: "watched for 2.5 hours", "bought 3 units"."""
    unit = product.value_unit
    if unit in MONEY:
        return "spent {only}{value}"
    if unit in TIMES_OF_USE:
        return f"{_verb(product)} for {{only}}{{value}}"
    return "{only}{value}" if unit == "events" else f"{_verb(product)} {{only}}{{value}}"


def stuff(product: Product) -> str:
    """Return what ``activity.value`` adds up to, whatever it is measured in: "playback"."""
    unit = product.value_unit
    if unit in TIMES_OF_USE:
        return "playback"
    return "spending" if unit in MONEY else unit.strip() or "units"


def _stuff(product: Product) -> str:
    return literal(stuff(product))


def _when(offset: int) -> str:
    back = offset - LAST_OBSERVED_OFFSET
    return ("last week", "the week before last")[back] if back < 2 else f"{back + 1} weeks ago"


def activity(product: Product) -> dict[str, Phrases]:
    """Return the phrases of the activity features."""
    verb, amount, stuff, plays = _verb(product), _amount(product), _stuff(product), events(product)
    weeks: dict[str, Phrases] = {}
    for offset in OBSERVED_OFFSETS:
        when = _when(offset)
        weeks |= {
            f"value_w{offset}": say(
                f"{amount} {when}", f"no {stuff} {when}", usual="value_13w / active_weeks_13w"
            ),
            f"events_w{offset}": say(
                f"{{only}}{{value}} {when}", f"no {plays} {when}", usual="events_13w / active_weeks_13w"
            ),
            f"days_w{offset}": say(
                f"{verb} on {{only}}{{value}} {when}",
                f"not active {when}",
                usual="days_13w / active_weeks_13w",
            ),
        }
    average, without = "{value:ratio} the average of 13 weeks", f"no {stuff} in 13 weeks"
    return weeks | {
        "value_13w": say(f"{amount} in 13 weeks", without),
        "events_13w": say("{only}{value} in 13 weeks", f"no {plays} in 13 weeks"),
        "days_13w": say(f"{verb} on {{only}}{{value}} in 13 weeks", "not active in 13 weeks"),
        "active_weeks_13w": say(
            "active in {only}{value:number} of the last 13 weeks", "not active in 13 weeks"
        ),
        "value_4w": say(f"{amount} in 4 weeks", f"no {stuff} in 4 weeks"),
        "days_4w": say(f"{verb} on {{only}}{{value}} in 4 weeks", "not active in 4 weeks"),
        "active_weeks_4w": say("active in {only}{value:number} of the last 4 weeks", "not active in 4 weeks"),
        "habit_days": say(
            f"{verb} on {{only}}{{value:/{_HABIT_WEEKS:.4f}}} a week lately", "not active lately"
        ),
        "value_last_to_mean": say(
            f"{stuff} last week {average}", f"no {stuff} last week", without, compared=False
        ),
        "days_last_to_mean": say(
            f"active days last week {average}",
            "not active last week",
            "not active in 13 weeks",
            compared=False,
        ),
    }


def page_views(product: Product) -> dict[str, Phrases]:
    """Return the phrases of the page views."""
    return {
        "page_views_1w": say("{only}{value} viewed last week", "no pages viewed last week"),
        "page_views_13w": say("{only}{value} viewed in 13 weeks", "no pages viewed in 13 weeks"),
        "page_views_per_event": say("{value} in 13 weeks", "no pages viewed in 13 weeks"),
    }


def trend(product: Product) -> dict[str, Phrases]:
    """Return the phrases of the trend features."""
    plays = events(product)
    steady = f"weekly {plays} neither rising nor falling"
    return {
        "events_slope": say(f"weekly {plays} {{value:trend}}", steady, steady, compared=False),
        "events_intercept": say(f"trend of weekly {plays} began 13 weeks ago at {{value:number}}"),
        "events_zero_week": say(f"trend of weekly {plays} {{value:crossing}}", "", steady, compared=False),
        "events_falling": say(f"weekly {plays} falling", f"weekly {plays} not falling", compared=False),
        "days_slope": say(
            "active days a week {value:trend}",
            "active days a week neither rising nor falling",
            compared=False,
        ),
        "days_deviation": say(
            "active days varying by {value:number} from week to week", "as many active days in every week"
        ),
    }


def lifetime(product: Product) -> dict[str, Phrases]:
    """Return the phrases of the lifetime features."""
    verb, amount, stuff, plays = _verb(product), _amount(product), _stuff(product), events(product)
    once = "active on a single day so far"
    since = "since first seen"
    return {
        "tenure_days": replace(
            say("first seen {only}{value:span} ago", "first seen on the last day"),
            tail=", typically {usual:span} ago",
        ),
        "days_since_last": replace(
            say("last active {value} ago", "active on the last day", usual="days_between_visits"),
            tail=", usually {usual:every}",
        ),
        "lifetime_active_weeks": say(f"active in {{only}}{{value}} {since}", f"not active {since}"),
        "lifetime_active_rate": say(
            f"active in {{only}}{{value}} of the weeks {since}", f"not active {since}"
        ),
        "lifetime_days": say(f"{verb} on {{only}}{{value}} {since}", f"not active {since}"),
        "lifetime_events": say(f"{{only}}{{value}} {since}", f"no {plays} {since}"),
        "lifetime_value": say(f"{amount} {since}", f"no {stuff} {since}"),
        "lifetime_days_per_week": say(f"{verb} on {{only}}{{value}} {since}", f"not active {since}"),
        "days_between_visits": say("active {value:every} as a rule", "", once),
        "days_since_last_to_usual": say(
            "time since last active {value:ratio} the usual gap",
            "active on the last day",
            once,
            compared=False,
        ),
        "longest_gap_weeks": say("away for {value} at the longest", "never away for a whole week"),
        "gaps": say("away {value:times} for a week or more", "never away for a week or more"),
        "gap_variation": say(
            "time between active weeks varying by {value} of its mean",
            "always the same time between active weeks",
            "fewer than three active weeks so far",
        ),
        "streak_weeks": say("active for {only}{value} in a row", "not active last week"),
    }


def used_kinds(product: Product, kind: str) -> Phrases:
    """Return the phrases of how many of the listed categories, or kinds of device, were used."""
    verb = _verb(product)
    return say(f"{{only}}{{value}} {verb} in 13 weeks", f"no listed {kind} {verb} in 13 weeks")


def share(product: Product, place: str, missing: str = "") -> Phrases:
    """Return the phrases of the share of ``activity.value`` in, on or at some place."""
    stuff, place = _stuff(product), literal(place)
    return say(f"{{value}} of {stuff} {place}", f"no {stuff} {place}", missing or f"no {stuff} in 13 weeks")


def share_of_days(place: str, missing: str) -> Phrases:
    """Return the phrases of the share of days of use that had some on, in or with something."""
    place = literal(place)
    return say(f"{{value}} of days of use {place}", f"no day of use {place}", missing)


def items(product: Product) -> dict[str, Phrases]:
    """Return the phrases of the item features."""
    missing = "no items known"
    return {
        "items_1w": say("{only}{value:different} last week", "no items last week", missing),
        "items_13w": say("{only}{value:different} in 13 weeks", missing, missing),
        "items_per_day": say("{only}{value:different} when active", missing, missing),
        "repeat_rate": say("{value} in a week", missing, missing),
    }


def content(product: Product) -> dict[str, Phrases]:
    """Return the phrases of the content features."""
    verb, stuff = _verb(product), _stuff(product)
    missing = "no series known in 13 weeks"
    ended, week = "with no episode to come", "in the predicted week"

    def series(scope: str, rest: str) -> Phrases:
        return say(f"{{value}} of {scope} {rest}", f"no series of {scope} {rest}", missing)

    def part(scope: str, rest: str) -> Phrases:
        return say(f"{{value}} of {stuff} {scope} {rest}", f"no {stuff} {scope} {rest}", missing)

    def used(scope: str) -> Phrases:
        return say(f"{{only}}{{value}} {verb} {scope}", f"no series {verb} {scope}", missing)

    return {
        "series_1w": used("last week"),
        "series_4w": used("in 4 weeks"),
        "series_13w": used("in 13 weeks"),
        "series_ended_4w": series("the last 4 weeks", ended),
        "series_due_target": series("the last 4 weeks", f"with an episode due {week}"),
        "series_not_due_target": series("the last 4 weeks", f"without an episode due {week}"),
        "series_due_target_1w": series("last week", f"with an episode due {week}"),
        "share_ended_1w": part("last week", f"in series {ended}"),
        "share_ended_4w": part("in 4 weeks", f"in series {ended}"),
        "share_due_lead": part("in 4 weeks", "in series due in the coming week"),
        "share_due_target": part("in 4 weeks", f"in series due {week}"),
    }


def profile(product: Product) -> dict[str, Phrases]:
    """Return the phrases of the profile features."""

    def named(what: str) -> Phrases:
        return say(f"{what} {{value}}", "", f"no {what} known", compared=False)

    return {
        "account_age_days": say("account {only}{value:span} old", "", "no account date known"),
        "age": say("{value} old", "", "no age known"),
        "is_16_to_34": say("16 to 34 years old", "not 16 to 34 years old", "no age known", compared=False),
        "gender": named("gender"),
        "nation": named("nation"),
        "region": named("television region"),
        "acorn_category": named("neighbourhood category"),
        "acorn_group": named("neighbourhood group"),
        "acorn_type": named("neighbourhood type"),
        "is_uk": say(
            "in the United Kingdom", "outside the United Kingdom", "no location known", compared=False
        ),
        "personalisation": say(
            "personalisation on: {value}", "", "personalisation not known", compared=False
        ),
        "mail_verified": say(
            "e-mail address verified: {value}",
            "",
            "not known if the e-mail address is verified",
            compared=False,
        ),
    }
