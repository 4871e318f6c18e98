"""The catalogue of features: what each column is called, means, and is measured in.

The catalogue and the SQL steps must name the same columns; a test compares them.
"""

from collections.abc import Callable, Iterator

from churn.config import Product
from churn.features import activity, contact, content, favourites, people, shares
from churn.features.feature import DOUBLE, INTEGER, TEXT, Catalogue, Feature, Range
from churn.features.people import SEGMENT_PRODUCTS
from churn.features.shares import DAYPARTS, WEEKDAYS, share_columns
from churn.sources import Availability

__all__ = [
    "DAYPARTS", "DOUBLE", "INTEGER", "SEGMENT_PRODUCTS", "TEXT", "WEEKDAYS",
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
_Condition = tuple[Callable[[Product, Availability], object], str]


def _first(*reasons: _Condition) -> _Reason:
    """The reason of the first condition that does not hold; nothing where all do."""
    return lambda product, available: next(
        (reason for present, reason in reasons if not present(product, available)), ""
    )


_ITEMS: _Condition = (lambda _, a: a.item, "activity has no item ids")
_TITLES: _Condition = (lambda _, a: a.titles, "there is no content catalogue")
_ACTIVATIONS: _Condition = (lambda _, a: a.activations, "there are no tables of activations")

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
    ("items", _first(_ITEMS), content.items),
    (
        "content",
        _first(
            (lambda _, a: a.content, "there is no content catalogue"),
            (lambda _, a: a.item and a.series, "activity has no series ids"),
        ),
        content.content,
    ),
    ("profile", _first((lambda _, a: a.profile, "there is no profile table")), people.profile),
    ("segments", _first((lambda _, a: a.segments, "there is no table of segments")), people.segments),
    ("activations", _first(_ACTIVATIONS), favourites.activations),
    ("activation titles", _first(_ACTIVATIONS, _TITLES), favourites.activation_titles),
    ("favourite", _first(_ITEMS), favourites.favourite),
    ("favourite titles", _first(_ITEMS, _TITLES), favourites.favourite_titles),
    (
        "item factors",
        _first(
            _ITEMS,
            (lambda _, a: a.factors, "there are no tables of item factors"),
            (lambda p, _: p.factors, "the product's definition lists no factors"),
        ),
        favourites.factors,
    ),
    (
        "newsletter",
        _first((lambda _, a: a.newsletter, "there is no table of newsletter choices")),
        contact.newsletter,
    ),
    ("e-mail", _first((lambda _, a: a.mails, "there are no tables of e-mails")), contact.mails),
    (
        "follows",
        _first(
            (lambda _, a: a.follows, "there is no table of follows"),
            (lambda p, _: p.follows, "the product's definition lists no follows"),
        ),
        contact.follows,
    ),
)
