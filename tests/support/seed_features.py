"""The features of the twelve SQL steps that this project replaces, and the columns that answer to them.

Columns are written with braces: ``value_w{2..14}``, ``segment_{news,sport}``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product as combinations

ALL = ("iplayer", "sounds", "pan")
STEPS = {
    1: "target",
    2: "listening type",
    3: "affinity",
    4: "last week",
    5: "demographics",
    6: "frequency segments",
    7: "devices",
    8: "content",
    9: "marketing",
    10: "follows",
    11: "time and day",
    12: "feature sets",
}
_GENRES = "comedy,drama,entertainment,children_s,factual,learning,music,news,religion_ethics,sport,weather"
_LISTENING = "live_radio,demand_radio,sounds_podcasts,radio_podcasts,sounds_mixes,linear_mixes"
_DEVICES = "desktop_web,smart_tv,mobile_app,mobile_web,tablet_app,tablet_web,other_web"
_PARTS = "breakfast,daytime,early_peak,peak,late,overnight"
_DAYS = "monday,tuesday,wednesday,thursday,friday,saturday,sunday"
_SEGMENTS = "iplayer,sounds,news,sport,cbbc,cbeebies,weather,panbbc"


@dataclass(frozen=True)
class SeedFeature:
    """One feature, or one kind of them.

    Attributes:
        step: which of the twelve steps made it.
        what: what it was.
        columns: what answers to it.
        products: which products have those.
        instead: what answers to it, where that is no feature.
    """

    step: int
    what: str
    columns: str = ""
    products: tuple[str, ...] = ALL
    instead: str = ""


SEED: tuple[SeedFeature, ...] = (
    SeedFeature(1, "seconds a week", "value_w{2..14}"),
    SeedFeature(1, "events a week", "events_w{2..14}"),
    SeedFeature(1, "distinct days a week", "days_w{2..14}"),
    SeedFeature(
        1,
        "seconds, events and days of weeks 0 and 1",
        instead="none: those weeks come after the as-of date, and week 0 makes the label",
    ),
    SeedFeature(1, "page views", "page_views_{1w,13w}"),
    SeedFeature(1, "seconds by genre", f"share_category_{{{_GENRES}}}, share_other_category"),
    SeedFeature(1, "slope of weekly events", "events_slope"),
    SeedFeature(1, "y-intercept", "events_intercept"),
    SeedFeature(1, "x-intercept: when the line reaches zero", "events_zero_week"),
    SeedFeature(1, "whether the slope is negative", "events_falling"),
    SeedFeature(1, "cohort", instead="`as_of_date`, by a hash of the user id (`snapshots`)"),
    SeedFeature(1, "churn this week, churn next week", instead="`churned`: of the target week (`snapshots`)"),
    SeedFeature(1, "eligible", instead="being in `snapshots`; `minimum_value` in the product's definition"),
    SeedFeature(2, "share of seconds by listening type", f"share_listening_{{{_LISTENING}}}", ("sounds",)),
    SeedFeature(2, "share of days by listening type", f"share_days_listening_{{{_LISTENING}}}", ("sounds",)),
    SeedFeature(2, "preferred type, coarse", "preferred_listening", ("sounds",)),
    SeedFeature(2, "preferred type, detailed", "preferred_listening_type", ("sounds",)),
    SeedFeature(3, "share of seconds by genre", f"share_category_{{{_GENRES}}}"),
    SeedFeature(3, "number of genres", "categories_used"),
    SeedFeature(3, "releases by genre relative to their average", instead="within the schedule match"),
    SeedFeature(3, "schedule match by genre", f"schedule_match_{{{_GENRES}}}"),
    SeedFeature(3, "schedule match in total", "schedule_match"),
    SeedFeature(4, "distinct series last week", "long_series_1w"),
    SeedFeature(4, "distinct episodes last week", "long_items_1w"),
    SeedFeature(4, "series premieres watched", "premieres_1w"),
    SeedFeature(4, "series finales watched", "finales_1w"),
    SeedFeature(4, "repeats an episode", "repeats_1w"),
    SeedFeature(5, "account age", "account_age_days"),
    SeedFeature(5, "age, given or predicted", "age"),
    SeedFeature(5, "gender, given or predicted", "gender"),
    SeedFeature(5, "16-34 flag", "is_16_to_34"),
    SeedFeature(5, "nation", "nation"),
    SeedFeature(5, "region", "region"),
    SeedFeature(5, "ACORN category, group and type", "acorn_{category,group,type}"),
    SeedFeature(5, "UK flag", "is_uk"),
    SeedFeature(5, "personalisation on", "personalisation"),
    SeedFeature(5, "mail verified", "mail_verified"),
    SeedFeature(6, "latest frequency segment for each of eight products", f"segment_{{{_SEGMENTS}}}"),
    SeedFeature(7, "share of seconds by derived device type", f"share_device_{{{_DEVICES}}}"),
    SeedFeature(7, "share of days by derived device type", f"share_days_device_{{{_DEVICES}}}"),
    SeedFeature(7, "preferred device", "preferred_device"),
    SeedFeature(7, "number of device types", "devices_used"),
    SeedFeature(
        8, "content that activated, or reactivated after 13 weeks away", "activation_{genre,master_brand}"
    ),
    SeedFeature(8, "weeks since that", "activation_weeks"),
    SeedFeature(
        8,
        "favourite content over 13 weeks",
        "favourite_share",
        instead="its id has too many values to be one: its share, and the following tell of it",
    ),
    SeedFeature(8, "its genre", "favourite_genre"),
    SeedFeature(8, "its simplified master brand", "favourite_master_brand"),
    SeedFeature(8, "its ten item factors", "favourite_f{0..9}", ("iplayer",)),
    SeedFeature(8, "its twenty item factors", "favourite_f{0..19}", ("sounds",)),
    SeedFeature(9, "newsletter opt-in state", "newsletter_opted_in"),
    SeedFeature(9, "days since the newsletter state changed", "newsletter_days"),
    SeedFeature(9, "e-mail opens last week and in 13 weeks", "mail_opens_{1w,13w}"),
    SeedFeature(9, "e-mail clicks last week and in 13 weeks", "mail_clicks_{1w,13w}"),
    SeedFeature(
        10, "programme follows last week and in 13 weeks", "follows_{1w,13w}", ("iplayer", "pan")
    ),
    SeedFeature(10, "subscribes last week and in 13 weeks", "subscribes_{1w,13w}", ("sounds", "pan")),
    SeedFeature(10, "bookmarks last week and in 13 weeks", "bookmarks_{1w,13w}", ("sounds", "pan")),
    SeedFeature(11, "share of seconds by daypart", f"share_daypart_{{{_PARTS}}}"),
    SeedFeature(11, "share of seconds by weekday", f"share_weekday_{{{_DAYS}}}"),
    SeedFeature(
        12,
        "of the other product: slope, y-intercept, x-intercept, whether it falls",
        "other_events_{slope,intercept,zero_week,falling}",
        ("iplayer", "sounds"),
    ),
    SeedFeature(
        12,
        "of the other product: number of device types, preferred device",
        "other_{devices_used,preferred_device}",
        ("iplayer", "sounds"),
    ),
    SeedFeature(
        12,
        "of the other product: genre and master brand of the favourite content, and its share",
        "other_favourite_{genre,master_brand,share}",
        ("iplayer", "sounds"),
    ),
    SeedFeature(12, "one row a snapshot", instead="`feature_set`"),
    SeedFeature(12, "train and score samples", instead="`purpose`: all of both are unloaded"),
)  # fmt: skip


def expanded(columns: str) -> Iterator[str]:
    """Yield the names that a text with braces stands for; several texts are apart by ", "."""
    for text in re.split(r", (?![^{]*\})", columns) if columns else []:
        parts = re.split(r"\{([^}]*)\}", text)
        choices = [[part] if i % 2 == 0 else _values(part) for i, part in enumerate(parts)]
        yield from ("".join(chosen) for chosen in combinations(*choices))


def _values(text: str) -> list[str]:
    low, dots, high = text.partition("..")
    return [str(n) for n in range(int(low), int(high) + 1)] if dots else text.split(",")
