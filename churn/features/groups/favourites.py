"""What brought people, and what they like best."""

from collections.abc import Iterator
from dataclasses import replace

from churn.config.settings import Product
from churn.features import phrases
from churn.features.feature import ANY, DOUBLE, INTEGER, SHARE, TEXT, Feature, maker

_CAME = "came or came back"


def _content(product: Product) -> str:
    return "programme" if product.value_unit in phrases.TIMES_OF_USE else "item"


def activations(_: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    weeks = phrases.say(
        f"{_CAME} {{only}}{{value}} before last week",
        f"{_CAME} last week",
        f"not known when the user {_CAME}",
    )
    said = {"activation_weeks": replace(weeks, tail=", typically {usual}")}
    feature = maker("activations", "features_activations", said, 8)
    yield feature(
        "activation_weeks", INTEGER, "weeks", "weeks since the user came, or came back after 13 weeks away"
    )


def activation_titles(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    thing = _content(product)
    missing = f"not known for what the user {_CAME}"
    said = {
        "activation_genre": phrases.say(f"{_CAME} for {{value}}", missing=missing, compared=False),
        "activation_master_brand": phrases.say(
            f"{_CAME} for a {thing} of {{value}}".replace("a item", "an item"),
            missing=missing,
            compared=False,
        ),
    }
    feature = maker("activation titles", "features_activations", said, 8)
    what = f"the {thing} with which the user came, or came back after 13 weeks away"
    yield feature("activation_genre", TEXT, "category", f"genre of {what}", ANY)
    yield feature("activation_master_brand", TEXT, "category", f"channel or station of {what}", ANY)


def favourite(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    place = f"in the favourite {_content(product)}"
    said = {"favourite_share": phrases.share(product, place)}
    feature = maker("favourite", "features_favourite", said, 8)
    yield feature(
        "favourite_share", DOUBLE, "share", f"share of {phrases.stuff(product)} {place} of 13 weeks", SHARE
    )


def favourite_titles(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    what = f"the favourite {_content(product)}"
    said = {
        f"favourite_{column}": phrases.say(
            f"{word} of {what}: {{value}}", missing=f"{word} of {what} not known", compared=False
        )
        for column, word in (("genre", "genre"), ("master_brand", "channel or station"))
    }
    feature = maker("favourite titles", "features_favourite", said, 8)
    yield feature("favourite_genre", TEXT, "category", f"genre of {what} of 13 weeks", ANY)
    yield feature(
        "favourite_master_brand", TEXT, "category", f"channel or station of {what} of 13 weeks", ANY
    )


def factors(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    what = f"the favourite {_content(product)}"
    said = {
        f"favourite_f{index}": phrases.say(
            f"{what} at {{value:number}} on the recommender's factor {index}",
            missing=f"the recommender's factors of {what} not known",
        )
        for index in range(product.factors)
    }
    feature = maker("item factors", "features_favourite", said, 8)
    for index in range(product.factors):
        yield feature(
            f"favourite_f{index}", DOUBLE, "factor", f"the recommender's item factor {index} of {what}", ANY
        )
