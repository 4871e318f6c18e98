"""What people use beside the product."""

from collections.abc import Iterator
from dataclasses import replace

from churn.config.settings import Product
from churn.features import phrases
from churn.features.feature import DOUBLE, INTEGER, SHARE, Feature, Range, maker

_SPANS = (("1w", "last week", "in the last observed week", 7), ("13w", "in 13 weeks", "in 13 weeks", 91))


def other_products(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    unit, stuff = product.value_unit, phrases.stuff(product)
    amount = (
        "spent {only}{value} on other products"
        if unit in phrases.MONEY
        else "{only}{value} with other products"
        if unit in phrases.TIMES_OF_USE
        else "{only}{value} of other products"
    )
    never = "other products never used"
    last = phrases.say(
        "other products last used {value:span} ago", "other products used on the last day", never
    )
    said = {
        "other_weeks_13w": phrases.say(
            "other products used in {only}{value:number} of the last 13 weeks",
            "other products not used in 13 weeks",
        ),
        "other_products_13w": phrases.say(
            "{only}{value} used beside this one in 13 weeks", "other products not used in 13 weeks"
        ),
        "own_share_13w": phrases.say(
            "{only}{value} of all use is of this product", "", "no use of any product in 13 weeks"
        ),
        "other_days_since_last": replace(last, tail=", typically {usual:span} ago"),
    }
    for span, when, _, _ in _SPANS:
        none = f"other products not used {when}"
        said[f"other_days_{span}"] = phrases.say(f"other products used on {{only}}{{value}} {when}", none)
        said[f"other_value_{span}"] = phrases.say(f"{amount} {when}", none)
    feature = maker("other products", "features_other", said)
    for span, _, within, days in _SPANS:
        yield feature(
            f"other_days_{span}", INTEGER, "days", f"days with use of other products {within}", Range(0, days)
        )
        yield feature(f"other_value_{span}", DOUBLE, unit, f"{stuff} of other products {within}")
    yield feature(
        "other_weeks_13w", INTEGER, "weeks", "weeks of the last 13 with use of other products", Range(0, 13)
    )
    yield feature("other_products_13w", INTEGER, "products", "other products used in 13 weeks")
    yield feature("own_share_13w", DOUBLE, "share", f"share of all {stuff} that is this product's", SHARE)
    yield feature(
        "other_days_since_last", INTEGER, "days", "days since another product was used, in 13 weeks"
    )
