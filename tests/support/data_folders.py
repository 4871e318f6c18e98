"""Small data folders, as `churn ingest` and the broadcaster's warehouse would leave them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
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


def broadcaster_rows(users: int = 40, weeks: int = 26, seed: int = 1) -> dict[str, list[dict[str, Any]]]:
    """A tiny broadcaster up to the Sunday two weeks after ``AS_OF``: rows of its four source tables."""
    rng = np.random.default_rng(seed)
    end = AS_OF + timedelta(days=14)
    start = end - timedelta(days=7 * weeks - 1)
    genres = ["Drama", "Comedy;Drama", "News", "null", "Religion & Ethics"]
    kinds = [("Smart TV", "HbbTV"), ("Smartphone", "Applications"), ("Tablet", "Safari"), ("Console", "Edge")]
    activity: list[dict[str, Any]] = []
    for user in range(users):
        rate = rng.uniform(0.02, 0.6)
        for day in range(7 * weeks):
            if rng.random() > rate:
                continue
            for _ in range(rng.integers(1, 3)):
                series, episode = rng.integers(6), rng.integers(weeks)
                device, browser = kinds[rng.integers(len(kinds))]
                at = start + timedelta(days=day)
                activity.append(
                    {
                        "audience_id": f"user{user:03d}",
                        "destination": "PS_IPLAYER" if rng.random() < 0.7 else "PS_SOUNDS",
                        "page_name": "radio.live.page" if rng.random() < 0.1 else "play.page",
                        "date_of_event": at,
                        "event_datetime_min": datetime.combine(at, time(int(rng.integers(24)), 30)),
                        "playback_time_total": int(rng.integers(0, 4000)),
                        "pips_genre_level_1_names": genres[rng.integers(len(genres))],
                        "episode_id": "null" if rng.random() < 0.1 else f"e{series}_{episode}",
                        "series_id": f"s{series}",
                        "brand_id": "N/A" if series % 2 else f"b{series}",
                        "device_type": device,
                        "browser_brand": browser,
                    }
                )
    content = [
        {
            "episode_id": f"e{series}_{week}",
            "series_id": f"s{series}",
            "brand_id": "N/A" if series % 2 else f"b{series}",
            "tx_date": (start + timedelta(days=7 * week + series)).isoformat(),
        }
        for series in range(6)
        for week in range(4 * series, weeks - series)
    ]
    profile = [
        {
            "bbc_hid3": f"user{user:03d}",
            "status": "deleted" if user % 13 == 12 else "active",
            "cal_createdate": start + timedelta(days=int(rng.integers(-300, 7 * weeks))),
            "age": int(rng.integers(10, 90)),
            "gender": ("female", "male", "null")[user % 3],
            "enablepersonalisation": "true",
            "mailverified": "false",
        }
        for user in range(users)
        if user % 7
    ]
    extension = [
        {
            "bbc_hid3": f"user{user:03d}",
            "nation": ("England", "Wales", "n/a")[user % 3],
            "barb_region": "London",
            "acorn_category_description": "Urban",
        }
        for user in range(users)
        if user % 5
    ]
    return {
        ACTIVITY: activity,
        "prez.scv_vmb": content,
        "prez.id_profile": [*profile, *profile[3:5]],
        "prez.profile_extension": extension,
    }


def broadcaster_folder(data: Path, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> Path:
    """Make a data folder from rows of the broadcaster's tables."""
    for name, rows in tables.items():
        write_table(data, name, rows)
    (data / "churn.toml").write_text('source = "bbc"\n', "utf-8")
    return data
