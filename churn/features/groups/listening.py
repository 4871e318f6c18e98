"""What kinds of audio users listen to: radio, podcasts and music mixes."""

from collections.abc import Iterator

from churn.config.settings import Product
from churn.features.feature import Feature, Group
from churn.features.phrases import share, share_of_days, value_noun

# The kinds in the SQL step.
_KINDS = {
    "live_radio": "live radio",
    "demand_radio": "on-demand radio",
    "sounds_podcasts": "podcasts made for Sounds",
    "radio_podcasts": "podcasts of radio programmes",
    "sounds_mixes": "music mixes on demand",
    "linear_mixes": "music mixes on air",
}


def listening(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    group = Group("listening", "features_listening", 2)
    value, unknown = value_noun(product), "nothing listened to in 13 weeks is known"
    yield group.text("preferred_listening", f"radio, podcasts or mixes: most {value} in 13 weeks").says(
        "listening mostly to {value}", "", unknown, compared=False
    )
    yield group.text("preferred_listening_type", f"kind of listening with most {value} in 13 weeks").says(
        "listening to {value} more than to any other kind", "", unknown, compared=False
    )
    for kind, words in _KINDS.items():
        yield group.share(f"share_listening_{kind}", f"share of {value} in {words}").phrased(
            share(product, f"in {words}", unknown)
        )
        yield group.share(f"share_days_listening_{kind}", f"share of days of listening with {words}").phrased(
            share_of_days(f"with {words}", unknown)
        )
