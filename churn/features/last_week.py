"""What people played for long in the last observed week."""

from collections.abc import Iterator

from churn import phrases
from churn.config import Product
from churn.features.feature import INTEGER, Feature, maker

_LONG = "played for ten minutes or more"


def last_week(_: Product) -> Iterator[Feature]:
    """Yield the features of the group."""

    def played(unit: str, rest: str) -> phrases.Phrases:
        return phrases.say(f"{{only}}{{value}} {_LONG} {rest}", f"no {unit} {_LONG} {rest}")

    said = {
        "long_items_1w": played("episode", "last week"),
        "long_series_1w": played("series", "last week"),
        "repeats_1w": phrases.say(
            "{only}{value} played twice or more last week, ten minutes each time",
            "no episode played twice last week, ten minutes each time",
        ),
        "finales_1w": played("series", "as a season ended last week"),
        "premieres_1w": played("series", "as a season began last week"),
    }
    feature = maker("last week", "features_last_week", said, 4)
    within = f"{_LONG} in the last observed week"
    yield feature("long_items_1w", INTEGER, "episodes", f"different episodes {within}")
    yield feature("long_series_1w", INTEGER, "series", f"different series {within}")
    yield feature("repeats_1w", INTEGER, "episodes", f"episodes {within} more than once")
    yield feature("finales_1w", INTEGER, "series", f"series {within} of which a season ended in it")
    yield feature("premieres_1w", INTEGER, "series", f"series {within} of which a season began in it")
