"""Use of other products."""

from collections.abc import Iterator

from churn.config.settings import Product
from churn.features.feature import DOUBLE, INTEGER, SHARE, Feature, Range, maker
from churn.features.phrases import MONEY, TIMES_OF_USE, say, value_noun

_SPANS = (("1w", "last week", "in the last observed week", 7), ("13w", "in 13 weeks", "in 13 weeks", 91))


def other_products(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    feature = maker("other products", "features_other")
    unit, value = product.value_unit, value_noun(product)
    amount = (
        "spent {only}{value} on other products"
        if unit in MONEY
        else "{only}{value} with other products"
        if unit in TIMES_OF_USE
        else "{only}{value} of other products"
    )
    unused = "other products not used"
    for span, when, within, days in _SPANS:
        yield feature(
            f"other_days_{span}", INTEGER, "days", f"days with use of other products {within}", Range(0, days)
        ).with_phrases(say(f"other products used on {{only}}{{value}} {when}", f"{unused} {when}"))
        yield feature(
            f"other_value_{span}", DOUBLE, unit, f"{value} of other products {within}"
        ).with_phrases(say(f"{amount} {when}", f"{unused} {when}"))
    yield feature(
        "other_weeks_13w", INTEGER, "weeks", "weeks of the last 13 with use of other products", Range(0, 13)
    ).with_phrases(
        say("other products used in {only}{value:number} of the last 13 weeks", f"{unused} in 13 weeks")
    )
    yield feature("other_products_13w", INTEGER, "products", "other products used in 13 weeks").with_phrases(
        say("{only}{value} used beside this one in 13 weeks", f"{unused} in 13 weeks")
    )
    yield feature(
        "own_share_13w", DOUBLE, "share", f"share of all {value} that is this product's", SHARE
    ).with_phrases(
        say("{only}{value} of all use is of this product", "", "no use of any product in 13 weeks")
    )
    yield feature(
        "other_days_since_last", INTEGER, "days", "days since another product was used, in 13 weeks"
    ).with_phrases(
        say(
            "other products last used {value:span} ago",
            "other products used on the last day",
            "other products never used",
            tail=", typically {usual:span} ago",
        )
    )
