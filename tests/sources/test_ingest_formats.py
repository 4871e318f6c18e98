"""Exports of analytics tools come in by the name of the tool."""

import json
import zipfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tests.sources.exports as exports
from churn.core.errors import ChurnError, SourceError, UsageError
from churn.sources.ingest import FORMATS, Ingested, ingest
from tests.sources.exports import TIMES, VISIT


def take(source: Path, into: Path, name: str, **options: Any) -> Ingested:
    return ingest(source, into, columns=options.pop("columns", {}), format=name, **options)


def events(data: Path) -> list[tuple[Any, ...]]:
    """Return who, when and the rest of each event, in the order of time."""
    rows = pq.read_table(data / "tables" / "events.activity").to_pylist()
    names = ("user_id", "occurred_at", "category", "item_id", "device")
    return sorted((tuple(row[name] for name in names) for row in rows), key=lambda row: row[1])


def seconds(time: datetime) -> datetime:
    return time.replace(microsecond=0)


# Each export: the format, what writes it, the visitor's id, and what category, item and device become.
SHAPES: dict[str, tuple[str, Callable[[Path], Path], str, tuple[Any, ...], tuple[Any, ...]]] = {
    "ga4 json": (
        "ga4",
        exports.ga4_json,
        "visitor-1",
        ("page_view", "https://example.org/film?id=7", "mobile"),
        ("scroll", "https://example.org/", "mobile"),
    ),
    "segment raw": (
        "segment",
        exports.segment_raw,
        "visitor-1",
        ("Video Played", "/film/7", "ios"),
        ("page", "/film/7", "ios"),
    ),
    "segment table": (
        "segment",
        exports.segment_table,
        "visitor-1",
        ("video_played", "/film/7", "ios"),
        ("video_played", "/film/7", "ios"),
    ),
    "snowplow tsv": (
        "snowplow",
        exports.snowplow_tsv,
        "visitor-1",
        ("page_view", "/film/7", "Mobile"),
        ("link_click", "/film/7", "Mobile"),
    ),
    "posthog json": (
        "posthog",
        exports.posthog_json,
        "visitor-1",
        ("$pageview", "/film/7", "Mobile"),
        ("$pageview", "/film/7", "Mobile"),
    ),
    "mixpanel json": (
        "mixpanel",
        exports.mixpanel_json,
        "visitor-1",
        ("Play", "/film/7", "Android"),
        ("Play", "/film/7", "Android"),
    ),
    "amplitude zip": (
        "amplitude",
        exports.amplitude_zip,
        "9007199254740993",
        ("play", None, "iOS"),
        ("play", None, "iOS"),
    ),
}
SHAPES["ga4 parquet"] = ("ga4", exports.ga4_parquet, *SHAPES["ga4 json"][2:])
SHAPES["ga4 wrapped parquet"] = ("ga4", exports.ga4_wrapped_parquet, *SHAPES["ga4 json"][2:])
SHAPES["snowplow csv"] = ("snowplow", exports.snowplow_csv, *SHAPES["snowplow tsv"][2:])
SHAPES["posthog parquet"] = ("posthog", exports.posthog_parquet, *SHAPES["posthog json"][2:])


@pytest.mark.parametrize("shape", SHAPES)
def test_each_export_comes_in_with_its_name(tmp_path: Path, shape: str) -> None:
    name, write, visitor, what, visited = SHAPES[shape]
    done = take(write(tmp_path), tmp_path / "data", name)
    exact = seconds if name == "mixpanel" else lambda time: time
    expected = [("ann", exact(time), *what) for time in TIMES] + [(visitor, exact(VISIT), *visited)]
    assert events(tmp_path / "data") == sorted(expected, key=lambda row: row[1])
    assert done.times.endswith("read as UTC time")
    assert done.users == 2


@pytest.mark.parametrize("shape", SHAPES)
def test_times_are_instants_that_a_zone_converts(tmp_path: Path, shape: str) -> None:
    name, write, *_ = SHAPES[shape]
    take(write(tmp_path), tmp_path / "data", name, timezone="Europe/London")
    hour = timedelta(hours=1)  # summer time: the second event of Monday belongs to Tuesday
    times = [row[1].replace(microsecond=0) for row in events(tmp_path / "data")]
    assert times == sorted(seconds(time) + hour for time in (*TIMES, VISIT))


