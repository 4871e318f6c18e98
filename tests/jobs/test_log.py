"""From a log to a data folder and an as-of date, without reading an unchanged log again."""

import os
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from churn.config.load import load_settings
from churn.core.errors import SourceError, UsageError
from churn.jobs.log import last_complete_sunday, log_name, prepare_log

SUNDAY = date(2026, 6, 28)
MAPPED = {"user_id": "uid", "occurred_at": "ts"}


def write_log(
    path: Path, until: date = SUNDAY, weeks: int = 10, skip: Callable[[date], bool] | None = None
) -> Path:
    """Write a log of ten events a day."""
    days = [until - timedelta(days=ahead) for ahead in range(7 * weeks)]
    kept = [day for day in days if not (skip and skip(day))]
    lines = [f"u{n},{day}T{8 + n:02d}:00:00" for day in kept for n in range(10)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("uid,ts\n" + "\n".join(lines) + "\n")
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def prepared(source: Path | str, **options: Any) -> Any:
    return prepare_log(source, columns=options.pop("columns", MAPPED), **options)


def test_folders_are_named_after_the_log_and_the_date_is_its_last_sunday(here: Path) -> None:
    log = prepared(write_log(here / "logs" / "plays.csv"))
    assert (log.data, log.out, log.as_of, log.why) == (Path("plays-data"), Path("plays-out"), SUNDAY, "")
    assert log.ingested.rows == 700
    assert load_settings(log.data, log.out).product("main").title == "main"


def test_the_data_folder_lies_beside_out(here: Path) -> None:
    log = prepared(write_log(here / "plays.csv"), out=here / "x" / "out")
    assert (log.data, log.out) == (here / "x" / "plays-data", here / "x" / "out")


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("plays.csv", "plays"),
        ("a/b/plays.2026.csv.gz", "plays"),
        ("logs/2026-*/*.parquet", "logs"),
        ("logs/*.csv", "logs"),
        ("*.csv", "log"),
        ("grocery", "grocery"),
        ("folder.d", "folder"),
    ],
)
def test_names_of_logs(source: str, name: str) -> None:
    assert log_name(source) == name


def test_a_log_that_has_not_changed_is_not_read_again(here: Path) -> None:
    path = write_log(here / "plays.csv")
    prepared(path)
    before = os.stat("plays-data").st_ino
    again = prepared(path)
    assert again.ingested is None
    assert again.as_of == SUNDAY
    assert os.stat("plays-data").st_ino == before


@pytest.mark.parametrize("change", ["content", "columns", "option", "another file"])
def test_a_changed_log_or_reading_is_ingested_anew(here: Path, change: str) -> None:
    path = write_log(here / "plays.csv")
    options: dict[str, Any] = {}
    prepared(path)
    if change == "content":  # of the same size and time, as a copy that keeps times leaves it
        stat = path.stat()
        path.write_text(path.read_text().replace("u9", "v9"))
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    elif change == "columns":
        options = {"columns": MAPPED | {"device": "uid"}}
    elif change == "option":
        options = {"source_timezone": "UTC"}
    else:
        path.rename(here / "plays2.csv")
        write_log(path, weeks=11)
    assert prepared(path, **options).ingested is not None


def test_a_failure_leaves_the_old_data_folder_as_it_was(here: Path) -> None:
    path = write_log(here / "plays.csv")
    prepared(path)
    before = {file: file.read_bytes() for file in Path("plays-data").rglob("*") if file.is_file()}
    path.write_text("uid,ts\nu1,yesterday\n")
    with pytest.raises(SourceError, match="cannot be read"):
        prepared(path)
    assert {file: file.read_bytes() for file in Path("plays-data").rglob("*") if file.is_file()} == before
    write_log(path, until=SUNDAY + timedelta(days=7))
    assert prepared(path).as_of == SUNDAY + timedelta(days=7)


def test_edited_settings_stay_when_the_log_grows(here: Path) -> None:
    path = write_log(here / "plays.csv")
    settings = prepared(path).data / "churn.toml"
    edited = settings.read_text().replace('title = "main"', 'title = "Plays"')
    settings.write_text(edited)
    for week in (1, 2):
        write_log(path, until=SUNDAY + timedelta(days=7 * week))
        prepared(path)
        assert settings.read_text() == edited
    assert "2026-07-12" in (settings.parent / "churn.toml.new").read_text()


def test_a_folder_of_another_log_is_not_replaced(here: Path) -> None:
    prepared(write_log(here / "a" / "plays.csv"))
    with pytest.raises(UsageError, match=r"made from another log, .*a/plays\.csv"):
        prepared(write_log(here / "b" / "plays.csv"))
    (here / "plays-data" / "ingested.json").unlink()
    with pytest.raises(UsageError, match="not empty"):
        prepared(here / "a" / "plays.csv")


def test_a_data_folder_within_the_log_or_as_the_log_is_refused(here: Path) -> None:
    write_log(here / "plays.csv")
    with pytest.raises(UsageError, match="would lie within the log"):
        prepared(here)
    data = prepared(here / "plays.csv").data
    with pytest.raises(UsageError, match="is a data folder, not a log: churn run --data"):
        prepared(data)


def activity(folder: Path, days: dict[date, int]) -> Path:
    """Write the activity table of a data folder with some events a day."""
    times = [datetime(day.year, day.month, day.day, 12) for day, count in days.items() for _ in range(count)]
    table = folder / "tables" / "events.activity"
    table.mkdir(parents=True)
    pq.write_table(
        pa.table({"occurred_at": pa.array(times, pa.timestamp("us"))}), table / "part-00000.parquet"
    )
    return folder


def daily(until: date, *, days: int = 70, count: int = 20) -> dict[date, int]:
    return {until - timedelta(days=ahead): count for ahead in range(days)}


def test_the_last_sunday_is_complete_only_if_it_has_a_usual_number_of_events(tmp_path: Path) -> None:
    whole = daily(SUNDAY)
    assert last_complete_sunday(activity(tmp_path / "whole", whole)) == (SUNDAY, "")
    cut = whole | {SUNDAY: 9}
    as_of, why = last_complete_sunday(activity(tmp_path / "cut", cut))
    assert as_of == SUNDAY - timedelta(days=7)
    assert why == "the log seems to end during Sunday 2026-06-28, with 9 events (usually 20)"


def test_a_week_that_the_log_ends_in_is_not_complete(tmp_path: Path) -> None:
    days = daily(SUNDAY + timedelta(days=3))
    assert last_complete_sunday(activity(tmp_path, days)) == (
        SUNDAY,
        "the log ends on 2026-07-01, in the middle of a week",
    )


def test_a_log_without_weekends_is_complete_on_friday(tmp_path: Path) -> None:
    days = {day: count for day, count in daily(SUNDAY).items() if day.weekday() < 5}
    assert last_complete_sunday(activity(tmp_path / "friday", days)) == (SUNDAY, "")
    days.pop(SUNDAY - timedelta(days=2))
    assert last_complete_sunday(activity(tmp_path / "thursday", days))[0] == SUNDAY - timedelta(days=7)


def test_a_week_that_is_not_over_is_never_chosen(tmp_path: Path) -> None:
    today = date.today()
    as_of, _ = last_complete_sunday(activity(tmp_path, daily(today)))
    assert as_of < today
    assert today - as_of <= timedelta(days=7)
