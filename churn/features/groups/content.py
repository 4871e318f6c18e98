"""What users use: items, series, and how series go on."""

from collections.abc import Iterator

from churn.config.settings import Product
from churn.features.feature import DOUBLE, INTEGER, SHARE, Feature, Range, maker
from churn.features.phrases import Phrases, escape, event_noun, say, value_noun, verb, weeks


def items(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    feature = maker("items", "features_items", 4)
    plays, unknown = event_noun(product), "no items known"
    yield feature("items_1w", INTEGER, "items", "different items in the last observed week").with_phrases(
        say("{only}{value:different} last week", "no items last week", unknown)
    )
    yield feature("items_13w", INTEGER, "items", "different items in 13 weeks").with_phrases(
        say("{only}{value:different} in 13 weeks", unknown, unknown)
    )
    yield feature("items_per_day", DOUBLE, "items a day", "different items an active day").with_phrases(
        say("{only}{value:different} when active", unknown, unknown)
    )
    yield feature(
        "repeat_rate", DOUBLE, f"{plays} an item", f"{plays} for each different item and week, in 13 weeks"
    ).with_phrases(say("{value} in a week", unknown, unknown))


def content(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    feature = maker("content", "features_content", 4)
    value, did, unknown = value_noun(product), verb(product), "no series known in 13 weeks"
    ended, week = "with no episode to come", f"in {weeks('predicted', product.target_weeks)}"

    def used(when: str) -> Phrases:
        return say(f"{{only}}{{value}} {did} {when}", f"no series {did} {when}", unknown)

    def series(when: str, which: str) -> Phrases:
        return say(f"{{value}} of {when} {which}", f"no series of {when} {which}", unknown)

    def share(when: str, which: str) -> Phrases:
        noun = escape(value)
        return say(f"{{value}} of {noun} {when} {which}", f"no {noun} {when} {which}", unknown)

    yield feature("series_1w", INTEGER, "series", "series used in the last observed week").with_phrases(
        used("last week")
    )
    yield feature("series_4w", INTEGER, "series", "series used in 4 weeks").with_phrases(used("in 4 weeks"))
    yield feature("series_13w", INTEGER, "series", "series used in 13 weeks").with_phrases(
        used("in 13 weeks")
    )
    yield feature(
        "series_ended_4w", INTEGER, "series", "series used in 4 weeks that have no episode to come"
    ).with_phrases(series("the last 4 weeks", ended))
    yield feature(
        "series_due_target", INTEGER, "series", "series used in 4 weeks with an episode in the target week"
    ).with_phrases(series("the last 4 weeks", f"with an episode due {week}"))
    yield feature(
        "series_not_due_target",
        INTEGER,
        "series",
        "series used in 4 weeks without an episode in the target week",
    ).with_phrases(series("the last 4 weeks", f"without an episode due {week}"))
    yield feature(
        "series_due_target_1w", INTEGER, "series", "series used last week with an episode in the target week"
    ).with_phrases(series("last week", f"with an episode due {week}"))
    yield feature(
        "share_ended_1w",
        DOUBLE,
        "share",
        f"share of last week's {value} in series with no episode to come",
        SHARE,
    ).with_phrases(share("last week", f"in series {ended}"))
    yield feature(
        "share_ended_4w",
        DOUBLE,
        "share",
        f"share of 4 weeks' {value} in series with no episode to come",
        SHARE,
    ).with_phrases(share("in 4 weeks", f"in series {ended}"))
    yield feature(
        "share_due_lead", DOUBLE, "share", f"share of 4 weeks' {value} in series due in the lead week", SHARE
    ).with_phrases(share("in 4 weeks", f"in series due in {weeks('coming', product.lead_weeks)}"))
    yield feature(
        "share_due_target",
        DOUBLE,
        "share",
        f"share of 4 weeks' {value} in series due in the target week",
        SHARE,
    ).with_phrases(share("in 4 weeks", f"in series due {week}"))


def episodes(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    feature = maker("episodes", "features_episodes")
    series, lately = "series used in 4 weeks", "of series of the last 4 weeks"
    unknown = "no series known in 4 weeks"
    soon = weeks("coming", product.lead_weeks + product.target_weeks)

    def due(when: str) -> Phrases:
        return say(
            f"{{only}}{{value}} due in {when}, {lately}",
            f"no episode due in {when}, {lately}",
            unknown,
        )

    yield feature(
        "episodes_due_lead", INTEGER, "episodes", f"new episodes in the lead week of {series}"
    ).with_phrases(due(weeks("coming", product.lead_weeks)))
    yield feature(
        "episodes_due_target", INTEGER, "episodes", f"new episodes in the target week of {series}"
    ).with_phrases(due(weeks("predicted", product.target_weeks)))
    yield feature(
        "series_due_soon", INTEGER, "series", f"{series} with a new episode in the lead or the target week"
    ).with_phrases(
        say(
            f"{{only}}{{value}} of the last 4 weeks with an episode in {soon}",
            f"no series of the last 4 weeks with an episode in {soon}",
            unknown,
        )
    )
    yield feature(
        "days_to_next_episode",
        INTEGER,
        "days",
        f"days until the next new episode of {series}, if before the target week's end",
        Range(1, 7 * (product.lead_weeks + product.target_weeks)),
    ).with_phrases(say(f"next episode in {{value}}, {lately}", "", f"no episode in {soon}, {lately}"))
    yield feature(
        "episodes_missed", INTEGER, "episodes", f"episodes of 13 weeks not used yet, of {series}"
    ).with_phrases(
        say(
            f"{{only}}{{value}} left to catch up on, {lately}",
            f"nothing left to catch up on, {lately}",
            unknown,
        )
    )
    yield feature(
        "episodes_used_share", DOUBLE, "share", f"share of the episodes of 13 weeks used, of {series}", SHARE
    ).with_phrases(
        say(
            f"{{only}}{{value}} of the latest episodes used, {lately}",
            f"none of the latest episodes used, {lately}",
            f"no latest episodes {lately}",
        )
    )


def last_week(_: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    feature = maker("last week", "features_last_week", 4)
    long = "played for ten minutes or more"
    within = f"{long} in the last observed week"

    def played(unit: str, when: str) -> Phrases:
        return say(f"{{only}}{{value}} {long} {when}", f"no {unit} {long} {when}")

    yield feature("long_items_1w", INTEGER, "episodes", f"different episodes {within}").with_phrases(
        played("episode", "last week")
    )
    yield feature("long_series_1w", INTEGER, "series", f"different series {within}").with_phrases(
        played("series", "last week")
    )
    yield feature("repeats_1w", INTEGER, "episodes", f"episodes {within} more than once").with_phrases(
        say(
            "{only}{value} played twice or more last week, ten minutes each time",
            "no episode played twice last week, ten minutes each time",
        )
    )
    yield feature(
        "finales_1w", INTEGER, "series", f"series {within} of which a season ended in it"
    ).with_phrases(played("series", "as a season ended last week"))
    yield feature(
        "premieres_1w", INTEGER, "series", f"series {within} of which a season began in it"
    ).with_phrases(played("series", "as a season began last week"))
