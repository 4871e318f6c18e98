"""What the lake promises on a local disk and on S3 alike."""

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from fsspec.core import url_to_fs

from churn.core.errors import RunError
from churn.lake.lake import Lake, Run, RunFolder
from tests.support.lakes import (
    AS_OF,
    PLACES,
    STARTED,
    WEEK,
    DiskPlace,
    Place,
    commit,
    disk_and_s3,
    erase,
    go_at_once,
    manifest,
    own_settings,
    pointed,
    put,
    python,
    visible,
)

_settings = pytest.fixture(autouse=True)(own_settings)
place = pytest.fixture(params=PLACES)(disk_and_s3)


@pytest.fixture
def lake(place: Place) -> Lake:
    return Lake(place.root)


def test_a_committed_run_stands_in_the_documented_place_with_its_manifest(lake: Lake, place: Place) -> None:
    run = commit(lake, "20260629t180000z-3fa1c2")

    base = "runs/product=food/week_start=2026-07-06/run=20260629t180000z-3fa1c2"
    assert run.path("scores", "part-00000.parquet") == f"{place.root}/{base}/scores/part-00000.parquet"
    assert visible(place) == [
        "runs/product=food/current.json",
        f"{base}/manifest.json",
        f"{base}/scores/part-00000.parquet",
    ]
    fs, path = url_to_fs(run.path("scores", "part-00000.parquet"))
    assert pq.read_table(path, filesystem=fs, partitioning=None)["user_id"].to_pylist() == ["a", "b", "c"]
    again = lake.get("food", "20260629t180000z-3fa1c2")
    assert again is not None
    assert again.manifest == run.manifest
    assert again.path() == run.path() == f"{place.root}/{base}"
    run.verify(checksums=True)


def test_nobody_sees_a_run_before_its_commit(lake: Lake, place: Place) -> None:
    commit(lake, "old", as_of=AS_OF - timedelta(days=7))
    before = visible(place)
    folder = lake.start_run("food", WEEK, "a")
    put(folder.path("scores", "part-00000.parquet"), b"half")

    assert visible(place) == before
    assert [run.manifest.run_id for run in lake.runs()] == ["old"]
    assert lake.get("food", "a") is None
    assert lake.committed("food", WEEK) is None
    lake.refresh_pointer("food")
    assert pointed(place) == "old"

    folder.commit(manifest("a"))
    assert pointed(place) == "a"
    assert not [name for name in place.names() if name.endswith(".owner")]


def test_a_run_left_without_a_commit_leaves_no_file_of_its_own(lake: Lake, place: Place) -> None:
    with lake.start_run("food", WEEK, "a") as folder:
        put(folder.path("scores", "part-00000.parquet"), b"half")
    other = lake.start_run("food", WEEK, "b")
    put(other.path("scores", "part-00000.parquet"), b"half")
    with pytest.raises(ZeroDivisionError), other:
        _ = 1 / 0

    assert not [name for name in place.names() if "scores" in name]
    with pytest.raises(RunError, match="has ended"):
        folder.commit(manifest("a"))


def test_scratch_files_of_lost_partitions_do_not_enter_the_run(lake: Lake, place: Place) -> None:
    with lake.start_run("food", WEEK, "a") as folder:
        put(folder.path("scores", "part-00000.parquet"), b"whole")
        put(folder.path("scores", ".part-00001.parquet.9f2c"), b"half")
        if isinstance(place, DiskPlace):
            Path(folder.path(".train")).mkdir()
        put(folder.path(".train", "part-00000.parquet"), b"rows")
        run = folder.commit(manifest("a"))

    assert run.manifest.files.keys() == {"scores/part-00000.parquet"}
    run.verify()
    assert not [name for name in place.names() if "/." in name and name.startswith("runs/")]


def test_an_older_run_never_takes_the_pointer_from_a_newer_one(lake: Lake, place: Place) -> None:
    commit(lake, "new", as_of=AS_OF)
    commit(lake, "last-week", as_of=AS_OF - timedelta(days=7), started_at=STARTED + timedelta(days=9))
    commit(lake, "earlier", started_at=STARTED - timedelta(hours=1))

    current = lake.current("food")
    assert current is not None
    assert current.manifest.run_id == pointed(place) == "new"

    commit(lake, "again", started_at=STARTED + timedelta(hours=1))
    assert pointed(place) == "again"
    committed = lake.committed("food", WEEK)
    assert committed is not None
    assert committed.manifest.run_id == "again"
    assert [run.manifest.run_id for run in lake.runs("food")] == ["last-week", "earlier", "new", "again"]


