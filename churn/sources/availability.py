"""Check the raw tables of a source, and find out which parts of the contract can be read.

Each source (``bbc``, ``events``) maps its raw tables onto the contract's views (``activity``, ``content``,
``profile``, ...) under ``sql/sources/<source>/``. ``churn.sources.contract`` lists the raw tables. They are
checked before any SQL step runs.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from churn.core.errors import SourceError
from churn.sources.contract import OPTIONAL, PREDICTIONS, REQUIRED, TABLES, VIEWS
from churn.warehouse.base import Warehouse

# The type names of each family in DuckDB, Redshift and PostgreSQL; the whole name must match.
_FAMILIES: Mapping[str, str] = {
    "text": r"(character varying|character|varchar|bpchar|char|text|string|enum)(\(.*\))?",
    "date": r"date",
    "timestamp": r"(timestamp|datetime)(_s|_ms|_ns)?(\(\d\))?( without time zone)?",
    "number": r"u?(tiny|small|big|huge)?int(eger)?|int[248]|double( precision)?|float[48]?|real"
    r"|(decimal|numeric)(\(.*\))?",
    "any": r".*",
}


@dataclass(frozen=True)
class Availability:
    """Which optional parts of the source contract can be read: views, and columns of ``activity``.

    Attributes:
        reasons: false flag -> its reason, if it differs from the one in ``ABSENT``.
    """

    profile: bool = True
    predictions: bool = True
    content: bool = True
    titles: bool = True
    formats: bool = True
    segments: bool = True
    follows: bool = True
    newsletter: bool = True
    mails: bool = True
    activations: bool = True
    factors: bool = True
    category: bool = True
    device: bool = True
    item: bool = True
    series: bool = True
    time_of_day: bool = True
    live: bool = True
    page_views: bool = True
    other_products: bool = True
    reasons: Mapping[str, str] = field(default_factory=dict)

    def reason(self, flag: str) -> str:
        """Return why a part cannot be read; empty if it can."""
        return "" if getattr(self, flag) else self.reasons.get(flag, ABSENT[flag])


# Flag -> the default reason for a part that cannot be read.
ABSENT: Mapping[str, str] = {
    "profile": "there is no profile table",
    "predictions": "there are no tables of predicted gender and age",
    "content": "there is no content catalogue",
    "titles": "there is no content catalogue",
    "formats": "there are no lists of podcasts and mixes",
    "segments": "there is no table of segments",
    "follows": "there is no table of follows",
    "newsletter": "there is no table of newsletter choices",
    "mails": "there are no tables of e-mails",
    "activations": "there are no tables of activations",
    "factors": "there are no tables of item factors",
    "category": "activity has no category",
    "device": "activity has no device",
    "item": "activity has no item ids",
    "series": "activity has no series ids",
    "time_of_day": "activity has dates without times",
    "live": "activity does not say what was live",
    "page_views": "activity has no page views",
    "other_products": "activity is of one product",
}


def activity_table(source: str) -> str:
    """Return the raw table that ``activity`` is made from."""
    return REQUIRED[source][0]


@dataclass(frozen=True)
class SourceViews:
    """The views that a source's raw tables allow.

    Attributes:
        views: the contract's views that can be created.
        available: parts of the contract that can be read, judged by tables and not by their rows.
    """

    views: tuple[str, ...]
    available: Availability


def resolve_views(source: str, absent: Mapping[str, str]) -> SourceViews:
    """Return the views that a source allows.

    Args:
        source: ``bbc`` or ``events``.
        absent: raw table that cannot be read -> why.
    """
    reasons = {
        part: next((absent[table] for table in tables if table in absent), "")
        for part, tables in VIEWS[source].items()
    }
    flags: dict[str, Any] = {part: reasons.get(part) == "" for part in OPTIONAL}
    return SourceViews(
        views=tuple(part for part, reason in reasons.items() if not reason and part != PREDICTIONS),
        available=Availability(**flags, reasons={part: why for part, why in reasons.items() if why}),
    )


def check_tables(warehouse: Warehouse, source: str) -> SourceViews:
    """Check the columns, types and rows of a source's raw tables; return the views that they allow.

    A required table must have rows. Views that need a missing or empty optional table are left out.

    Raises:
        SourceError: lists every table, column and type that is wrong, and where.
    """
    faults: list[str] = []
    absent: dict[str, str] = {}
    for table, expected in TABLES[source].items():
        columns = warehouse.columns(table)
        checks = (_fault(table, column, family, columns) for column, family in expected.items())
        column_faults = [fault for fault in checks if fault] if columns else []
        faults += column_faults
        if not columns:
            absent[table] = f"table {table} is missing"
        elif not column_faults and not warehouse.fetch(f"select 1 as found from {table} limit 1").num_rows:
            absent[table] = f"table {table} is empty"
    faults.extend(absent[table] for table in REQUIRED[source] if table in absent)
    if faults:
        raise SourceError(
            "the source tables cannot be used:\n" + "\n".join(f"  - {fault}" for fault in faults)
        )
    return resolve_views(source, absent)


def _fault(table: str, column: str, family: str, columns: Mapping[str, str]) -> str:
    """Return what is wrong with a column; empty if nothing is."""
    type_ = columns.get(column)
    if type_ is None:
        return f"table {table} has no column {column} (it has: {', '.join(columns)})"
    if "with time zone" in type_ and family == "timestamp":
        return (
            f"{table}.{column} carries a time zone: weeks need local times without one "
            "(`churn ingest --timezone` converts them)"
        )
    if not re.fullmatch(_FAMILIES[family], type_):
        return f"{table}.{column} is {type_}, but should be {family}"
    return ""
