"""The text of ``churn.toml`` for a log that was taken: complete, and ready to edit."""

import json
from collections.abc import Iterable, Mapping

from churn.config import slug
from churn.ingest.write import ProductSummary, Summary

_MOST_CATEGORIES = 12
_MOST_DEVICES = 8
_SMALL_LOG_USERS, _SMALL_LOG_DATES, _DATES = 30_000, 52, 26  # 0.4 % of log loss on cdnow (docs/benchmarks.md)
_COHORTS_FROM = 100_000  # users; below it every user at every past date is affordable, and better

_HEAD = """\
# Made by `churn ingest` from {source}: {rows:,} events of {users:,} users,
# {first:%Y-%m-%d} to {last:%Y-%m-%d}. Yours to edit: titles, joined or removed products, categories, rules.
# A key that is not known is an error, so a typing mistake cannot be overlooked.

source = "events"  # how tables/ is read: leave it as it is
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

[products.{name}.training]
# "all": every user at every past date (best below some 100,000 users); "cohort": one past date a user.
sampling = {sampling}
max_dates = {max_dates}  # past dates to train on at most, the latest ones; a small log gains from more
"""


def settings_text(
    source: str, summary: Summary, products: Mapping[str, str], value_unit: str, verb: str = "used"
) -> str:
    """Return the TOML for a data folder.

    Args:
        source: where the log came from.
        summary: what was written.
        products: product name to its value in the log; an empty value stands for every event.
        value_unit: what the log's value counts.
        verb: what people did with the products.
    """
    text = _HEAD.format(
        source=_comment(source),
        rows=summary.rows,
        users=summary.users,
        first=summary.first,
        last=summary.last,
    )
    for name, value in products.items():
        found = summary.products[value or name]
        text += _PRODUCT.format(
            name=name,
            rows=found.rows,
            users=found.users,
            title=_toml(value or name),
            match=_toml([value] if value else []),
            verb=_toml(verb),
            unit=_toml(value_unit),
            most_categories=_MOST_CATEGORIES,
            categories=_toml(_distinct(found.categories, _MOST_CATEGORIES)),
            most_devices=_MOST_DEVICES,
            devices=_toml(_distinct(found.devices, _MOST_DEVICES)),
            sampling=_toml(_sampling(found)),
            max_dates=_SMALL_LOG_DATES if found.users < _SMALL_LOG_USERS else _DATES,
        )
    return text


def _sampling(product: ProductSummary) -> str:
    return "all" if product.users < _COHORTS_FROM else "cohort"


def _distinct(values: Iterable[str], most: int) -> list[str]:
    """The first values that give different feature names."""
    kept: dict[str, str] = {}
    for value in values:
        kept.setdefault(slug(value), value)
    return list(kept.values())[:most]


def _toml(value: str | list[str]) -> str:
    """TOML's basic strings escape like JSON's, but for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _comment(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)
