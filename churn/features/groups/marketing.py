"""Ways back: the newsletter, e-mails, and what users marked to come back to."""

from collections.abc import Iterator

from churn.config.settings import Product
from churn.features.feature import Feature, Group
from churn.features.phrases import LAST_WEEK, SPAN_AGO, WINDOW

_EVER = ("ever", "so far", "up to the as-of date")
_MAILS = (
    ("open", "opened", "opened e-mails", "opened no e-mail"),
    ("click", "clicked in", "clicked in e-mails", "clicked in no e-mail"),
)
_FOLLOWS = {
    "follow": ("followed", "programmes"),
    "subscribe": ("subscribed to", "programmes"),
    "bookmark": ("bookmarked", "items"),
}


def newsletter(_: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    group = Group("newsletter", "features_newsletter", 9)
    chose, unknown = "chose about the newsletter", "no choice about the newsletter known"
    yield group.flag("newsletter_opted_in", "whether the user gets the newsletter").says(
        "opted in to the newsletter", "opted out of the newsletter", unknown, compared=False
    )
    yield group.count(
        "newsletter_days", "days", "days since the user last opted in to the newsletter, or out of it"
    ).says(f"{chose} {{value:span}} ago", f"{chose} on the last day", unknown, tail=SPAN_AGO)


def mails(_: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    group = Group("e-mail", "features_mails", 9)
    for kind, verb, did, did_not in _MAILS:
        for span, when, within in (LAST_WEEK, WINDOW):
            meaning = f"e-mails that the user {verb} {within}, each counted once a day"
            yield (
                group.count(f"mail_{kind}s_{span}", f"{kind}s", meaning)
                .says(f"{did} {{only}}{{value:times}} {when}", f"{did_not} {when}")
                .reported_as(f"e-mails {verb} {when}")
            )


def follows(product: Product) -> Iterator[Feature]:
    """Yield the features of the group."""
    group = Group("follows", "features_follows", 10)
    for kind in product.follows:
        did, things = _FOLLOWS[kind]
        for span, when, within in (LAST_WEEK, WINDOW, _EVER):
            yield group.count(f"{kind}s_{span}", things, f"{things} {did} {within}").says(
                f"{did} {{only}}{{value}} {when}", f"{did} no {things} {when}"
            )
