"""The catalogue of features: what each column is called, means, and is measured in.

The catalogue and the SQL steps must name the same columns; a test compares them.
"""

from collections.abc import Callable, Iterator

from churn.config import Product
from churn.features import activity, beside, content, people, shares
from churn.features.feature import DOUBLE, INTEGER, TEXT, Catalogue, Feature, Range
from churn.features.shares import DAYPARTS, WEEKDAYS, share_columns
from churn.sources import Availability

__all__ = [
    "DAYPARTS", "DOUBLE", "INTEGER", "TEXT", "WEEKDAYS",
    "Catalogue", "Feature", "Range", "catalogue", "share_columns",
]  # fmt: skip


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


_Reason = Callable[[Product, Availability], str]


def _first(*reasons: tuple[Callable[[Product, Availability], object], str]) -> _Reason:
    """The reason of the first condition that does not hold; nothing where all do."""
    return lambda product, available: next(
        (reason for present, reason in reasons if not present(product, available)), ""
    )


_GROUPS: tuple[tuple[str, _Reason, Callable[[Product], Iterator[Feature]]], ...] = (
    ("activity", lambda *_: "", activity.activity),
    ("trend", lambda *_: "", activity.trend),
    ("lifetime", lambda *_: "", activity.lifetime),
    (
        "category",
        _first(
            (lambda _, a: a.category, "activity has no category"),
            (lambda p, _: p.categories, "the product's definition lists no categories"),
        ),
        shares.category,
    ),
    (
        "device",
        _first(
            (lambda _, a: a.device, "activity has no device"),
            (lambda p, _: p.devices, "the product's definition lists no devices"),
        ),
        shares.device,
    ),
    ("time of day", _first((lambda _, a: a.time_of_day, "activity has dates without times")), shares.daypart),
    ("weekday", lambda *_: "", shares.weekday),
    ("items", _first((lambda _, a: a.item, "activity has no item ids")), content.items),
    (
        "content",
        _first(
            (lambda _, a: a.content, "there is no content catalogue"),
            (lambda _, a: a.item and a.series, "activity has no series ids"),
        ),
        content.content,
    ),
    (
        "episodes",
        _first(
            (lambda _, a: a.content, "there is no content catalogue"),
            (lambda _, a: a.item and a.series, "activity has no series ids"),
        ),
        content.episodes,
    ),
    (
        "other products",
        _first(
            (lambda p, _: p.match, "the product spans all products: there is no other"),
            (lambda _, a: a.other_products, "activity is of one product"),
        ),
        beside.other_products,
    ),
    ("profile", _first((lambda _, a: a.profile, "there is no profile table")), people.profile),
)
