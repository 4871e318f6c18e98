"""Ways back: the newsletter, e-mails, and what users marked to come back to."""

from collections.abc import Iterator

from churn.config.settings import Product
from churn.features.feature import FLAG, INTEGER, Feature, maker
from churn.features.phrases import say

_LAST_WEEK = ("1w", "last week", "in the last observed week")
_WINDOW = ("13w", "in 13 weeks", "in 13 weeks")
_EVER = ("ever", "so far", "up to the as-of date")
_MAILS = (
    ("open", "opened e-mails", "opened no e-mail"),
    ("click", "clicked in e-mails", "clicked in no e-mail"),
)
_FOLLOWS = {
    "follow": ("followed", "programmes"),
    "subscribe": ("subscribed to", "programmes"),
    "bookmark": ("bookmarked", "items"),
}


def newsletter(_: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    feature = maker("newsletter", "features_newsletter", 9)
    chose, unknown = "chose about the newsletter", "no choice about the newsletter known"
    yield feature(
        "newsletter_opted_in", INTEGER, "flag", "whether the user gets the newsletter", FLAG
    ).with_phrases(say("opted in to the newsletter", "opted out of the newsletter", unknown, compared=False))
    yield feature(
        "newsletter_days",
        INTEGER,
        "days",
        "days since the user last opted in to the newsletter, or out of it",
    ).with_phrases(
        say(
            f"{chose} {{value:span}} ago",
            f"{chose} on the last day",
            unknown,
            tail=", typically {usual:span} ago",
        )
    )


def mails(_: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    feature = maker("e-mail", "features_mails", 9)
    for kind, did, did_not in _MAILS:
        for span, when, within in (_LAST_WEEK, _WINDOW):
            yield feature(
                f"mail_{kind}s_{span}", INTEGER, f"{kind}s", f"times that the user {did} {within}"
            ).with_phrases(say(f"{did} {{only}}{{value:times}} {when}", f"{did_not} {when}"))


def follows(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    feature = maker("follows", "features_follows", 10)
    for kind in product.follows:
        did, things = _FOLLOWS[kind]
        for span, when, within in (_LAST_WEEK, _WINDOW, _EVER):
            yield feature(f"{kind}s_{span}", INTEGER, things, f"{things} {did} {within}").with_phrases(
                say(f"{did} {{only}}{{value}} {when}", f"{did} no {things} {when}")
            )
