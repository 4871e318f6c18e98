"""Account and person, and how often the person uses each product."""

from collections.abc import Iterator, Mapping

from churn.config.settings import Product
from churn.features.feature import Feature, Group, Range
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
    group = Group("profile", "features_profile", 5)
    no_age = "no age known"
    yield group.count("account_age_days", "days", "age of the account").says(
        "account {only}{value:span} old", "", "no account date known"
    )
    yield group.count("age", "years", "age of the person, given or predicted", Range(1, 120)).says(
        "{value} old", "", no_age
    )
    yield group.flag("is_16_to_34", "whether the person is 16 to 34 years old, given or predicted").says(
        "16 to 34 years old", "not 16 to 34 years old", no_age, compared=False
    )
    for name, meaning, what in (
        ("gender", "gender, given or predicted", "gender"),
        ("nation", "nation", "nation"),
        ("region", "television region", "television region"),
        ("acorn_category", "neighbourhood category (ACORN)", "neighbourhood category"),
        ("acorn_group", "neighbourhood group within the category (ACORN)", "neighbourhood group"),
        ("acorn_type", "neighbourhood type within the group (ACORN)", "neighbourhood type"),
    ):
        yield group.text(name, meaning).phrased(_named(what))
    yield group.flag("is_uk", "whether the account is in the United Kingdom").says(
        "in the United Kingdom", "outside the United Kingdom", "no location known", compared=False
    )
    yield group.text("personalisation", "whether personalisation is on").says(
        "personalisation on: {value}", "", "personalisation not known", compared=False
    )
    yield group.text("mail_verified", "whether the e-mail address is verified").says(
        "e-mail address verified: {value}", "", "not known if the e-mail address is verified", compared=False
    )


def segments(_: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    group = Group("segments", "features_segments", 6)
    for name, title in SEGMENT_PRODUCTS.items():
        yield group.text(f"segment_{name}", f"frequency segment for {title}").says(
            f"frequency segment for {title}: {{value}}",
            missing=f"no frequency segment for {title} known",
            compared=False,
        )
