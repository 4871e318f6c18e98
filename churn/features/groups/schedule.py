"""Whether the target week's published schedule brings what people like."""

from collections.abc import Iterator

from churn.config.settings import Product
from churn.core.names import slug
from churn.features import phrases
from churn.features.feature import ANY, DOUBLE, Feature, Range, maker

_WEEK = "due in the predicted week"
# No release of a category is 1 below the usual; more than usual has no bound. What is watched can be of
# several categories, whose shares then add up to more than 1: the sum has no bound at all.
_CHANGE = Range(-1)


def schedule_match(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    unknown = phrases.share(product, "").missing

    def match(what: str, weight: str) -> phrases.Phrases:
        return phrases.say(
            f"{{value:change}} {what} than usual {_WEEK}, {weight}",
            f"as many {what} as usual {_WEEK}, {weight}",
            unknown,
            compared=False,
        )

    said = {"schedule_match": match("releases", "each category counting as much as it is used")}
    for value in product.categories:
        said[f"schedule_match_{slug(value)}"] = match(
            f"releases in {phrases.literal(value)}", "counting as much as they are used"
        )
    feature = maker("schedule match", "features_schedule", said, 3)
    relative = "releases of the target week relative to a usual week's, less 1, times the share of"
    yield feature(
        "schedule_match",
        DOUBLE,
        "change",
        f"{relative} {phrases.stuff(product)}: sum over categories",
        ANY,
    )
    for value in product.categories:
        yield feature(
            f"schedule_match_{slug(value)}",
            DOUBLE,
            "change",
            f"{relative} {phrases.stuff(product)}: {value}",
            _CHANGE,
        )
