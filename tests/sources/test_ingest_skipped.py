"""Rows that cannot be taken are skipped up to a share, and listed in a file that names nobody."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from churn.core.errors import SourceError, UsageError
from churn.sources.ingest import Ingested, ingest

GOOD = 96


def csv_log(folder: Path) -> Path:
    """A hundred lines; lines 3, 5 and 7 cannot be read, and the third good event has a negative value."""
    rows = [f"person-{row},2026-06-22T09:00:00,{row}" for row in range(GOOD)]
    rows.insert(1, "person-too,2026-06-22T09:00:00,1,2,3")
    rows.insert(3, "person-few")
    rows.insert(5, "person-two,2026-06-22T09:00:00")
    rows.insert(6, "person-negative,2026-06-22T09:00:00,-1")
    path = folder / "log.csv"
    path.write_text("user_id,occurred_at,value\n" + "\n".join(rows) + "\n")
    return path


def take(source: Path, into: Path, share: float, **options: Any) -> Ingested:
    return ingest(source, into, columns={}, skip_bad_rows=share, **options)


def listed(data: Path) -> list[tuple[str, str, str, str]]:
    with (data / "skipped_rows.csv").open(newline="") as file:
        return [tuple(row) for row in csv.reader(file)][1:]


def test_bad_rows_up_to_the_share_are_skipped_and_listed_with_their_lines(tmp_path: Path) -> None:
    source = csv_log(tmp_path)
    done = take(source, tmp_path / "data", 0.04)
    assert done.rows == GOOD
    assert pq.read_table(tmp_path / "data/tables/events.activity").num_rows == GOOD
    assert dict(done.adjusted) == {f"bad rows skipped, listed in {tmp_path / 'data' / 'skipped_rows.csv'}": 4}
    rows = listed(tmp_path / "data")
    assert [row[:3] for row in rows] == [
        (str(source), "line", "3"),
        (str(source), "line", "5"),
        (str(source), "line", "7"),
        (str(source), "row", "4"),
    ]
    assert rows[0][3].startswith("has more fields than the header's 3")
    assert rows[3][3] == "a negative value: values must be >= 0"


def test_the_list_names_nobody_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    take(csv_log(tmp_path), tmp_path / "data", 0.04)
    path = tmp_path / "data" / "skipped_rows.csv"
    assert "person" not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_more_bad_rows_than_the_share_are_refused_with_all_faults(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        take(csv_log(tmp_path), tmp_path / "data", 0.039)
    assert "4 of 100 rows (4.00%) would be skipped: more than --skip-bad-rows 3.9% allows" in str(
        caught.value
    )
    assert "negative value" in str(caught.value)
    assert not (tmp_path / "data").exists()


def test_a_log_without_bad_rows_has_no_list(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user_id,occurred_at\nx,2026-06-22\n")
    take(path, tmp_path / "data", 0.5)
    assert not (tmp_path / "data" / "skipped_rows.csv").exists()


def test_bad_lines_of_json_and_bad_rows_of_parquet_are_skipped(tmp_path: Path) -> None:
    good = [{"user_id": f"u{row}", "occurred_at": "2026-06-22"} for row in range(8)]
    lines = [*map(json.dumps, good), "not json", '{"user_id": "null", "occurred_at": "2026-06-22"}']
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    take(tmp_path / "log.jsonl", tmp_path / "a", 0.2)
    assert [row[1:] for row in listed(tmp_path / "a")] == [
        ("line", "9", "line is not JSON"),
        ("line", "10", "no user id: such events would count as one person; remove them, or give them an id"),
    ]
    rows = [*good, {"user_id": "x", "occurred_at": "yesterday"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "log.parquet")
    assert take(tmp_path / "log.parquet", tmp_path / "b", 0.2).rows == 8
    assert [row[1:3] for row in listed(tmp_path / "b")] == [("row", "9")]


def test_what_is_no_fault_of_single_rows_is_refused_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text('user_id,occurred_at\na,2026-06-22\n"b,2026-06-22\nc,2026-06-22\n')
    with pytest.raises(SourceError, match="double quote"):
        take(path, tmp_path / "data", 0.5)
    path.write_text(
        "user_id,occurred_at\na,2026-06-22 10:00:00\nb,2026-06-22T10:00:00Z\nc,2026-06-22T10:00:00Z\n"
    )
    with pytest.raises(SourceError, match="mix"):
        take(path, tmp_path / "data", 0.5)


def test_a_share_above_one_half_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="from 0% to 50%"):
        take(csv_log(tmp_path), tmp_path / "data", 0.51)
