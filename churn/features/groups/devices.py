"""On which devices users play."""

from collections.abc import Iterator

from churn.config.settings import Product
from churn.core.names import slug
from churn.features.feature import ANY, DOUBLE, INTEGER, SHARE, TEXT, Feature, Range, maker
from churn.features.phrases import kinds_used, say, share, share_of_days, value_noun


def device(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    feature = maker("device", "features_devices", 7)
    value, unknown = value_noun(product), "no plays in 13 weeks"
    yield feature(
        "devices_used",
        INTEGER,
        "kinds of device",
        "kinds of device used in 13 weeks",
        Range(0, max(1, len(product.devices))),
    ).with_phrases(kinds_used(product, "kind of device"))
    yield feature(
        "preferred_device", TEXT, "category", f"kind of device with most {value} in 13 weeks", ANY
    ).with_phrases(say("mostly on {value}", "", f"{unknown} on a listed device", compared=False))
    for kind in product.devices:
        yield feature(
            f"share_device_{slug(kind)}", DOUBLE, "share", f"share of {value} on {kind}", SHARE
        ).with_phrases(share(product, f"on {kind}", unknown))
        yield feature(
            f"share_days_device_{slug(kind)}",
            DOUBLE,
            "share",
            f"share of days with plays that had some on {kind}",
            SHARE,
        ).with_phrases(share_of_days(f"on {kind}", unknown))