def test_events_that_are_no_activity_are_left_out_and_counted(tmp_path: Path) -> None:
    done = take(exports.ga4_json(tmp_path), tmp_path / "data", "ga4")
    assert dict(done.adjusted) == {
        "left out, no user id": 1,
        "left out, event session_start": 1,
        "left out, event user_engagement": 1,
        "id of a device or anonymous visitor taken as user id": 1,
    }


def test_named_events_are_the_only_ones_that_count(tmp_path: Path) -> None:
    done = take(exports.ga4_json(tmp_path), tmp_path / "data", "ga4", events=["scroll", "session_start"])
    assert [row[2] for row in events(tmp_path / "data")] == ["session_start", "scroll"]
    assert dict(done.adjusted)["left out, event page_view"] == 3


def test_an_event_that_does_not_occur_is_refused_with_those_that_do(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no event 'page_veiw'; it holds 'page_view'"):
        take(exports.ga4_json(tmp_path), tmp_path / "data", "ga4", events=["page_veiw"])
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("identity", "users"),
    [("user", ["ann"] * 3), ("device", ["1.1", "visitor-1", "1.1", "1.1"]), ("either", None)],
)
def test_identity_chooses_whose_events_count(tmp_path: Path, identity: str, users: list[str] | None) -> None:
    take(exports.ga4_json(tmp_path), tmp_path / "data", "ga4", identity=identity)
    assert sorted(row[0] for row in events(tmp_path / "data")) == sorted(users or ["ann"] * 3 + ["visitor-1"])


def test_one_column_of_a_format_can_be_replaced(tmp_path: Path) -> None:
    columns = {
        "product": "platform",
        "value": "event_params[key=ga_session_id].value.int_value",
        "device": "device.operating_system",
        "item_id": "",
    }
    done = take(exports.ga4_parquet(tmp_path), tmp_path / "data", "ga4", columns=columns)
    assert done.products == ("web",)
    assert {row[3:] for row in events(tmp_path / "data")} == {(None, "Android")}
    assert set(pq.read_table(tmp_path / "data/tables/events.activity")["value"].to_pylist()) == {17.0}
    assert dict(done.columns)["value"] == "event_params[key=ga_session_id].value.int_value"


def test_merged_persons_of_posthog_can_be_the_users(tmp_path: Path) -> None:
    take(exports.posthog_json(tmp_path), tmp_path / "data", "posthog", columns={"user_id": "person_id"})
    assert {row[0] for row in events(tmp_path / "data")} == {"person-ann", "person-visitor-1"}


def test_the_columns_line_says_where_ids_come_from(tmp_path: Path) -> None:
    done = take(exports.ga4_json(tmp_path), tmp_path / "data", "ga4")
    assert dict(done.columns)["user_id"] == "user_id, else user_pseudo_id"


@pytest.mark.parametrize("name", FORMATS)
def test_another_log_does_not_pass_as_an_export(tmp_path: Path, name: str) -> None:
    path = exports.json_lines(tmp_path / "other.jsonl", [{"who": "x", "when": "2026-06-22"}])
    with pytest.raises(SourceError, match=r"does not look like an export of .*\n.*no user_id"):
        take(path, tmp_path / "data", name)


def test_unknown_formats_and_identities_are_refused(tmp_path: Path) -> None:
    path = exports.ga4_json(tmp_path)
    with pytest.raises(UsageError, match="did you mean mixpanel"):
        take(path, tmp_path / "data", "mixpannel")
    with pytest.raises(UsageError, match="unknown identity 'cookie'; known: either, user, device"):
        take(path, tmp_path / "data", "ga4", identity="cookie")
    with pytest.raises(UsageError, match="need --format"):
        ingest(path, tmp_path / "data", columns={}, events=["play"])


def test_a_line_of_an_export_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = exports.mixpanel_json(tmp_path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], lines[2][:-9], "[1]", *lines[3:]]))
    with pytest.raises(ChurnError) as caught:
        take(path, tmp_path / "data", "mixpanel")
    assert "line 3 ('is not JSON'), line 4 ('is JSON, but no object {...}')" in str(caught.value)
    assert '"ann"' not in str(caught.value)


def test_a_snowplow_line_without_all_fields_is_named(tmp_path: Path) -> None:
    path = tmp_path / "events.tsv"
    whole = "\t".join(["x"] * 131)
    path.write_text(f"{whole}\nx\ty\n")
    with pytest.raises(SourceError, match=r"line 2 \('has 2 fields, not 131'\)"):
        take(path, tmp_path / "data", "snowplow")


