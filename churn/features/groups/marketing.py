"""Ways back: the newsletter, e-mails, and what users marked to come back to."""

from collections.abc import Iterator
from dataclasses import replace

from churn.config.settings import Product
from churn.features import phrases
from churn.features.feature import FLAG, INTEGER, Feature, maker

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
    chose, never = "chose about the newsletter", "no choice about the newsletter known"
    days = phrases.say(f"{chose} {{value:span}} ago", f"{chose} on the last day", never)
    said = {
        "newsletter_opted_in": phrases.say(
            "opted in to the newsletter", "opted out of the newsletter", never, compared=False
        ),
        "newsletter_days": replace(days, tail=", typically {usual:span} ago"),
    }
    feature = maker("newsletter", "features_newsletter", said, 9)
    yield feature("newsletter_opted_in", INTEGER, "flag", "whether the user gets the newsletter", FLAG)
    yield feature(
        "newsletter_days",
        INTEGER,
        "days",
        "days since the user last opted in to the newsletter, or out of it",
    )


def mails(_: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    for kind, did, did_not in _MAILS:
        for span, when, within in (_LAST_WEEK, _WINDOW):
            name = f"mail_{kind}s_{span}"
            said = {name: phrases.say(f"{did} {{only}}{{value:times}} {when}", f"{did_not} {when}")}
            feature = maker("e-mail", "features_mails", said, 9)
            yield feature(name, INTEGER, f"{kind}s", f"times that the user {did} {within}")


def follows(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    for kind in product.follows:
        did, things = _FOLLOWS[kind]
        for span, when, within in (_LAST_WEEK, _WINDOW, _EVER):
            name = f"{kind}s_{span}"
            said = {name: phrases.say(f"{did} {{only}}{{value}} {when}", f"{did} no {things} {when}")}
            feature = maker("follows", "features_follows", said, 10)
            yield feature(name, INTEGER, things, f"{things} {did} {within}")
