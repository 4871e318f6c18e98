"""On which devices people play."""

from collections.abc import Iterator

from churn.config.settings import Product
from churn.core.names import slug
from churn.features import phrases
from churn.features.feature import ANY, DOUBLE, INTEGER, SHARE, TEXT, Feature, Range, maker

_NONE = "no plays in 13 weeks"


def device(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    said = {
        "devices_used": phrases.used_kinds(product, "kind of device"),
        "preferred_device": phrases.say(
            "mostly on {value}", "", f"{_NONE} on a listed device", compared=False
        ),
    }
    for value in product.devices:
        column = f"device_{slug(value)}"
        said[f"share_{column}"] = phrases.share(product, f"on {value}", _NONE)
        said[f"share_days_{column}"] = phrases.share_of_days(f"on {value}", _NONE)
    feature = maker("device", "features_devices", said, 7)
    yield feature(
        "devices_used",
        INTEGER,
        "kinds of device",
        "kinds of device used in 13 weeks",
        Range(0, max(1, len(product.devices))),
    )
    yield feature(
        "preferred_device",
        TEXT,
        "category",
        f"kind of device with most {phrases.stuff(product)} in 13 weeks",
        ANY,
    )
    for value in product.devices:
        column = f"device_{slug(value)}"
        yield feature(
            f"share_{column}", DOUBLE, "share", f"share of {phrases.stuff(product)} on {value}", SHARE
        )
        yield feature(
            f"share_days_{column}",
            DOUBLE,
            "share",
            f"share of days with plays that had some on {value}",
            SHARE,
        )
