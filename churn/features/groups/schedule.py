"""Whether the target week's published schedule has what users like."""

from collections.abc import Iterator

from churn.config.settings import Product
from churn.core.names import slug
from churn.features.feature import ANY, Feature, Group, Range
from churn.features.phrases import Phrases, escape, say, value_noun, weeks


def schedule_match(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    group = Group("schedule match", "features_schedule", 3)
    week, value = f"due in {weeks('predicted', product.target_weeks)}", value_noun(product)
    meaning = f"releases of the target week relative to a usual week's, less 1, times the share of {value}"

    def match(what: str, weight: str) -> Phrases:
        return say(
            f"{{value:change}} {what} than usual {week}, {weight}",
            f"as many {what} as usual {week}, {weight}",
            f"no {escape(value)} in 13 weeks",
            compared=False,
        )

    # An item of several categories counts in each of them, so the sum has no bound.
    yield (
        group.number("schedule_match", "change", f"{meaning}: sum over categories", ANY)
        .phrased(match("releases", "each category counting as much as it is used"))
        .reported_as(f"more releases than usual {week} of what people like")
    )
    for category in product.categories:
        # No releases are -1.
        yield (
            group.number(f"schedule_match_{slug(category)}", "change", f"{meaning}: {category}", Range(-1))
            .phrased(match(f"releases in {escape(category)}", "counting as much as they are used"))
            .reported_as(f"more releases than usual {week} in {category}, for those who like them")
        )
