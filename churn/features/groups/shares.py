"""How the value is spread over categories and times."""

from collections.abc import Iterator

from churn.config.settings import Product
from churn.core.names import slug
from churn.features.feature import DOUBLE, INTEGER, SHARE, Feature, maker
from churn.features.phrases import kinds_used, share, value_noun
from churn.sources.availability import Availability

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
# In the order of SQL's dow, which counts from 0.
WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")


def share_columns(product: Product, available: Availability) -> list[str]:
    """Return the columns of ``user_week`` that become shares, without the prefix ``value_``."""
    return [
        *(f"category_{slug(category)}" for category in product.categories if available.category),
        *(["other_category"] if product.categories and available.category else []),
        *(f"daypart_{name}" for name, _, _ in DAYPARTS if available.time_of_day),
        *(f"weekday_{name}" for name in WEEKDAYS),
    ]


def _share(group: str, column: str, product: Product, place: str, seed_step: int) -> Feature:
    feature = maker(group, "features_shares", seed_step)
    meaning = f"share of {value_noun(product)} {place}"
    return feature(f"share_{column}", DOUBLE, "share", meaning, SHARE).with_phrases(share(product, place))


def category(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    feature = maker("category", "features_shares", 3)
    yield feature("categories_used", INTEGER, "categories", "categories used in 13 weeks").with_phrases(
        kinds_used(product, "category")
    )
    for value in product.categories:
        yield _share("category", f"category_{slug(value)}", product, f"in {value}", 3)
    yield _share("category", "other_category", product, "in no listed category", 3)


def daypart(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    for name, first, last in DAYPARTS:
        place = f"{_DAYPART_WORDS.get(name, 'at ' + name)} ({first:02}:00 to {last:02}:59)"
        yield _share("time of day", f"daypart_{name}", product, place, 11)


def weekday(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    for name in WEEKDAYS:
        yield _share("weekday", f"weekday_{name}", product, f"on {name.title()}s", 11)