def test_products_do_not_see_each_other(lake: Lake, place: Place) -> None:
    commit(lake, "a", product="iplayer")
    commit(lake, "b", product="sounds", as_of=AS_OF - timedelta(days=7))

    assert (pointed(place, "iplayer"), pointed(place, "sounds")) == ("a", "b")
    assert lake.get("sounds", "a") is None
    assert [run.manifest.product for run in lake.runs()] == ["iplayer", "sounds"]


def test_a_commit_killed_before_its_pointer_is_settled_later(lake: Lake, place: Place) -> None:
    commit(lake, "old", as_of=AS_OF - timedelta(days=7))
    before = place.read("runs/product=food/current.json")
    commit(lake, "new")
    place.write("runs/product=food/current.json", before)  # as a kill after the commit leaves it

    current = lake.current("food")
    assert current is not None
    assert current.manifest.run_id == "new"
    lake.refresh_pointer("food")
    assert pointed(place) == "new"


def test_a_run_removed_by_hand_is_no_longer_current(lake: Lake, place: Place) -> None:
    commit(lake, "old", as_of=AS_OF - timedelta(days=7))
    erase(place, commit(lake, "new"))
    lake.refresh_pointer("food")

    assert pointed(place) == "old"
    assert lake.committed("food", WEEK) is None


def test_run_id_is_used_once(lake: Lake) -> None:
    commit(lake, "a", as_of=AS_OF - timedelta(days=7))
    with pytest.raises(RunError, match="committed already"):
        lake.start_run("food", WEEK, "a")
    with lake.start_run("food", WEEK, "b"), pytest.raises(RunError, match="being written"):
        lake.start_run("food", WEEK, "b")


def test_manifest_of_another_run_is_refused(lake: Lake) -> None:
    with lake.start_run("food", WEEK, "a") as folder, pytest.raises(RunError, match="manifest is of run b"):
        folder.commit(manifest("b"))
    assert lake.runs() == []


def name_of(place: Place, run: Run, *parts: str) -> str:
    return run.path(*parts).removeprefix(f"{place.root}/")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda place, name: place.remove(name), "scores/part-00000.parquet is missing"),
        (
            lambda place, name: place.write(name, b"x"),
            "scores/part-00000.parquet has 1 bytes instead of",
        ),
        (
            lambda place, name: place.write(name.replace("0.parquet", "1.parquet"), b"x"),
            "part-00001.parquet does not belong",
        ),
    ],
)
def test_verify_names_the_damaged_file(lake: Lake, place: Place, damage: Any, told: str) -> None:
    run = commit(lake, "a")
    damage(place, name_of(place, run, "scores", "part-00000.parquet"))
    with pytest.raises(RunError, match=re.escape(told)):
        run.verify()


def test_changed_bytes_of_the_same_size_are_found_by_checksum(lake: Lake, place: Place) -> None:
    run = commit(lake, "a")
    name = name_of(place, run, "scores", "part-00000.parquet")
    content = bytearray(place.read(name))
    content[10] ^= 1
    place.write(name, bytes(content))

    run.verify()
    with pytest.raises(RunError, match="other bytes"):
        run.verify(checksums=True)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"run_id": 1', b"[]"])
def test_damaged_manifest_is_named(lake: Lake, place: Place, content: bytes) -> None:
    run = commit(lake, "a")
    place.write(name_of(place, run, "manifest.json"), content)
    for read in (lambda: lake.current("food"), lambda: lake.committed("food", WEEK), lake.runs):
        with pytest.raises(RunError, match=r"run=a/manifest\.json is damaged"):
            read()


def test_a_run_copied_under_another_id_is_not_believed(lake: Lake, place: Place) -> None:
    run = commit(lake, "a")
    for name in visible(place):
        place.write(name.replace("run=a", "run=b"), place.read(name))
    assert name_of(place, run)
    with pytest.raises(RunError, match="manifest of another run"):
        lake.runs("food")


