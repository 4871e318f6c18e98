"""The catalogue of features: each column with its meaning, unit, range and phrases.

The SQL steps must make the same columns; a test compares them.
"""

from collections import Counter
from collections.abc import Callable, Iterator

from churn.config.own_features import OwnFeatures
from churn.config.settings import Product
from churn.core.errors import ConfigError
from churn.features.feature import DOUBLE, INTEGER, TEXT, Catalogue, Feature, Group, Range
from churn.features.groups import (
    activity,
    content,
    devices,
    favourites,
    listening,
    marketing,
    other_products,
    profile,
    schedule,
    shares,
)
from churn.features.groups.profile import SEGMENT_PRODUCTS
from churn.features.groups.shares import DAYPARTS, WEEKDAYS, share_columns
from churn.sources.availability import Availability

__all__ = [
    "DAYPARTS", "DOUBLE", "INTEGER", "SEGMENT_PRODUCTS", "TEXT", "WEEKDAYS",
    "Catalogue", "Feature", "Range", "catalogue", "share_columns",
]  # fmt: skip


def catalogue(product: Product, available: Availability) -> Catalogue:
    """Return the features of a product, and why each missing group is left out.

    Raises:
        ConfigError: a feature of the data folder has the name of another one.

    Args:
        product: its categories, devices, follows and factors have features each.
        available: which optional sources and columns have data. By default all of them.

    Example:
        >>> features = catalogue(Product(title="food"), Availability(profile=False))
        >>> features.names[:3]
        ('value_w2', 'events_w2', 'days_w2')
        >>> features.left_out["profile"]
        'there is no profile table'
    """
    features: list[Feature] = []
    left_out: dict[str, str] = {}
    for group, lacks, make in _GROUPS:
        reason = lacks(product, available)
        if reason:
            left_out[group] = reason
        else:
            features.extend(make(product))
    for own in product.own_features:
        features.extend(_own(own))
    twice = sorted(name for name, count in Counter(f.name for f in features).items() if count > 1)
    if twice:
        raise ConfigError(
            f"features of the data folder have names that are taken: {', '.join(twice)}; rename them"
        )
    return Catalogue(tuple(features), left_out)


def _own(own: OwnFeatures) -> Iterator[Feature]:
    """Yield the features of an SQL file of the data folder."""
    types = {"number": DOUBLE, "whole number": INTEGER, "text": TEXT}
    for name, column in own.columns.items():
        unit = "category" if column.type == "text" else column.unit
        limits = {"share": (0, 1), "flag": (0, 1)}.get(unit, (column.least, column.most))
        group = Group(own.name.replace("_", " "), own.step)
        feature = group.number(name, unit, column.meaning, Range(*limits), types[column.type])
        yield feature.says(column.says, column.zero, column.missing) if column.says else feature


_Reason = Callable[[Product, Availability], str]


def _needs(*flags: str, listed: str = "") -> _Reason:
    """Return a function that says what a group lacks; it returns "" if nothing.

    Args:
        flags: fields of ``Availability`` that must be true.
        listed: a field of ``Product`` that must not be empty.
    """

    def reason(product: Product, available: Availability) -> str:
        value = getattr(product, listed) if listed else True
        if value is False:
            return f"the product's definition does not say {listed}"
        reasons = (available.reason(flag) for flag in flags if not getattr(available, flag))
        return next(reasons, "" if value else f"the product's definition lists no {listed}")

    return reason


def _needs_other(product: Product, available: Availability) -> str:
    """Return why there are no other products; "" if there are."""
    if not product.match:
        return "the product spans all products: there is no other"
    return available.reason("other_products")


def _needs_other_and(*flags: str, listed: str = "") -> _Reason:
    """Return a function that says what a group of other products' features lacks."""
    needs = _needs(*flags, listed=listed)

    def reason(product: Product, available: Availability) -> str:
        return _needs_other(product, available) or needs(product, available)

    return reason


# Name of the group, what it needs, and the function that yields its features.
_GROUPS: tuple[tuple[str, _Reason, Callable[[Product], Iterator[Feature]]], ...] = (
    ("activity", _needs(), activity.activity),
    ("page views", _needs("page_views"), activity.page_views),
    ("trend", _needs(), activity.trend),
    ("lifetime", _needs(), activity.lifetime),
    ("long memory", _needs(), activity.memory),
    ("category", _needs("category", listed="categories"), shares.category),
    ("schedule match", _needs("content", "category", listed="categories"), schedule.schedule_match),
    ("device", _needs("device", listed="devices"), devices.device),
    ("time of day", _needs("time_of_day"), shares.daypart),
    ("weekday", _needs(), shares.weekday),
    ("items", _needs("item"), content.items),
    ("content", _needs("content", "item", "series"), content.content),
    ("episodes", _needs("content", "item", "series"), content.episodes),
    ("last week", _needs("content", "item", "series"), content.last_week),
    ("listening", _needs("item", "live", "formats", listed="listening"), listening.listening),
    ("other products", _needs_other, other_products.other_products),
    ("devices of other products", _needs_other_and("device", listed="devices"), other_products.other_devices),
    (
        "favourite of other products",
        _needs_other_and("item", "titles"),
        other_products.other_favourite,
    ),
    ("profile", _needs("profile"), profile.profile),
    ("segments", _needs("segments"), profile.segments),
    ("activations", _needs("activations"), favourites.activations),
    ("activation titles", _needs("activations", "titles"), favourites.activation_titles),
    ("favourite", _needs("item"), favourites.favourite),
    ("favourite titles", _needs("item", "titles"), favourites.favourite_titles),
    ("item factors", _needs("item", "factors", listed="factors"), favourites.factors),
    ("newsletter", _needs("newsletter"), marketing.newsletter),
    ("e-mail", _needs("mails"), marketing.mails),
    ("follows", _needs("follows", listed="follows"), marketing.follows),
)
