"""What users use: items, series, and how series go on."""

from collections.abc import Iterator

from churn.config.settings import Product
from churn.features.feature import Feature, Group, Range
from churn.features.phrases import (
    LAST_WEEK,
    WINDOW,
    Phrases,
    escape,
    event_noun,
    say,
    value_noun,
    verb,
    weeks,
)


def items(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    group = Group("items", "features_items", 4)
    events, unknown = event_noun(product), "no items known"
    yield group.count("items_1w", "items", "different items in the last observed week").says(
        "{only}{value:different} last week", "no items last week", unknown
    )
    yield group.count("items_13w", "items", "different items in 13 weeks").says(
        "{only}{value:different} in 13 weeks", unknown, unknown
    )
    yield group.number("items_per_day", "items a day", "different items an active day").says(
        "{only}{value:different} when active", unknown, unknown
    )
    yield (
        group.number(
            "repeat_rate", f"{events} an item", f"{events} for each different item and week, in 13 weeks"
        )
        .says("{value} in a week", unknown, unknown)
        .reported_as(f"{events} of the same item in a week")
    )


def content(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    group = Group("content", "features_content", 4)
    value, did, unknown = value_noun(product), verb(product), "no series known in 13 weeks"
    ended, week = "with no episode to come", f"in {weeks('predicted', product.target_weeks)}"
    due = f"an episode due {week}"

    def share(when: str, which: str) -> Phrases:
        noun = escape(value)
        return say(f"{{value}} of {noun} {when} {which}", f"no {noun} {when} {which}", unknown)

    for span, when, within in (LAST_WEEK, ("4w", "in 4 weeks", "in 4 weeks"), WINDOW):
        yield group.count(f"series_{span}", "series", f"series used {within}").says(
            f"{{only}}{{value}} {did} {when}", f"no series {did} {when}", unknown
        )
    for name, within, which in (
        ("ended_4w", "4 weeks that have no episode to come", f"the last 4 weeks {ended}"),
        ("due_target", "4 weeks with an episode in the target week", f"the last 4 weeks with {due}"),
        (
            "not_due_target",
            "4 weeks without an episode in the target week",
            f"the last 4 weeks without {due}",
        ),
    ):
        yield group.count(f"series_{name}", "series", f"series used in {within}").says(
            f"{{value}} of {which}", f"no series of {which}", unknown
        )
    yield group.count(
        "series_due_target_1w", "series", "series used last week with an episode in the target week"
    ).says(f"{{value}} of last week with {due}", f"no series of last week with {due}", unknown)
    for span, when, within in (("1w", "last week", "last week's"), ("4w", "in 4 weeks", "4 weeks'")):
        yield group.share(f"share_ended_{span}", f"share of {within} {value} in series {ended}").phrased(
            share(when, f"in series {ended}")
        )
    yield group.share("share_due_lead", f"share of 4 weeks' {value} in series due in the lead week").phrased(
        share("in 4 weeks", f"in series due in {weeks('coming', product.lead_weeks)}")
    )
    yield group.share(
        "share_due_target", f"share of 4 weeks' {value} in series due in the target week"
    ).phrased(share("in 4 weeks", f"in series due {week}"))


def episodes(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    group = Group("episodes", "features_episodes")
    series, lately = "series used in 4 weeks", "of series of the last 4 weeks"
    unknown = "no series known in 4 weeks"
    soon = weeks("coming", product.lead_weeks + product.target_weeks)

    spans = (
        ("lead", weeks("coming", product.lead_weeks)),
        ("target", weeks("predicted", product.target_weeks)),
    )
    for week, when in spans:
        yield group.count(
            f"episodes_due_{week}", "episodes", f"new episodes in the {week} week of {series}"
        ).says(f"{{only}}{{value}} due in {when}, {lately}", f"no episode due in {when}, {lately}", unknown)
    yield group.count(
        "series_due_soon", "series", f"{series} with a new episode in the lead or the target week"
    ).says(
        f"{{only}}{{value}} of the last 4 weeks with an episode in {soon}",
        f"no series of the last 4 weeks with an episode in {soon}",
        unknown,
    )
    yield group.count(
        "days_to_next_episode",
        "days",
        f"days until the next new episode of {series}, if before the target week's end",
        Range(1, 7 * (product.lead_weeks + product.target_weeks)),
    ).says(f"next episode in {{value}}, {lately}", "", f"no episode in {soon}, {lately}")
    yield group.count("episodes_missed", "episodes", f"episodes of 13 weeks not used yet, of {series}").says(
        f"{{only}}{{value}} left to catch up on, {lately}", f"nothing left to catch up on, {lately}", unknown
    )
    yield group.share("episodes_used_share", f"share of the episodes of 13 weeks used, of {series}").says(
        f"{{only}}{{value}} of the latest episodes used, {lately}",
        f"none of the latest episodes used, {lately}",
        f"no latest episodes {lately}",
    )


def last_week(_: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    group = Group("last week", "features_last_week", 4)
    long = "played for ten minutes or more"
    within = f"{long} in the last observed week"

    def played(unit: str, when: str) -> Phrases:
        return say(f"{{only}}{{value}} {long} {when}", f"no {unit} {long} {when}")

    yield group.count("long_items_1w", "episodes", f"different episodes {within}").phrased(
        played("episode", "last week")
    )
    yield group.count("long_series_1w", "series", f"different series {within}").phrased(
        played("series", "last week")
    )
    yield group.count("repeats_1w", "episodes", f"episodes {within} more than once").says(
        "{only}{value} played twice or more last week, ten minutes each time",
        "no episode played twice last week, ten minutes each time",
    )
    for name, change in (("finales", "ended"), ("premieres", "began")):
        yield (
            group.count(f"{name}_1w", "series", f"series {within} of which a season {change} in it")
            .phrased(played("series", f"as a season {change} last week"))
            .reported_as(f"series of which a season {change} last week")
        )
