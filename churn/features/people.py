"""Account and person."""

from collections.abc import Iterator

from churn import phrases
from churn.config import Product
from churn.features.feature import ANY, FLAG, INTEGER, TEXT, Feature, Range, maker


def profile(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    feature = maker("profile", "features_profile", phrases.profile(product), 5)
    yield feature("account_age_days", INTEGER, "days", "age of the account")
    yield feature("age", INTEGER, "years", "age of the person", Range(1, 120))
    yield feature("is_16_to_34", INTEGER, "flag", "whether the person is 16 to 34 years old", FLAG)
    yield feature("gender", TEXT, "category", "gender", ANY)
    yield feature("nation", TEXT, "category", "nation", ANY)
    yield feature("region", TEXT, "category", "television region", ANY)
    yield feature("acorn_category", TEXT, "category", "neighbourhood type (ACORN)", ANY)
    yield feature("personalisation", TEXT, "category", "whether personalisation is on", ANY)
    yield feature("mail_verified", TEXT, "category", "whether the e-mail address is verified", ANY)