COMMIT_ON_AND_ON = """
import sys
from datetime import date, datetime, timedelta, UTC
from fsspec.core import url_to_fs
from churn.lake.lake import Lake, Manifest, new_run_id
lake = Lake(sys.argv[1])
lake.runs()
print("ready", flush=True)
while True:
    started = datetime.now(UTC)
    run_id = new_run_id(started)
    with lake.start_run("food", date(2026, 7, 6), run_id) as folder:
        for part in range(3):
            fs, path = url_to_fs(folder.path("scores", f"part-{part:05d}.parquet"))
            with fs.open(path, "wb") as file:
                file.write(b"x" * 50_000)
        folder.commit(Manifest(
            run_id=run_id, product="food", as_of=date(2026, 6, 28), target_week_start=date(2026, 7, 6),
            started_at=started, model_version="1", code_version="1", rows={"scores": 3},
        ))
"""


@pytest.mark.process
def test_runs_killed_at_any_moment_leave_whole_runs_or_nothing(lake: Lake, place: Place) -> None:
    for milliseconds in (3, 40, 90, 160, 250):
        process = python(COMMIT_ON_AND_ON, place.root)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(milliseconds / 1000)
        process.kill()
        assert process.communicate()[1] == ""
        for run in lake.runs("food"):
            run.verify(checksums=True)
            assert len(run.manifest.files) == 3

    commit(lake, "calm", started_at=datetime.now(UTC))
    assert pointed(place) == "calm"


def test_a_reader_during_commits_sees_only_whole_runs(lake: Lake, place: Place) -> None:
    stop, seen = threading.Event(), set()

    def look() -> None:
        other = Lake(place.root)
        while not stop.is_set():
            run = other.current("food")
            if run is not None:
                run.verify(checksums=True)
                seen.add(run.manifest.run_id)

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(look)
        try:
            for turn in range(6):
                commit(lake, f"r{turn}", started_at=STARTED + timedelta(minutes=turn))
        finally:
            stop.set()
        reading.result(30)
    assert seen


@pytest.mark.process
def test_processes_that_commit_at_once_all_succeed_and_the_latest_started_is_current(place: Place) -> None:
    code = """
import sys
from datetime import date, datetime, timedelta, UTC
from churn.lake.lake import Lake, Manifest
lake = Lake(sys.argv[1])
lake.runs()
print("ready", flush=True)
sys.stdin.readline()
for turn in range(4):
    run_id = f"h{sys.argv[2]}-{turn}"
    with lake.start_run("food", date(2026, 7, 6), run_id) as folder:
        folder.commit(Manifest(
            run_id=run_id, product="food", as_of=date(2026, 6, 28), target_week_start=date(2026, 7, 6),
            started_at=datetime(2026, 6, 29, int(sys.argv[2]), turn, tzinfo=UTC), model_version="1",
            code_version="1",
        ))
"""
    processes = [python(code, place.root, hour) for hour in (2, 1, 0)]
    go_at_once(processes)

    assert [process.communicate(timeout=60)[1] for process in processes] == ["", "", ""]
    assert len(Lake(place.root).runs("food")) == 12
    assert pointed(place) == "h2-3"


def test_threads_that_commit_at_once_all_succeed_and_the_latest_started_is_current(
    lake: Lake, place: Place
) -> None:
    barrier = threading.Barrier(4)

    def commit_four(hour: int) -> None:
        barrier.wait()
        for turn in range(4):
            commit(lake, f"h{hour}-{turn}", started_at=STARTED + timedelta(hours=hour, minutes=turn))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(commit_four, range(4)))
    assert len(lake.runs("food")) == 16
    assert pointed(place) == "h3-3"


def test_a_run_id_is_claimed_by_one_of_many(place: Place) -> None:
    barrier = threading.Barrier(4)

    def begin(number: int) -> RunFolder | str:
        lake = Lake(place.root)
        barrier.wait()
        try:
            return lake.start_run("food", WEEK, "a")
        except RunError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(begin, range(4)))
    assert [("being written" in told) for told in folders if isinstance(told, str)] == [True] * 3
    for folder in folders:
        if isinstance(folder, RunFolder):
            folder.discard()
