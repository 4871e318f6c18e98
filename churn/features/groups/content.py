"""What people use: items, series, and how those go on."""

from collections.abc import Iterator

from churn.config.settings import Product
from churn.features import phrases
from churn.features.feature import DOUBLE, INTEGER, SHARE, Feature, Range, maker


def items(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    feature = maker("items", "features_items", phrases.items(product), 4)
    plays = phrases.events(product)
    yield feature("items_1w", INTEGER, "items", "different items in the last observed week")
    yield feature("items_13w", INTEGER, "items", "different items in 13 weeks")
    yield feature("items_per_day", DOUBLE, "items a day", "different items an active day")
    yield feature(
        "repeat_rate",
        DOUBLE,
        f"{plays} an item",
        f"{plays} for each different item and week, in 13 weeks",
    )


def content(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    feature = maker("content", "features_content", phrases.content(product), 4)
    stuff = phrases.stuff(product)
    yield feature("series_1w", INTEGER, "series", "series used in the last observed week")
    yield feature("series_4w", INTEGER, "series", "series used in 4 weeks")
    yield feature("series_13w", INTEGER, "series", "series used in 13 weeks")
    yield feature("series_ended_4w", INTEGER, "series", "series used in 4 weeks that have no episode to come")
    yield feature(
        "series_due_target", INTEGER, "series", "series used in 4 weeks with an episode in the target week"
    )
    yield feature(
        "series_not_due_target",
        INTEGER,
        "series",
        "series used in 4 weeks without an episode in the target week",
    )
    yield feature(
        "series_due_target_1w", INTEGER, "series", "series used last week with an episode in the target week"
    )
    yield feature(
        "share_ended_1w",
        DOUBLE,
        "share",
        f"share of last week's {stuff} in series with no episode to come",
        SHARE,
    )
    yield feature(
        "share_ended_4w",
        DOUBLE,
        "share",
        f"share of 4 weeks' {stuff} in series with no episode to come",
        SHARE,
    )
    yield feature(
        "share_due_lead", DOUBLE, "share", f"share of 4 weeks' {stuff} in series due in the lead week", SHARE
    )
    yield feature(
        "share_due_target",
        DOUBLE,
        "share",
        f"share of 4 weeks' {stuff} in series due in the target week",
        SHARE,
    )


def episodes(_: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    lately, unknown = "of series of the last 4 weeks", "no series known in 4 weeks"

    def due(week: str) -> phrases.Phrases:
        return phrases.say(
            f"{{only}}{{value}} due in the {week} week, {lately}",
            f"no episode due in the {week} week, {lately}",
            unknown,
        )

    said = {
        "episodes_due_lead": due("coming"),
        "episodes_due_target": due("predicted"),
        "series_due_soon": phrases.say(
            "{only}{value} of the last 4 weeks with an episode in the coming two weeks",
            "no series of the last 4 weeks with an episode in the coming two weeks",
            unknown,
        ),
        "days_to_next_episode": phrases.say(
            f"next episode in {{value}}, {lately}", "", f"no episode in the coming two weeks, {lately}"
        ),
        "episodes_missed": phrases.say(
            f"{{only}}{{value}} left to catch up on, {lately}",
            f"nothing left to catch up on, {lately}",
            unknown,
        ),
        "episodes_used_share": phrases.say(
            f"{{only}}{{value}} of the latest episodes used, {lately}",
            f"none of the latest episodes used, {lately}",
            f"no latest episodes {lately}",
        ),
    }
    feature = maker("episodes", "features_episodes", said)
    series = "series used in 4 weeks"
    yield feature("episodes_due_lead", INTEGER, "episodes", f"new episodes in the lead week of {series}")
    yield feature("episodes_due_target", INTEGER, "episodes", f"new episodes in the target week of {series}")
    yield feature(
        "series_due_soon", INTEGER, "series", f"{series} with a new episode in the lead or the target week"
    )
    yield feature(
        "days_to_next_episode",
        INTEGER,
        "days",
        f"days until the next new episode of {series}, if before the target week's end",
        Range(1, 14),
    )
    yield feature("episodes_missed", INTEGER, "episodes", f"episodes of 13 weeks not used yet, of {series}")
    yield feature(
        "episodes_used_share", DOUBLE, "share", f"share of the episodes of 13 weeks used, of {series}", SHARE
    )


_LONG = "played for ten minutes or more"


def last_week(_: Product) -> Iterator[Feature]:
    """Yield the features of the group."""

    def played(unit: str, rest: str) -> phrases.Phrases:
        return phrases.say(f"{{only}}{{value}} {_LONG} {rest}", f"no {unit} {_LONG} {rest}")

    said = {
        "long_items_1w": played("episode", "last week"),
        "long_series_1w": played("series", "last week"),
        "repeats_1w": phrases.say(
            "{only}{value} played twice or more last week, ten minutes each time",
            "no episode played twice last week, ten minutes each time",
        ),
        "finales_1w": played("series", "as a season ended last week"),
        "premieres_1w": played("series", "as a season began last week"),
    }
    feature = maker("last week", "features_last_week", said, 4)
    within = f"{_LONG} in the last observed week"
    yield feature("long_items_1w", INTEGER, "episodes", f"different episodes {within}")
    yield feature("long_series_1w", INTEGER, "series", f"different series {within}")
    yield feature("repeats_1w", INTEGER, "episodes", f"episodes {within} more than once")
    yield feature("finales_1w", INTEGER, "series", f"series {within} of which a season ended in it")
    yield feature("premieres_1w", INTEGER, "series", f"series {within} of which a season began in it")
