"""How the value is spread over categories and times."""

from collections.abc import Iterator

from churn.config.settings import Product
from churn.core.names import slug
from churn.features.feature import Feature, Group
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


def _share(group: Group, column: str, product: Product, place: str) -> Feature:
    meaning = f"share of {value_noun(product)} {place}"
    return group.share(f"share_{column}", meaning).phrased(share(product, place))


def category(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    group = Group("category", "features_shares", 3)
    yield group.count("categories_used", "categories", "categories used in 13 weeks").phrased(
        kinds_used(product, "category")
    )
    for value in product.categories:
        yield _share(group, f"category_{slug(value)}", product, f"in {value}")
    yield _share(group, "other_category", product, "in no listed category")


def daypart(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    group = Group("time of day", "features_shares", 11)
    for name, first, last in DAYPARTS:
        place = f"{_DAYPART_WORDS.get(name, 'at ' + name)} ({first:02}:00 to {last:02}:59)"
        yield _share(group, f"daypart_{name}", product, place)


def weekday(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    group = Group("weekday", "features_shares", 11)
    for name in WEEKDAYS:
        yield _share(group, f"weekday_{name}", product, f"on {name.title()}s")
