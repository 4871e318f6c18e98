"""What brought users, and what they like best."""

from collections.abc import Iterator

from churn.config.settings import Product
from churn.features.feature import ANY, Feature, Group
from churn.features.phrases import TIMES_OF_USE, share, value_noun

_CAME = "came or came back"


def _item(product: Product) -> str:
    return "programme" if product.value_unit in TIMES_OF_USE else "item"


def activations(_: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    group = Group("activations", "features_activations", 8)
    yield group.count(
        "activation_weeks", "weeks", "weeks since the user came, or came back after 13 weeks away"
    ).says(
        f"{_CAME} {{only}}{{value}} before last week",
        f"{_CAME} last week",
        f"not known when the user {_CAME}",
    )


def activation_titles(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    group = Group("activation titles", "features_activations", 8)
    item, unknown = _item(product), f"not known for what the user {_CAME}"
    article = "an" if item == "item" else "a"
    what = f"the {item} with which the user came, or came back after 13 weeks away"
    yield (
        group.text("activation_genre", f"genre of {what}")
        .says(f"{_CAME} for {{value}}", missing=unknown, compared=False)
        .reported_as(f"genre of the {item} that brought people")
    )
    yield (
        group.text("activation_master_brand", f"channel or station of {what}")
        .says(f"{_CAME} for {article} {item} of {{value}}", missing=unknown, compared=False)
        .reported_as(f"channel or station of the {item} that brought people")
    )


def favourite(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    group = Group("favourite", "features_favourite", 8)
    place = f"in the favourite {_item(product)}"
    yield group.share("favourite_share", f"share of {value_noun(product)} {place} of 13 weeks").phrased(
        share(product, place)
    )


def favourite_titles(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    group = Group("favourite titles", "features_favourite", 8)
    what = f"the favourite {_item(product)}"
    for column, word in (("genre", "genre"), ("master_brand", "channel or station")):
        yield group.text(f"favourite_{column}", f"{word} of {what} of 13 weeks").says(
            f"{word} of {what}: {{value}}", missing=f"{word} of {what} not known", compared=False
        )


def factors(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    group = Group("item factors", "features_favourite", 8)
    what = f"the favourite {_item(product)}"
    for index in range(product.factors):
        yield group.number(
            f"favourite_f{index}", "factor", f"the recommender's item factor {index} of {what}", ANY
        ).says(
            f"{what} at {{value:number}} on the recommender's factor {index}",
            missing=f"the recommender's factors of {what} not known",
        )
