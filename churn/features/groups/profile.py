"""Account and person, and how frequent a user of each product the person is."""

from collections.abc import Iterator, Mapping

from churn.config.settings import Product
from churn.features import phrases
from churn.features.feature import ANY, FLAG, INTEGER, TEXT, Feature, Range, maker

# The products that users are segmented for, and what they are called.
SEGMENT_PRODUCTS: Mapping[str, str] = {
    "iplayer": "iPlayer",
    "sounds": "Sounds",
    "news": "News",
    "sport": "Sport",
    "cbbc": "CBBC",
    "cbeebies": "CBeebies",
    "weather": "Weather",
    "panbbc": "all products",
}


def profile(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    feature = maker("profile", "features_profile", phrases.profile(product), 5)
    yield feature("account_age_days", INTEGER, "days", "age of the account")
    yield feature("age", INTEGER, "years", "age of the person, given or predicted", Range(1, 120))
    yield feature(
        "is_16_to_34", INTEGER, "flag", "whether the person is 16 to 34 years old, given or predicted", FLAG
    )
    yield feature("gender", TEXT, "category", "gender, given or predicted", ANY)
    yield feature("nation", TEXT, "category", "nation", ANY)
    yield feature("region", TEXT, "category", "television region", ANY)
    yield feature("acorn_category", TEXT, "category", "neighbourhood category (ACORN)", ANY)
    yield feature("acorn_group", TEXT, "category", "neighbourhood group within the category (ACORN)", ANY)
    yield feature("acorn_type", TEXT, "category", "neighbourhood type within the group (ACORN)", ANY)
    yield feature("is_uk", INTEGER, "flag", "whether the account is in the United Kingdom", FLAG)
    yield feature("personalisation", TEXT, "category", "whether personalisation is on", ANY)
    yield feature("mail_verified", TEXT, "category", "whether the e-mail address is verified", ANY)


def segments(_: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    said = {
        f"segment_{name}": phrases.say(
            f"frequency segment for {title}: {{value}}",
            missing=f"no frequency segment for {title} known",
            compared=False,
        )
        for name, title in SEGMENT_PRODUCTS.items()
    }
    feature = maker("segments", "features_segments", said, 6)
    for name, title in SEGMENT_PRODUCTS.items():
        yield feature(f"segment_{name}", TEXT, "category", f"frequency segment for {title}", ANY)
