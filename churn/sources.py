"""The source contract: which tables and columns come in, and of which types.

Each source (``bbc``, ``events``) maps its raw tables onto the contract's views ``activity``, ``profile`` and
``content`` (``sql/sources/<source>/``). Here the raw tables are checked before any SQL step runs, and what is
optional and present is found out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from churn.errors import SourceError
from churn.warehouse.base import Warehouse

# How DuckDB, Redshift and PostgreSQL spell the types of a family; the whole name must match.
_FAMILIES: Mapping[str, str] = {
    "text": r"(character varying|character|varchar|bpchar|char|text|string|enum)(\(.*\))?",
    "date": r"date",
    "timestamp": r"(timestamp|datetime)(_s|_ms|_ns)?(\(\d\))?( without time zone)?",
    "number": r"u?(tiny|small|big|huge)?int(eger)?|int[248]|double( precision)?|float[48]?|real"
    r"|(decimal|numeric)(\(.*\))?",
    "any": r".*",
}

_ACTIVITY = "audience.audience_activity_daily_summary_enriched"
_COLUMNS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "events": {
        "events.activity": {
            "user_id": "text",
            "product": "text",
            "occurred_at": "timestamp",
            "value": "number",
            "category": "text",
            "item_id": "text",
            "device": "text",
        },
    },
    "bbc": {
        _ACTIVITY: {
            "audience_id": "text",
            "destination": "text",
            "app_name": "text",
            "page_name": "text",
            "date_of_event": "date",
            "event_datetime_min": "timestamp",
            "playback_time_total": "number",
            "pips_genre_level_1_names": "text",
            "episode_id": "text",
            "series_id": "text",
            "brand_id": "text",
            "device_type": "text",
            "browser_brand": "text",
        },
        "prez.scv_vmb": {"episode_id": "text", "series_id": "text", "brand_id": "text", "tx_date": "text"},
        "prez.id_profile": {
            "bbc_hid3": "text",
            "status": "text",
            "cal_createdate": "any",
            "age": "any",
            "gender": "text",
            "enablepersonalisation": "any",
            "mailverified": "any",
        },
        "prez.profile_extension": {
            "bbc_hid3": "text",
            "nation": "text",
            "barb_region": "text",
            "acorn_category_description": "text",
        },
    },
}
_REQUIRED = {"events": "events.activity", "bbc": _ACTIVITY}
_OPTIONAL: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "events": {},
    "bbc": {"profile": ("prez.id_profile", "prez.profile_extension"), "content": ("prez.scv_vmb",)},
}


@dataclass(frozen=True)
class Availability:
    """Which optional parts of the source contract can be read."""

    profile: bool = True
    content: bool = True
    category: bool = True
    device: bool = True
    item: bool = True
    series: bool = True
    time_of_day: bool = True
    other_products: bool = True


@dataclass(frozen=True)
class ActivityFacts:
    """What one pass over a product's activity found.

    Attributes:
        rows: rows of the product up to the day until which activity is known.
        first_date: its first day.
        last_date: its last day.
        available: which optional columns hold anything.
    """

    rows: int
    first_date: date
    last_date: date
    available: Availability


def check_tables(warehouse: Warehouse, source: str) -> tuple[bool, bool]:
    """Check that the raw tables of a source are there with their columns and types.

    Returns:
        Whether the profile and the content tables can be read.

    Raises:
        SourceError: lists every table, column and type that is wrong, and where.
    """
    faults: list[str] = []
    present: dict[str, bool] = {}
    for table, expected in _COLUMNS[source].items():
        found = warehouse.columns(table)
        present[table] = bool(found)
        if not found:
            if table == _REQUIRED[source]:
                faults.append(f"table {table} is missing")
            continue
        for column, family in expected.items():
            type_ = found.get(column)
            if type_ is None:
                faults.append(f"table {table} has no column {column} (it has: {', '.join(found)})")
            elif "with time zone" in type_ and family == "timestamp":
                faults.append(
                    f"{table}.{column} carries a time zone: weeks need local times without one "
                    "(`churn ingest --timezone` converts them)"
                )
            elif not re.fullmatch(_FAMILIES[family], type_):
                faults.append(f"{table}.{column} is {type_}, but should be {family}")
    if faults:
        raise SourceError(
            "the source tables cannot be used:\n" + "\n".join(f"  - {fault}" for fault in faults)
        )
    readable = {name: all(present[table] for table in tables) for name, tables in _OPTIONAL[source].items()}
    return readable.get("profile", False), readable.get("content", False)
