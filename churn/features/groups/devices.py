"""On which devices users play."""

from collections.abc import Iterator

from churn.config.settings import Product
from churn.core.names import slug
from churn.features.feature import Feature, Group, Range
from churn.features.phrases import kinds_used, share, share_of_days, value_noun


def device(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    group = Group("device", "features_devices", 7)
    value, unknown = value_noun(product), "no plays in 13 weeks"
    yield group.count(
        "devices_used",
        "kinds of device",
        "kinds of device used in 13 weeks",
        Range(0, max(1, len(product.devices))),
    ).phrased(kinds_used(product, "kind of device"))
    yield group.text("preferred_device", f"kind of device with most {value} in 13 weeks").says(
        "mostly on {value}", "", f"{unknown} on a listed device", compared=False
    )
    for kind in product.devices:
        yield group.share(f"share_device_{slug(kind)}", f"share of {value} on {kind}").phrased(
            share(product, f"on {kind}", unknown)
        )
        yield group.share(
            f"share_days_device_{slug(kind)}", f"share of days with plays that had some on {kind}"
        ).phrased(share_of_days(f"on {kind}", unknown))
