"""The catalogue of features: what each column is called, means, and is measured in.

The catalogue and the SQL steps must name the same columns; a test compares them.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from churn import phrases
from churn.calendar import LAST_OBSERVED_OFFSET, OBSERVED_OFFSETS
from churn.config import Product, slug
from churn.phrases import Phrases
from churn.sources import Availability

DAYPARTS = (
    ("breakfast", 6, 9),
    ("daytime", 10, 16),
    ("early_peak", 17, 19),
    ("peak", 20, 21),
    ("late", 22, 23),
    ("overnight", 0, 5),
)
_DAYPART_WORDS = {
    "daytime": "in the daytime",
    "early_peak": "at early peak",
    "late": "late",
    "overnight": "overnight",
}
WEEKDAYS = (
    "sunday",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
)  # as SQL's dow counts

DOUBLE, INTEGER, TEXT = "double precision", "integer", "varchar(250)"


@dataclass(frozen=True)
class Feature:
    """One column of a snapshot.

    Attributes:
        name: the column.
        group: feature group, as the report names it.
        step: the SQL step that makes it.
        type: its SQL type in the feature set.
        unit: what it is measured in.
        meaning: one line in words, fit to follow the value: "active days in the last observed week".
        phrases: what is said of its value when it is a user's reason.
    """

    name: str
    group: str
    step: str
    type: str
    unit: str
    meaning: str
    phrases: Phrases


@dataclass(frozen=True)
class Catalogue:
    """The features of one product on one body of data.

    Attributes:
        features: in the order of the feature set's columns.
        left_out: feature group -> why it could not be built.
    """

    features: tuple[Feature, ...]
    left_out: dict[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(feature.name for feature in self.features)

    @property
    def steps(self) -> tuple[str, ...]:
        """The SQL steps that the features come from, in order of first use."""
        return tuple(dict.fromkeys(feature.step for feature in self.features))


def catalogue(product: Product, available: Availability) -> Catalogue:
    """Return the features that a product has where only ``available`` can be read."""
    features: list[Feature] = []
    left_out: dict[str, str] = {}
    for group, reason_missing, make in _GROUPS:
        reason = reason_missing(product, available)
        if reason:
            left_out[group] = reason
        else:
            features.extend(make(product))
    return Catalogue(tuple(features), left_out)


def _week(offset: int) -> str:
    back = offset - LAST_OBSERVED_OFFSET
    if back == 0:
        return "in the last observed week"
    return f"{'a week' if back == 1 else f'{back} weeks'} before the last observed week"


def _maker(group: str, step: str, said: Mapping[str, Phrases]) -> Callable[[str, str, str, str], Feature]:
    def feature(name: str, type_: str, unit: str, meaning: str) -> Feature:
        return Feature(name, group, step, type_, unit, meaning, said[name])

    return feature


def _activity(product: Product) -> Iterator[Feature]:
    feature = _maker("activity", "features_activity", phrases.activity(product))
    unit, plays = product.value_unit, phrases.events(product)
    for offset in OBSERVED_OFFSETS:
        yield feature(f"value_w{offset}", DOUBLE, unit, f"{unit} {_week(offset)}")
        yield feature(f"events_w{offset}", INTEGER, plays, f"events {_week(offset)}")
        yield feature(f"days_w{offset}", INTEGER, "days", f"active days {_week(offset)}")
    yield feature("value_13w", DOUBLE, unit, f"{unit} in 13 weeks")
    yield feature("events_13w", INTEGER, plays, "events in 13 weeks")
    yield feature("days_13w", INTEGER, "days", "active days in 13 weeks")
    yield feature("active_weeks_13w", INTEGER, "weeks", "active weeks of the last 13")
    yield feature("value_4w", DOUBLE, unit, f"{unit} in 4 weeks")
    yield feature("days_4w", INTEGER, "days", "active days in 4 weeks")
    yield feature("active_weeks_4w", INTEGER, "weeks", "active weeks of the last 4")
    yield feature("habit_days", DOUBLE, "days", "active days, recent weeks counting most")
    yield feature(
        "value_last_to_mean", DOUBLE, "ratio", f"{unit} of the last week, relative to the usual week"
    )
    yield feature(
        "days_last_to_mean", DOUBLE, "ratio", "active days of the last week, relative to the usual week"
    )


def _trend(product: Product) -> Iterator[Feature]:
    feature = _maker("trend", "features_trend", phrases.trend(product))
    plays = phrases.events(product)
    yield feature("events_slope", DOUBLE, f"{plays} a week", "change of weekly events, week by week")
    yield feature("events_intercept", DOUBLE, plays, "weekly events at the start of the trend line")
    yield feature("events_zero_week", DOUBLE, "weeks", "week in which the trend of events reaches zero")
    yield feature("events_falling", INTEGER, "flag", "whether weekly events are falling")
    yield feature("days_slope", DOUBLE, "days a week", "change of active days, week by week")
    yield feature("days_deviation", DOUBLE, "days", "how much active days vary from week to week")


def _lifetime(product: Product) -> Iterator[Feature]:
    feature = _maker("lifetime", "features_lifetime", phrases.lifetime(product))
    unit, plays = product.value_unit, phrases.events(product)
    yield feature("tenure_days", INTEGER, "days", "days since first seen")
    yield feature("days_since_last", INTEGER, "days", "days since last active")
    yield feature("lifetime_active_weeks", INTEGER, "weeks", "active weeks since first seen")
    yield feature("lifetime_active_rate", DOUBLE, "share", "share of active weeks since first seen")
    yield feature("lifetime_days", INTEGER, "days", "active days since first seen")
    yield feature("lifetime_events", INTEGER, plays, "events since first seen")
    yield feature("lifetime_value", DOUBLE, unit, f"{unit} since first seen")
    yield feature("lifetime_days_per_week", DOUBLE, "days a week", "active days a week since first seen")
    yield feature("days_between_visits", DOUBLE, "days", "usual days between two active days")
    yield feature(
        "days_since_last_to_usual", DOUBLE, "ratio", "days since last active, relative to the usual gap"
    )
    yield feature("longest_gap_weeks", INTEGER, "weeks", "longest time away, in weeks")
    yield feature("gaps", INTEGER, "gaps", "times away for a week or more")
    yield feature("streak_weeks", INTEGER, "weeks", "weeks in a row with activity")


def share_columns(product: Product, available: Availability) -> list[str]:
    """Return the columns of ``user_week`` that become shares, without their ``value_`` prefix."""
    return [
        *(f"category_{slug(category)}" for category in product.categories if available.category),
        *(f"device_{slug(device)}" for device in product.devices if available.device),
        *(f"daypart_{name}" for name, _, _ in DAYPARTS if available.time_of_day),
        *(f"weekday_{name}" for name in WEEKDAYS),
    ]


def _share(group: str, column: str, product: Product, place: str) -> Feature:
    meaning, said = f"share of {product.value_unit} {place}", phrases.share(product, place)
    return Feature(f"share_{column}", group, "features_shares", DOUBLE, "share", meaning, said)


def _category(product: Product) -> Iterator[Feature]:
    feature = _maker(
        "category", "features_shares", {"categories_used": phrases.used_kinds(product, "category")}
    )
    yield feature("categories_used", INTEGER, "categories", "categories used in 13 weeks")
    for value in product.categories:
        yield _share("category", f"category_{slug(value)}", product, f"in {value}")


def _device(product: Product) -> Iterator[Feature]:
    feature = _maker(
        "device", "features_shares", {"devices_used": phrases.used_kinds(product, "kind of device")}
    )
    yield feature("devices_used", INTEGER, "kinds of device", "kinds of device used in 13 weeks")
    for value in product.devices:
        yield _share("device", f"device_{slug(value)}", product, f"on {value}")


def _daypart(product: Product) -> Iterator[Feature]:
    for name, first, last in DAYPARTS:
        place = f"{_DAYPART_WORDS.get(name, 'at ' + name)} ({first:02}:00 to {last:02}:59)"
        yield _share("time of day", f"daypart_{name}", product, place)


def _weekday(product: Product) -> Iterator[Feature]:
    for name in WEEKDAYS:
        yield _share("weekday", f"weekday_{name}", product, f"on {name.title()}s")


def _items(product: Product) -> Iterator[Feature]:
    feature = _maker("items", "features_items", phrases.items(product))
    yield feature("items_1w", INTEGER, "items", "different items in the last observed week")
    yield feature("items_13w", INTEGER, "items", "different items in 13 weeks")
    yield feature("items_per_day", DOUBLE, "items a day", "different items an active day")
    yield feature(
        "repeat_rate",
        DOUBLE,
        f"{phrases.events(product)} an item",
        "events for each different item and week, in 13 weeks",
    )


def _content(product: Product) -> Iterator[Feature]:
    feature = _maker("content", "features_content", phrases.content(product))
    unit = product.value_unit
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
        "share_ended_1w", DOUBLE, "share", f"share of last week's {unit} in series with no episode to come"
    )
    yield feature(
        "share_ended_4w", DOUBLE, "share", f"share of 4 weeks' {unit} in series with no episode to come"
    )
    yield feature(
        "share_due_lead", DOUBLE, "share", f"share of 4 weeks' {unit} in series due in the lead week"
    )
    yield feature(
        "share_due_target", DOUBLE, "share", f"share of 4 weeks' {unit} in series due in the target week"
    )
    yield feature("finales_1w", INTEGER, "series", "series used last week of which a season ended in it")
    yield feature("premieres_1w", INTEGER, "series", "series used last week of which a season began in it")


def _profile(product: Product) -> Iterator[Feature]:
    feature = _maker("profile", "features_profile", phrases.profile(product))
    yield feature("account_age_days", INTEGER, "days", "age of the account")
    yield feature("age", INTEGER, "years", "age of the person")
    yield feature("is_16_to_34", INTEGER, "flag", "whether the person is 16 to 34 years old")
    yield feature("gender", TEXT, "category", "gender")
    yield feature("nation", TEXT, "category", "nation")
    yield feature("region", TEXT, "category", "television region")
    yield feature("acorn_category", TEXT, "category", "neighbourhood type (ACORN)")
    yield feature("personalisation", TEXT, "category", "whether personalisation is on")
    yield feature("mail_verified", TEXT, "category", "whether the e-mail address is verified")


_Reason = Callable[[Product, Availability], str]


def _needs(*flags: str, listed: str = "") -> _Reason:
    """Say which part of the sources, or else which list of the product's definition, a group lacks."""

    def reason(product: Product, available: Availability) -> str:
        reasons = (available.reason(flag) for flag in flags if not getattr(available, flag))
        unlisted = listed and not getattr(product, listed)
        return next(reasons, f"the product's definition lists no {listed}" if unlisted else "")

    return reason


_GROUPS: tuple[tuple[str, _Reason, Callable[[Product], Iterator[Feature]]], ...] = (
    ("activity", _needs(), _activity),
    ("trend", _needs(), _trend),
    ("lifetime", _needs(), _lifetime),
    ("category", _needs("category", listed="categories"), _category),
    ("device", _needs("device", listed="devices"), _device),
    ("time of day", _needs("time_of_day"), _daypart),
    ("weekday", _needs(), _weekday),
    ("items", _needs("item"), _items),
    ("content", _needs("content", "item", "series"), _content),
    ("profile", _needs("profile"), _profile),
)
