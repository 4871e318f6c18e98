"""Small made-up exports of analytics tools, in the shapes in which those tools write them.

Each holds four events that count: ann (user id ``ann``) at three times, and a visitor without a user id (anonymous
id ``visitor-1``) once; and events that do not count.
"""

import gzip
import json
import zipfile
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from churn.sources.ingest.formats import FORMATS

MONDAY = datetime(2026, 6, 22, 9, 30, 15, 250_000)
TIMES = (MONDAY, MONDAY + timedelta(hours=14, minutes=45), MONDAY + timedelta(days=2))
VISIT = MONDAY + timedelta(days=1)


def json_lines(path: Path, rows: Iterable[Any]) -> Path:
    """Write JSON lines, packed if the name says so."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def _micros(time: datetime) -> int:
    return int((time - datetime(1970, 1, 1)) / timedelta(microseconds=1))


def ga4_rows() -> list[dict[str, Any]]:
    """Return GA4 events as Python values."""

    def event(name: str, user: str | None, device: str | None, time: datetime, page: str) -> dict[str, Any]:
        return {
            "event_date": f"{time:%Y%m%d}",
            "event_timestamp": _micros(time),
            "event_name": name,
            "event_params": [
                {"key": "ga_session_id", "value": {"string_value": None, "int_value": 17}},
                {"key": "page_location", "value": {"string_value": page, "int_value": None}},
            ],
            "user_id": user,
            "user_pseudo_id": device,
            "device": {"category": "mobile", "operating_system": "Android"},
            "stream_id": "1234567",
            "platform": "WEB",
        }

    home, film = "https://example.org/", "https://example.org/film?id=7"
    return [
        event("session_start", "ann", "1.1", MONDAY, home),
        *(event("page_view", "ann", "1.1", time, film) for time in TIMES),
        event("scroll", None, "visitor-1", VISIT, home),
        event("user_engagement", None, "visitor-1", VISIT, home),
        event("page_view", None, None, VISIT, home),  # consent was denied: nobody can be told apart
    ]


def ga4_json(folder: Path) -> Path:
    """As BigQuery writes JSON: 64-bit integers as text, no nulls."""

    def shrink(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: shrink(inner) for name, inner in value.items() if inner is not None}
        if isinstance(value, list):
            return [shrink(inner) for inner in value]
        return str(value) if isinstance(value, int) else value

    return json_lines(folder / "events_20260622.json.gz", map(shrink, ga4_rows()))


def ga4_parquet(folder: Path) -> Path:
    """As BigQuery writes Parquet: nested lists and structs."""
    pq.write_table(pa.Table.from_pylist(ga4_rows()), folder / "events_20260622.parquet")
    return folder / "events_20260622.parquet"


def ga4_wrapped_parquet(folder: Path) -> Path:
    """Parquet whose lists were written by name: {list: [{element: ...}]}."""
    rows = ga4_rows()
    for row in rows:
        row["event_params"] = {"list": [{"element": param} for param in row["event_params"]]}
    pq.write_table(pa.Table.from_pylist(rows), folder / "events_20260622.parquet")
    return folder / "events_20260622.parquet"


def _iso(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03d}Z"


def segment_raw(folder: Path) -> Path:
    """Raw logs of the S3 destination: packed JSON lines without a telling name, in folders by source and day."""

    def call(kind: str, user: str | None, anonymous: str, time: datetime, **more: Any) -> dict[str, Any]:
        context = {
            "device": {"type": "ios"},
            "page": {"path": "/film/7"},
            "library": {"name": "analytics.js"},
        }
        times = {"originalTimestamp": _iso(time + timedelta(hours=5)), "receivedAt": _iso(time)}
        ids = {"anonymousId": anonymous, "userId": user}
        return {"type": kind, **ids, "timestamp": _iso(time), **times, "context": context, **more}

    rows = [
        call("identify", "ann", "a-1", MONDAY, traits={"plan": "free"}),
        *(
            call("track", "ann", "a-1", time, event="Video Played", properties={"seconds": 60})
            for time in TIMES
        ),
        call("page", None, "visitor-1", VISIT, properties={"url": "https://example.org/film/7"}),
    ]
    json_lines(folder / "segment-logs/src1/1782086400000/1782086400000.a1.gz", rows[:2])
    json_lines(folder / "segment-logs/src1/1782172800000/1782172800000.b2.gz", rows[2:])
    return folder / "segment-logs"


def segment_table(folder: Path) -> Path:
    """The warehouse's table of tracks, whose times are UTC without a zone."""
    rows: list[dict[str, Any]] = [
        {"user_id": "ann", "anonymous_id": "a-1", "event": "video_played", "timestamp": time}
        for time in TIMES
    ]
    rows.append({"user_id": None, "anonymous_id": "visitor-1", "event": "video_played", "timestamp": VISIT})
    for row in rows:
        row |= {
            "received_at": row["timestamp"] + timedelta(hours=3),
            "context_os_name": "ios",
            "path": "/film/7",
        }
    pq.write_table(pa.Table.from_pylist(rows), folder / "tracks.parquet")
    return folder / "tracks.parquet"


