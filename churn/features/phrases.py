"""Templates for feature values as user reasons, which ``churn.explain.wording`` fills.

A template has ``{value}``, or ``{value:SPEC}`` for another format, and ``{only}``, which becomes "only" if
the value is far below the usual one. The usual value follows the phrase, as ``{usual}``.
"""

import re
from dataclasses import dataclass

from churn.config.settings import Product

TIMES_OF_USE = frozenset({"seconds", "minutes", "hours"})
MONEY = frozenset({"dollars", "euros", "pounds"})
# Spans of time: in a feature's name, in a reason, in a feature's meaning.
LAST_WEEK = ("1w", "last week", "in the last observed week")
WINDOW = ("13w", "in 13 weeks", "in 13 weeks")
# The tail of a phrase for a number of days, such as "first seen 2 years ago".
SPAN_AGO = ", typically {usual:span} ago"


@dataclass(frozen=True)
class Phrases:
    """The templates of one feature. Without templates, a reason shows the feature's meaning and value.

    Attributes:
        raises: for a value that raises the risk.
        lowers: for a value that lowers it.
        zero: for 0 in both cases; empty: no special template.
        missing: for a missing value; empty: the feature's meaning and "unknown".
        usual: features that hold the user's own usual value in the same unit: one name, or a quotient such as
            ``days_13w / active_weeks_13w``. Empty: the median of the scored users is used.
        tail: follows the phrase if the usual value is known; empty: values are not compared.
    """

    raises: str = ""
    lowers: str = ""
    zero: str = ""
    missing: str = ""
    usual: str = ""
    tail: str = ""


NO_PHRASES = Phrases()


def say(
    template: str,
    zero: str = "",
    missing: str = "",
    usual: str = "",
    *,
    compared: bool = True,
    tail: str = "",
) -> Phrases:
    """Return phrases with one template for both directions; "only" appears where the risk is raised.

    Args:
        template: for the value.
        zero: for 0.
        missing: for a missing value.
        usual: features that hold the user's usual value, as in ``Phrases``.
        compared: whether the usual value is shown.
        tail: how it is shown; by default in the value's format, after "usually" or "typically".

    Example:
        >>> say("active in {only}{value} lately", "not active lately").lowers
        'active in {value} lately'
    """
    if compared and not tail:
        spec = re.search(r"\{value(:[^}]*)?\}", template)
        word = "usually" if usual else "typically"
        tail = f", {word} {{usual{(spec and spec[1]) or ''}}}"
    return Phrases(template, template.replace("{only}", ""), zero, missing, usual, tail)


def escape(text: str) -> str:
    """Return the template that shows a text unchanged."""
    return text.replace("{", "{{").replace("}", "}}")


def verb(product: Product) -> str:
    """Return the template of what users did with the product: "shopped" of "shopped in"."""
    return escape((product.verb.split() or ["used"])[0])


def event_noun(product: Product) -> str:
    """Return what the product's events are called: "visits".

    Not "plays": a visit to a page without a programme is an event too, and a play has a least length.
    """
    if product.value_unit in TIMES_OF_USE:
        return "visits"
    return "purchases" if product.verb == "bought" else "events"


def value_noun(product: Product) -> str:
    """Return what ``activity.value`` adds up to, without its unit: "playback"."""
    unit = product.value_unit
    if unit in TIMES_OF_USE:
        return "playback"
    return "spending" if unit in MONEY else unit.strip() or "units"


def amount(product: Product) -> str:
    """Return a template for ``activity.value``: "watched for 2.5 hours", "bought 3 units"."""
    unit = product.value_unit
    if unit in MONEY:
        return "spent {only}{value}"
    if unit in TIMES_OF_USE:
        return f"{verb(product)} for {{only}}{{value}}"
    return "{only}{value}" if unit == "events" else f"{verb(product)} {{only}}{{value}}"


def kinds_used(product: Product, kind: str) -> Phrases:
    """Return the phrases for how many listed categories, or kinds of device, were used."""
    did = verb(product)
    return say(f"{{only}}{{value}} {did} in 13 weeks", f"no listed {kind} {did} in 13 weeks")


def share(product: Product, place: str, missing: str = "") -> Phrases:
    """Return the phrases for the share of ``activity.value`` in a place, such as "on Sundays"."""
    noun, place = escape(value_noun(product)), escape(place)
    return say(f"{{value}} of {noun} {place}", f"no {noun} {place}", missing or f"no {noun} in 13 weeks")


def share_of_days(place: str, missing: str) -> Phrases:
    """Return the phrases for the share of days of use that had some in a place."""
    place = escape(place)
    return say(f"{{value}} of days of use {place}", f"no day of use {place}", missing)


def weeks(kind: str, count: int) -> str:
    """Return ``the coming week``, or for more of them ``the coming two weeks``."""
    return f"the {kind} week" if count == 1 else f"the {kind} {'two' if count == 2 else count} weeks"
