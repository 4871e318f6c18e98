"""What brought users, and what they like best."""

from collections.abc import Iterator

from churn.config.settings import Product
from churn.features.feature import ANY, DOUBLE, INTEGER, SHARE, TEXT, Feature, maker
from churn.features.phrases import TIMES_OF_USE, say, share, value_noun

_CAME = "came or came back"


def _item(product: Product) -> str:
    return "programme" if product.value_unit in TIMES_OF_USE else "item"


def activations(_: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    feature = maker("activations", "features_activations", 8)
    yield feature(
        "activation_weeks", INTEGER, "weeks", "weeks since the user came, or came back after 13 weeks away"
    ).with_phrases(
        say(
            f"{_CAME} {{only}}{{value}} before last week",
            f"{_CAME} last week",
            f"not known when the user {_CAME}",
        )
    )


def activation_titles(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    feature = maker("activation titles", "features_activations", 8)
    item, unknown = _item(product), f"not known for what the user {_CAME}"
    what = f"the {item} with which the user came, or came back after 13 weeks away"
    yield feature("activation_genre", TEXT, "category", f"genre of {what}", ANY).with_phrases(
        say(f"{_CAME} for {{value}}", missing=unknown, compared=False)
    )
    yield feature(
        "activation_master_brand", TEXT, "category", f"channel or station of {what}", ANY
    ).with_phrases(
        say(
            f"{_CAME} for {'an' if item == 'item' else 'a'} {item} of {{value}}",
            missing=unknown,
            compared=False,
        )
    )


def favourite(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    feature = maker("favourite", "features_favourite", 8)
    place = f"in the favourite {_item(product)}"
    yield feature(
        "favourite_share", DOUBLE, "share", f"share of {value_noun(product)} {place} of 13 weeks", SHARE
    ).with_phrases(share(product, place))


def favourite_titles(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    feature = maker("favourite titles", "features_favourite", 8)
    what = f"the favourite {_item(product)}"
    for column, word in (("genre", "genre"), ("master_brand", "channel or station")):
        yield feature(
            f"favourite_{column}", TEXT, "category", f"{word} of {what} of 13 weeks", ANY
        ).with_phrases(
            say(f"{word} of {what}: {{value}}", missing=f"{word} of {what} not known", compared=False)
        )


def factors(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    feature = maker("item factors", "features_favourite", 8)
    what = f"the favourite {_item(product)}"
    for index in range(product.factors):
        yield feature(
            f"favourite_f{index}", DOUBLE, "factor", f"the recommender's item factor {index} of {what}", ANY
        ).with_phrases(
            say(
                f"{what} at {{value:number}} on the recommender's factor {index}",
                missing=f"the recommender's factors of {what} not known",
            )
        )
