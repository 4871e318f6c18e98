"""Small data folders, as `churn ingest` and the broadcaster's warehouse would leave them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from churn.config import Product, Settings

AS_OF = date(2024, 6, 30)  # its target week is 8 to 14 July 2024
TODAY = date(2024, 8, 1)

EVENTS = pa.schema(
    [
        ("user_id", pa.string()),
        ("product", pa.string()),
        ("occurred_at", pa.timestamp("us")),
        ("value", pa.float64()),
        ("category", pa.string()),
        ("item_id", pa.string()),
        ("device", pa.string()),
    ]
)
ACTIVITY = "audience.audience_activity_daily_summary_enriched"
_TEXT = pa.string()
BBC: Mapping[str, pa.Schema] = {
    ACTIVITY: pa.schema(
        [
            ("audience_id", _TEXT),
            ("destination", _TEXT),
            ("app_name", _TEXT),
            ("page_name", _TEXT),
            ("date_of_event", pa.date32()),
            ("event_datetime_min", pa.timestamp("us")),
            ("playback_time_total", pa.int32()),
            ("pips_genre_level_1_names", _TEXT),
            ("episode_id", _TEXT),
            ("series_id", _TEXT),
            ("brand_id", _TEXT),
            ("device_type", _TEXT),
            ("browser_brand", _TEXT),
        ]
    ),
    "prez.scv_vmb": pa.schema([(name, _TEXT) for name in ("episode_id", "series_id", "brand_id", "tx_date")]),
    "prez.id_profile": pa.schema(
        [
            ("bbc_hid3", _TEXT),
            ("status", _TEXT),
            ("cal_createdate", pa.date32()),
            ("age", pa.int32()),
            ("gender", _TEXT),
            ("enablepersonalisation", _TEXT),
            ("mailverified", _TEXT),
        ]
    ),
    "prez.profile_extension": pa.schema(
        [(name, _TEXT) for name in ("bbc_hid3", "nation", "barb_region", "acorn_category_description")]
    ),
}


def event(user: str | None, day: date | datetime, **columns: Any) -> dict[str, Any]:
    """One event of ``food``, at noon where no time is given, worth 1."""
    at = day if isinstance(day, datetime) else datetime.combine(day, time(12))
    return {"product": "food", "value": 1.0, **columns, "user_id": user, "occurred_at": at}


def write_table(data: Path, name: str, rows: pa.Table | Sequence[Mapping[str, Any]], part: int = 0) -> Path:
    """Write one file of a source table; rows given as mappings may leave columns out."""
    folder = data / "tables" / name
    folder.mkdir(parents=True, exist_ok=True)
    if not isinstance(rows, pa.Table):
        schema = EVENTS if name == "events.activity" else BBC[name]
        rows = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    path = folder / f"part-{part:05d}.parquet"
    pq.write_table(rows, path)
    return path


def event_folder(data: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Make a data folder from events."""
    write_table(data, "events.activity", rows)
    (data / "churn.toml").write_text('source = "events"\n[products.food]\ntitle = "food"\n', "utf-8")
    return data


def event_settings(data: Path, **products: Mapping[str, Any] | Product) -> Settings:
    """Settings for a folder of events: ``food`` alone unless told otherwise, every user at every date."""
    chosen = products or {"food": {}}
    filled = {
        name: {"title": name, "match": [name], "training": {"sampling": "all"}, **dict(values)}
        if isinstance(values, Mapping)
        else values
        for name, values in chosen.items()
    }
    return Settings.model_validate(
        {"data": data, "out": data / "out", "source": "events", "products": filled, "sql_memory": "1GB"}
    )


def weekly_events(
    users: Iterable[str], weeks: int, last: date = AS_OF, **columns: Any
) -> list[dict[str, Any]]:
    """One event a user and week, on the Wednesday, for ``weeks`` weeks that end on the Sunday ``last``."""
    return [
        event(user, last - timedelta(days=4 + 7 * back), **columns) for user in users for back in range(weeks)
    ]


def files_below(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def as_text(value: Any) -> str:
    """A value as JSON, to compare rows of any kind by."""
    return json.dumps(value, default=str, sort_keys=True)
