"""What kinds of audio users listen to: radio, podcasts and music mixes."""

from collections.abc import Iterator

from churn.config.settings import Product
from churn.features.feature import ANY, DOUBLE, SHARE, TEXT, Feature, maker
from churn.features.phrases import say, share, share_of_days, value_noun

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
    feature = maker("listening", "features_listening", 2)
    value, unknown = value_noun(product), "nothing listened to in 13 weeks is known"
    yield feature(
        "preferred_listening", TEXT, "category", f"radio, podcasts or mixes: most {value} in 13 weeks", ANY
    ).with_phrases(say("listening mostly to {value}", "", unknown, compared=False))
    yield feature(
        "preferred_listening_type", TEXT, "category", f"kind of listening with most {value} in 13 weeks", ANY
    ).with_phrases(say("listening to {value} more than to any other kind", "", unknown, compared=False))
    for kind, words in _KINDS.items():
        yield feature(
            f"share_listening_{kind}", DOUBLE, "share", f"share of {value} in {words}", SHARE
        ).with_phrases(share(product, f"in {words}", unknown))
        yield feature(
            f"share_days_listening_{kind}", DOUBLE, "share", f"share of days of listening with {words}", SHARE
        ).with_phrases(share_of_days(f"with {words}", unknown))
