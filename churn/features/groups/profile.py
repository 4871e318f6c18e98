"""Account and person, and how often the person uses each product."""

from collections.abc import Iterator, Mapping

from churn.config.settings import Product
from churn.features.feature import ANY, FLAG, INTEGER, TEXT, Feature, Range, maker
from churn.features.phrases import Phrases, say

# The products that users are segmented for, and their titles.
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


def _named(what: str) -> Phrases:
    return say(f"{what} {{value}}", "", f"no {what} known", compared=False)


def profile(_: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    feature = maker("profile", "features_profile", 5)
    no_age = "no age known"
    yield feature("account_age_days", INTEGER, "days", "age of the account").with_phrases(
        say("account {only}{value:span} old", "", "no account date known")
    )
    yield feature(
        "age", INTEGER, "years", "age of the person, given or predicted", Range(1, 120)
    ).with_phrases(say("{value} old", "", no_age))
    yield feature(
        "is_16_to_34", INTEGER, "flag", "whether the person is 16 to 34 years old, given or predicted", FLAG
    ).with_phrases(say("16 to 34 years old", "not 16 to 34 years old", no_age, compared=False))
    for name, meaning, what in (
        ("gender", "gender, given or predicted", "gender"),
        ("nation", "nation", "nation"),
        ("region", "television region", "television region"),
        ("acorn_category", "neighbourhood category (ACORN)", "neighbourhood category"),
        ("acorn_group", "neighbourhood group within the category (ACORN)", "neighbourhood group"),
        ("acorn_type", "neighbourhood type within the group (ACORN)", "neighbourhood type"),
    ):
        yield feature(name, TEXT, "category", meaning, ANY).with_phrases(_named(what))
    yield feature(
        "is_uk", INTEGER, "flag", "whether the account is in the United Kingdom", FLAG
    ).with_phrases(
        say("in the United Kingdom", "outside the United Kingdom", "no location known", compared=False)
    )
    yield feature("personalisation", TEXT, "category", "whether personalisation is on", ANY).with_phrases(
        say("personalisation on: {value}", "", "personalisation not known", compared=False)
    )
    yield feature(
        "mail_verified", TEXT, "category", "whether the e-mail address is verified", ANY
    ).with_phrases(
        say(
            "e-mail address verified: {value}",
            "",
            "not known if the e-mail address is verified",
            compared=False,
        )
    )


def segments(_: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    feature = maker("segments", "features_segments", 6)
    for name, title in SEGMENT_PRODUCTS.items():
        yield feature(
            f"segment_{name}", TEXT, "category", f"frequency segment for {title}", ANY
        ).with_phrases(
            say(
                f"frequency segment for {title}: {{value}}",
                missing=f"no frequency segment for {title} known",
                compared=False,
            )
        )