def test_a_zip_archive_names_its_member(tmp_path: Path) -> None:
    rows = exports.amplitude_rows()
    rows[1]["event_time"] = "yesterday"
    path = exports.json_lines(tmp_path / "a.json", rows)
    other = exports.json_lines(tmp_path / "b.json", rows[:1])

    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        for file in (path, other):
            archive.write(file, f"1875/{file.name}")
    with pytest.raises(SourceError, match=r"export.zip/1875/a.json line 2 \('yesterday'\)"):
        take(tmp_path / "export.zip", tmp_path / "data", "amplitude")


def test_a_json_array_is_refused_with_the_command_that_converts_it(tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    path.write_text(json.dumps(exports.amplitude_rows(), indent=1))
    with pytest.raises(SourceError, match=r"one JSON array.*jq -c"):
        take(path, tmp_path / "data", "amplitude")


# JSON lines of one's own, paths into columns


@pytest.mark.parametrize("name", ["log.jsonl", "log.ndjson", "log.json", "log.jsonl.gz"])
def test_json_lines_come_in(tmp_path: Path, name: str) -> None:
    rows = [
        {"uid": "00042", "ts": "2026-06-22T09:30:00Z", "extra": [1]},
        {"uid": 17, "ts": "2026-06-23T00:10:00Z", "value": 2.5},
    ]
    path = exports.json_lines(tmp_path / name, rows)
    done = ingest(path, tmp_path / "data", columns={"user_id": "uid", "occurred_at": "ts"})
    written = pq.read_table(tmp_path / "data/tables/events.activity")
    assert written["user_id"].to_pylist() == ["00042", "17"]
    assert written["value"].to_pylist() == [0.0, 2.5]  # a name of the contract that only some lines have
    assert dict(done.columns)["value"] == "value"


def test_blank_lines_a_mark_and_carriage_returns_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    line = b'{"user_id": "x", "occurred_at": "2026-06-22"}'
    path.write_bytes(b"\xef\xbb\xbf" + line + b"\r\n\r\n\n" + line)
    assert ingest(path, tmp_path / "data", columns={}).rows == 2
    path.write_bytes(line + b"\n\n" + b'{"user_id": "x"}')
    with pytest.raises(SourceError, match=r"no time; column 'occurred_at': line 3 \(\(null\)\)|line 3"):
        ingest(path, tmp_path / "other", columns={})


def test_a_line_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"user_id": "x", "occurred_at": "2026-06-22"}\n{"user_id": "caf\xe9"}\n')
    with pytest.raises(SourceError, match=r"1 of 2 rows cannot be read; line 2 \('is not UTF-8 text'\)"):
        ingest(path, tmp_path / "data", columns={})


def test_packed_lines_that_were_cut_off_are_refused(tmp_path: Path) -> None:
    path = exports.json_lines(tmp_path / "log.jsonl.gz", [{"user_id": str(row)} for row in range(5_000)])
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(SourceError, match=r"log\.jsonl\.gz is incomplete"):
        ingest(path, tmp_path / "data", columns={})


def test_a_path_leads_into_a_column_of_any_kind_of_file(tmp_path: Path) -> None:
    rows = [{"who": {"id": "x", "tags": ["a", "b"]}, "occurred_at": "2026-06-22"}]
    json_file = exports.json_lines(tmp_path / "log.jsonl", rows)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "log.parquet")
    (tmp_path / "log.csv").write_text(
        'occurred_at,who\n2026-06-22,"{""id"": ""x"", ""tags"": [""a"", ""b""]}"\n'
    )
    for path in (json_file, tmp_path / "log.parquet", tmp_path / "log.csv"):
        into = tmp_path / f"data-{path.suffix}"
        ingest(path, into, columns={"user_id": "who.id", "category": "who.tags[1]"})
        assert [row[::2] for row in events(into)] == [("x", "b", None)]


def test_a_column_whose_name_looks_like_a_path_is_found_first(tmp_path: Path) -> None:
    rows = [{"who.id": "right", "who": {"id": "wrong"}, "occurred_at": "2026-06-22"}]
    path = exports.json_lines(tmp_path / "log.jsonl", rows)
    ingest(path, tmp_path / "data", columns={"user_id": "who.id"})
    assert events(tmp_path / "data")[0][0] == "right"


# Times and numbers as others write them