def _snowplow_rows() -> list[dict[str, str]]:
    def event(name: str, user: str, domain: str, time: datetime) -> dict[str, str]:
        collected = time + timedelta(minutes=3)
        return {
            "app_id": "site",
            "platform": "web",
            "collector_tstamp": f"{collected:%Y-%m-%d %H:%M:%S}.{collected.microsecond // 1000:03d}",
            "derived_tstamp": f"{time:%Y-%m-%d %H:%M:%S}.{time.microsecond // 1000:03d}",
            "event": "unstruct",
            "event_name": name,
            "user_id": user,
            "domain_userid": domain,
            "page_urlpath": "/film/7",
            "dvce_type": "Mobile",
            "useragent": 'Mozilla "quoted',
        }

    return [
        *(event("page_view", "ann", "d-1", time) for time in TIMES),
        event("page_ping", "ann", "d-1", TIMES[0]),
        event("link_click", "", "visitor-1", VISIT),
    ]


def snowplow_tsv(folder: Path) -> Path:
    """The enriched stream: 131 fields between tabs, no header."""
    header = FORMATS["snowplow"].header
    lines = ["\t".join(row.get(name, "") for name in header) for row in _snowplow_rows()]
    path = folder / "enriched" / "run=2026-06-24-00-00-00" / "part-00000.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress("".join(line + "\n" for line in lines).encode()))
    return folder / "enriched"


def snowplow_csv(folder: Path) -> Path:
    """The table ``events`` of a warehouse, unloaded with a header."""
    names = list(_snowplow_rows()[0])
    rows = [[row[name].replace('"', '""') for name in names] for row in _snowplow_rows()]
    lines = [",".join(names), *(",".join(f'"{cell}"' for cell in row) for row in rows)]
    (folder / "events.csv").write_text("\n".join(lines) + "\n")
    return folder / "events.csv"


def posthog_rows() -> list[dict[str, Any]]:
    """Return PostHog events as its JSON lines hold them."""

    def event(name: str, who: str, time: datetime) -> dict[str, Any]:
        properties = {"$device_type": "Mobile", "$pathname": "/film/7", "$device_id": f"dev-{who}"}
        return {
            "uuid": f"{name}-{time}",
            "event": name,
            "distinct_id": who,
            "person_id": f"person-{who}",
            "properties": properties,
            "timestamp": time.isoformat() + "Z",
        }

    return [
        event("$identify", "ann", MONDAY),
        *(event("$pageview", "ann", time) for time in TIMES),
        event("$pageview", "visitor-1", VISIT),
        event("$feature_flag_called", "visitor-1", VISIT),
    ]


def posthog_json(folder: Path) -> Path:
    """JSON lines: nested properties, ISO 8601 times; a manifest lies beside them."""
    json_lines(folder / "posthog/2026-06-22.jsonl.gz", posthog_rows())
    json_lines(folder / "posthog/2026-06-22_manifest.json", [{"files": ["2026-06-22.jsonl.gz"]}])
    return folder / "posthog"


def posthog_parquet(folder: Path) -> Path:
    """Parquet: properties are text that holds JSON, times are UTC without a zone."""
    rows = posthog_rows()
    for row in rows:
        row["properties"] = json.dumps(row["properties"])
        row["timestamp"] = datetime.fromisoformat(row["timestamp"].removesuffix("Z"))
    pq.write_table(pa.Table.from_pylist(rows), folder / "posthog.parquet", compression="zstd")
    return folder / "posthog.parquet"


def mixpanel_json(folder: Path) -> Path:
    """The raw export: name and properties, time in whole seconds."""

    def event(name: str, who: str, time: datetime) -> dict[str, Any]:
        properties = {
            "time": _micros(time) // 1_000_000,
            "distinct_id": who,
            "$insert_id": "x",
            "$os": "Android",
        }
        return {"event": name, "properties": {**properties, "$current_url": "/film/7"}}

    rows = [
        event("$identify", "ann", MONDAY),
        *(event("Play", "ann", time) for time in TIMES),
        event("Play", "visitor-1", VISIT),
    ]
    return json_lines(folder / "export.jsonl", rows)


def amplitude_rows() -> list[dict[str, Any]]:
    """Return Amplitude events."""

    def event(name: str, user: str | None, amplitude: int, time: datetime) -> dict[str, Any]:
        return {
            "event_type": name,
            "user_id": user,
            "amplitude_id": amplitude,
            "device_id": f"device-{amplitude}",
            "event_time": f"{time:%Y-%m-%d %H:%M:%S.%f}",
            "server_upload_time": f"{time + timedelta(days=1):%Y-%m-%d %H:%M:%S.%f}",
            "platform": "iOS",
            "event_properties": {"title": "Film", "seconds": 90},
        }

    return [
        event("session_start", "ann", 11, MONDAY),
        *(event("play", "ann", 11, time) for time in TIMES),
        event("play", None, 9_007_199_254_740_993, VISIT),
        event("session_end", "ann", 11, TIMES[2]),
    ]


def amplitude_zip(folder: Path) -> Path:
    """What the Export API returns: a zip archive of packed JSON lines, a file an hour."""
    rows = amplitude_rows()
    with zipfile.ZipFile(folder / "export.zip", "w") as archive:
        for number, part in enumerate((rows[:3], rows[3:])):
            text = "".join(json.dumps(row) + "\n" for row in part)
            name = f"187520/187520_2026-06-22_{number}#1.json.gz"
            archive.writestr(name, gzip.compress(text.encode()))
        archive.writestr("187520/", "")
    return folder / "export.zip"
