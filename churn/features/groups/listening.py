"""What kinds of audio people listen to: radio, podcasts and music mixes."""

from collections.abc import Iterator

from churn.config.settings import Product
from churn.features import phrases
from churn.features.feature import ANY, DOUBLE, SHARE, TEXT, Feature, maker

# As the SQL step tells them apart.
_KINDS = {
    "live_radio": "live radio",
    "demand_radio": "on-demand radio",
    "sounds_podcasts": "podcasts made for Sounds",
    "radio_podcasts": "podcasts of radio programmes",
    "sounds_mixes": "music mixes on demand",
    "linear_mixes": "music mixes on air",
}
_UNKNOWN = "nothing listened to in 13 weeks is known"


def listening(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    said = {
        "preferred_listening": phrases.say("listening mostly to {value}", "", _UNKNOWN, compared=False),
        "preferred_listening_type": phrases.say(
            "listening to {value} more than to any other kind", "", _UNKNOWN, compared=False
        ),
    }
    for kind, words in _KINDS.items():
        said[f"share_listening_{kind}"] = phrases.share(product, f"in {words}", _UNKNOWN)
        said[f"share_days_listening_{kind}"] = phrases.share_of_days(f"with {words}", _UNKNOWN)
    feature = maker("listening", "features_listening", said, 2)
    stuff = phrases.stuff(product)
    yield feature(
        "preferred_listening", TEXT, "category", f"radio, podcasts or mixes: most {stuff} in 13 weeks", ANY
    )
    yield feature(
        "preferred_listening_type", TEXT, "category", f"kind of listening with most {stuff} in 13 weeks", ANY
    )
    for kind, words in _KINDS.items():
        yield feature(f"share_listening_{kind}", DOUBLE, "share", f"share of {stuff} in {words}", SHARE)
        yield feature(
            f"share_days_listening_{kind}", DOUBLE, "share", f"share of days of listening with {words}", SHARE
        )