@pytest.mark.parametrize(
    ("written", "codes", "read"),
    [
        ("03/04/2026 21:05", "%d/%m/%Y %H:%M", datetime(2026, 4, 3, 21, 5)),
        ("04/03/2026 09:05 PM", "%m/%d/%Y %I:%M %p", datetime(2026, 4, 3, 21, 5)),
        ("3 Apr 2026", "%-d %b %Y", datetime(2026, 4, 3)),
        ("03.04.26 21:05:06", "%d.%m.%y %H:%M:%S", datetime(2026, 4, 3, 21, 5, 6)),
        ("03/04/2026 21:05 -0300", "%d/%m/%Y %H:%M %z", datetime(2026, 4, 4, 0, 5)),
    ],
)
def test_a_time_format_reads_other_notations(
    tmp_path: Path, written: str, codes: str, read: datetime
) -> None:
    (tmp_path / "log.csv").write_text(f"user_id;occurred_at\nx;{written}\n")
    ingest(tmp_path / "log.csv", tmp_path / "data", columns={}, time_format=codes)
    assert events(tmp_path / "data")[0][1] == read


def test_times_that_do_not_follow_the_format_are_shown(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user_id,occurred_at\nx,03/04/2026\nx,31/31/2026\n")
    with pytest.raises(
        SourceError, match=r"as in --time-format '%d/%m/%Y'\); column 'occurred_at'.*31/31/2026"
    ):
        ingest(tmp_path / "log.csv", tmp_path / "data", columns={}, time_format="%d/%m/%Y")


@pytest.mark.parametrize(
    ("codes", "says"), [("%Q", "not understood"), ("%H:%M", "has no year"), ("", "not understood")]
)
def test_a_format_that_says_no_time_is_refused(tmp_path: Path, codes: str, says: str) -> None:
    (tmp_path / "log.csv").write_text("user_id,occurred_at\nx,03/04/2026\n")
    with pytest.raises(UsageError, match=says):
        ingest(tmp_path / "log.csv", tmp_path / "data", columns={}, time_format=codes)


def test_times_written_in_a_known_zone_are_instants(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user_id,occurred_at\nx,2026-06-21 23:30:00\n")
    options = {"source_timezone": "UTC", "timezone": "Europe/London"}
    done = ingest(tmp_path / "log.csv", tmp_path / "data", columns={}, **options)
    assert events(tmp_path / "data")[0][1] == datetime(2026, 6, 22, 0, 30)
    assert done.times == "UTC times, read as Europe/London time"


@pytest.mark.parametrize(
    ("written", "says"), [("2026-06-22T09:30:00Z", "a zone of their own"), ("2026-06-22", "no hour")]
)
def test_a_source_zone_is_refused_where_it_says_nothing(tmp_path: Path, written: str, says: str) -> None:
    (tmp_path / "log.csv").write_text(f"user_id,occurred_at\nx,{written}\n")
    with pytest.raises(UsageError, match=says):
        ingest(tmp_path / "log.csv", tmp_path / "data", columns={}, source_timezone="UTC")


@pytest.mark.parametrize(
    ("written", "read"), [("1,5", 1.5), ("1.234,5", 1234.5), ("1.234.567", 1234567.0), ("7", 7.0), ("", 0.0)]
)
def test_decimal_commas_are_read(tmp_path: Path, written: str, read: float) -> None:
    (tmp_path / "log.csv").write_text(f"user_id;occurred_at;value\nx;2026-06-22;{written}\n")
    ingest(tmp_path / "log.csv", tmp_path / "data", columns={}, decimal=",")
    assert pq.read_table(tmp_path / "data/tables/events.activity")["value"].to_pylist() == [read]


@pytest.mark.parametrize("written", ["1.5", "12.34,5", "1,2,3", "1 234,5"])
def test_a_number_that_does_not_fit_the_decimal_comma_is_refused(tmp_path: Path, written: str) -> None:
    (tmp_path / "log.csv").write_text(f"user_id;occurred_at;value\nx;2026-06-22;{written}\n")
    with pytest.raises(SourceError, match=r"no number .a comma before decimals"):
        ingest(tmp_path / "log.csv", tmp_path / "data", columns={}, decimal=",")


def test_the_page_on_exports_tells_every_format_and_every_event_that_is_left_out() -> None:
    page = (Path(__file__).parents[2] / "docs" / "exports.md").read_text()
    for name, form in FORMATS.items():
        assert f"| `{name}` |" in page
        assert [event for event in form.not_activity if f"`{event}`" not in page] == []
