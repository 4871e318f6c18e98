"""The ``churn.toml`` of an ingested log, complete and ready to edit."""

import json
from collections.abc import Iterable, Mapping

from churn.core.names import slug
from churn.core.values import DEFAULT_DECIMALS
from churn.sources.ingest.write import ProductSummary, Summary

_MOST_CATEGORIES = 12
_MOST_DEVICES = 8
_COHORTS_FROM = 100_000  # users a week; below it training can use every user at every past date: it is better

_HEAD = """\
# Made by `churn ingest` from {source}: {rows:,} events of {users:,} users,
# {first:%Y-%m-%d} to {last:%Y-%m-%d}. Yours to edit: titles, joined or removed products, categories, rules.
# A key that is not known is an error, so a typing mistake cannot be overlooked.

source = "events"  # how tables/ is read: leave it as it is
"""

_DECIMALS = """\
# Decimals with which `value` is kept and added up: chosen for this log's smallest values and largest sums.
value_decimals = {decimals}
"""

_PRODUCT = """
# {rows:,} events of {users:,} users. The name in brackets is used in commands, tables and paths:
# lower-case letters, digits and _.
[products.{name}]
title = {title}  # the name for people
match = {match}  # values of `product` in the log that count; several join them; [] = every event
verb = {verb}  # what people did with it, in the report's sentences
value_unit = {unit}  # what `value` counts: "seconds", "dollars", "units", "events"
# minimum_value = 180  # score only users with more than this value in the 13-week window
# One feature each, the share of a user's activity in it. {most_categories} at most: the largest by events.
categories = {categories}
# The same for devices, {most_devices} at most.
devices = {devices}
{left_out}
[products.{name}.training]
# "all": every user at every past date (best below some 100,000 users a week, here about {weekly_users:,});
# "cohort": one past date a user.
sampling = {sampling}
# max_dates = 26  # past dates to train on at most, the latest ones; left out: enough for this log, 26 to 104
"""


def settings_text(
    source: str,
    summary: Summary,
    products: Mapping[str, str],
    value_unit: str,
    verb: str = "used",
    decimals: int = DEFAULT_DECIMALS,
) -> str:
    """Return the TOML for a data folder.

    Args:
        source: name of the log.
        summary: summary of the written table.
        products: product name to its value in the log; an empty value means every event.
        value_unit: unit of the log's value.
        verb: what people do with the products.
        decimals: with how many decimals values are kept.
    """
    text = _HEAD.format(
        source=_comment(source),
        rows=summary.rows,
        users=summary.users,
        first=summary.first,
        last=summary.last,
    )
    if decimals != DEFAULT_DECIMALS:
        text += _DECIMALS.format(decimals=decimals)
    categories, devices = _Names(any_case=True), _Names(any_case=False)
    for name, value in products.items():
        left_out: list[str] = []
        product = summary.products[value or name]
        text += _PRODUCT.format(
            name=name,
            rows=product.rows,
            users=product.users,
            title=_toml(value or name),
            match=_toml([value] if value else []),
            verb=_toml(verb),
            unit=_toml(value_unit),
            most_categories=_MOST_CATEGORIES,
            categories=_toml(categories.choose(product.categories, _MOST_CATEGORIES, left_out)),
            most_devices=_MOST_DEVICES,
            devices=_toml(devices.choose(product.devices, _MOST_DEVICES, left_out)),
            left_out=_left_out_comment(left_out),
            sampling=_toml(_sampling(product)),
            weekly_users=product.weekly_users,
        )
    return text


def _sampling(product: ProductSummary) -> str:
    return "all" if product.weekly_users < _COHORTS_FROM else "cohort"


class _Names:
    """Feature names of values. All products share them, so each name stands for one spelling."""

    def __init__(self, *, any_case: bool) -> None:
        """``any_case``: whether a run treats values that differ only in case as equal."""
        self._any_case = any_case
        self._spelling: dict[str, str] = {}

    def choose(self, values: Iterable[str], most: int, left_out: list[str]) -> list[str]:
        """Return the first ``most`` values, in the spelling that all products share.

        Values whose feature name belongs to another value cannot have a feature; they go to ``left_out``.
        """
        chosen: dict[str, None] = {}
        for value in values:
            if len(chosen) == most:
                break
            first = self._spelling.setdefault(slug(value), value)
            if first == value or (self._any_case and first.lower() == value.lower()):
                chosen[first] = None
            else:
                left_out.append(value)
        return list(chosen)


def _left_out_comment(left_out: Iterable[str]) -> str:
    """Return a comment that lists the values without a feature; empty if there are none."""
    listed = ", ".join(_toml(_comment(value[:40])) for value in left_out)
    return (
        f"# Without a feature, as another one's name is the same but for case and signs: {listed}\n"
        * bool(listed)
    )


def _toml(value: str | list[str]) -> str:
    """Return a TOML value. TOML's basic strings escape like JSON's, except for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _comment(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)
