import errno
import json
import logging
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from churn.core.errors import RunError, UsageError
from churn.core.files import file_lock
from churn.lake import staging_local
from churn.lake.lake import FOLDERS, Lake, Run, new_run_id
from tests.support.disks import mounted
from tests.support.lakes import AS_OF, STARTED, WEEK, commit, go_at_once, manifest, python


def pointed(root: Path, product: str = "food") -> str:
    return str(json.loads((root / f"runs/product={product}/current.json").read_text())["run_id"])


def visible(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in (root / "runs").rglob("*") if path.is_file())


BEGIN_AND_WAIT = """
import sys, time
from datetime import date
from churn.lake.lake import Lake
folder = Lake(sys.argv[1]).start_run("food", date(2026, 7, 6), sys.argv[2])
with open(folder.path("scores", "part-00000.parquet"), "wb") as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture
def lake(root: Path) -> Lake:
    return Lake(str(root))


def test_committed_run_stands_in_the_documented_place_with_its_manifest(lake: Lake, root: Path) -> None:
    run = commit(lake, "20260629t180000z-3fa1c2", metrics={"auc": 0.8, "log_loss": float("nan")})

    base = root / "runs/product=food/week_start=2026-07-06/run=20260629t180000z-3fa1c2"
    assert run.path("scores", "part-00000.parquet") == str(base / "scores/part-00000.parquet")
    assert sorted(path.name for path in base.iterdir()) == sorted([*FOLDERS, "manifest.json"])
    written = json.loads((base / "manifest.json").read_text(), parse_constant=pytest.fail)
    assert written["status"] == "committed"
    assert written["rows"] == {"scores": 3}
    assert written["files"].keys() == {"scores/part-00000.parquet"}
    assert pq.read_table(run.path("scores")).num_rows == 3
    again = lake.get("food", "20260629t180000z-3fa1c2")
    assert again is not None
    assert again.base == run.base
    assert np.isnan(again.manifest.metrics["log_loss"])
    run.verify(checksums=True)


def test_nothing_is_visible_before_the_commit_nor_left_after_it(lake: Lake, root: Path) -> None:
    folder = lake.start_run("food", WEEK, "a")
    Path(folder.path("scores", "part-00000.parquet")).write_bytes(b"half")

    assert not (root / "runs").exists()
    assert "run=" not in folder.base
    assert lake.runs() == []
    assert lake.current("food") is None
    assert lake.committed("food", WEEK) is None

    folder.commit(manifest("a"))

    assert [path.name for path in (root / ".staging/product=food").iterdir()] == [".lock"]


class Witness:
    """Looks at a lake before each call of the operating system: wherever a kill could strike."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.states: list[tuple[tuple[str, ...], str]] = []

    def look(self, frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and getattr(called, "__module__", "") in ("posix", "_io"):
            files = tuple(name for name in visible(self.root) if "/." not in name)
            self.states.append((files, pointed(self.root)))


def test_at_every_step_of_a_commit_readers_see_the_old_state_or_the_new(lake: Lake, root: Path) -> None:
    commit(lake, "old", as_of=AS_OF - timedelta(days=7))
    before = tuple(visible(root))
    with lake.start_run("food", WEEK, "new") as folder:
        Path(folder.path("scores", "part-00000.parquet")).write_bytes(b"whole")
        Path(folder.path("model", "model.json")).write_bytes(b"whole")
        witness = Witness(root)
        sys.setprofile(witness.look)
        try:
            folder.commit(manifest("new"))
        finally:
            sys.setprofile(None)
    after = tuple(visible(root))

    assert set(witness.states) == {(before, "old"), (after, "old"), (after, "new")}
    assert witness.states == sorted(witness.states, key=lambda state: (state[0] == after, state[1] == "new"))


def test_the_pointer_is_only_replaced_under_the_lock_of_its_product(lake: Lake, root: Path) -> None:
    commit(lake, "old", as_of=AS_OF - timedelta(days=7))
    with lake.start_run("food", WEEK, "new") as folder, ThreadPoolExecutor(1) as pool:
        with file_lock(str(root / ".staging/product=food/.lock")):
            committing = pool.submit(folder.commit, manifest("new"))
            while lake.get("food", "new") is None:
                time.sleep(0.005)
            time.sleep(0.05)
            assert pointed(root) == "old"
            assert not committing.done()
        committing.result(10)
    assert pointed(root) == "new"


def test_leaving_the_folder_without_a_commit_abandons_it(lake: Lake, root: Path) -> None:
    with lake.start_run("food", WEEK, "a") as folder:
        pass
    with pytest.raises(ZeroDivisionError), lake.start_run("food", WEEK, "b"):
        _ = 1 / 0

    assert not Path(folder.base).exists()
    assert [path.name for path in (root / ".staging/product=food").iterdir()] == [".lock"]
    with pytest.raises(RunError, match="has ended"):
        folder.commit(manifest("a"))


def test_a_lost_connection_inside_the_folder_is_not_called_a_disk_error(lake: Lake) -> None:
    with pytest.raises(ConnectionResetError), lake.start_run("food", WEEK, "a"):
        raise ConnectionResetError(errno.ECONNRESET, "reset by peer")


def test_target_week_must_start_on_a_monday(lake: Lake) -> None:
    with pytest.raises(UsageError, match="2026-07-07 is a Tuesday"):
        lake.start_run("food", date(2026, 7, 7), "a")


def test_manifest_refuses_weeks_that_do_not_agree_unknown_fields_and_naive_times() -> None:
    with pytest.raises(ValidationError, match="starts on 2026-07-06, not on 2026-07-13"):
        manifest("a", target_week_start=date(2026, 7, 13))
    with pytest.raises(ValidationError, match="extra"):
        manifest("a", colour="red")
    with pytest.raises(ValidationError, match="timezone"):
        manifest("a", started_at=datetime(2026, 6, 29))


@pytest.mark.process
def test_a_killed_run_is_swept_by_the_next_and_never_seen(lake: Lake, root: Path) -> None:
    commit(lake, "before")
    seen = visible(root)
    process = python(BEGIN_AND_WAIT, root, "killed")
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    staging = root / ".staging/product=food/killed"

    with lake.start_run("food", WEEK, "while-it-lives"):
        assert staging.exists(), "a living run was swept"

    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert visible(root) == seen
    assert pointed(root) == "before"

    with lake.start_run("food", WEEK, "next") as folder:
        assert not staging.exists()
        assert Path(folder.base).exists()
    assert visible(root) == seen


@pytest.mark.process
def test_runs_killed_at_any_moment_leave_whole_runs_or_nothing(lake: Lake, root: Path) -> None:
    code = """
import sys
from datetime import date, datetime, timedelta, UTC
from churn.lake.lake import Lake, Manifest, new_run_id
lake = Lake(sys.argv[1])
print("ready", flush=True)
while True:
    started = datetime.now(UTC)
    run_id = new_run_id(started)
    with lake.start_run("food", date(2026, 7, 6), run_id) as folder:
        for part in range(3):
            with open(folder.path("scores", f"part-{part:05d}.parquet"), "wb") as file:
                file.write(b"x" * 50_000)
        folder.commit(Manifest(
            run_id=run_id, product="food", as_of=date(2026, 6, 28), target_week_start=date(2026, 7, 6),
            started_at=started, model_version="1", code_version="1", rows={"scores": 3},
        ))
"""
    for milliseconds in (3, 40, 90, 160):
        process = python(code, root)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(milliseconds / 1000)
        process.kill()
        process.communicate()
        for run in lake.runs("food"):
            run.verify(checksums=True)
            assert len(run.manifest.files) == 3

    commit(lake, "calm", started_at=datetime.now(UTC))
    assert pointed(root) == "calm"
    assert [path.name for path in (root / ".staging/product=food").iterdir()] == [".lock"]


def test_staging_of_another_host_is_left_until_it_is_stale(lake: Lake, root: Path) -> None:
    staging = root / ".staging/product=food"
    (staging / "far").mkdir(parents=True)
    owner = staging / "far.owner"
    owner.write_text("another-host\n42\n")
    lake.start_run("food", WEEK, "a").discard()
    assert (staging / "far").exists()

    long_ago = time.time() - 3 * 86400
    os.utime(owner, (long_ago, long_ago))
    lake.start_run("food", WEEK, "b").discard()
    assert not (staging / "far").exists()
    assert not owner.exists()


# --- checkpoints: runs that another process goes on with ---


def kept(lake: Lake, run_id: str = "a", week: date = WEEK, product: str = "food") -> Path:
    """The staging folder of a run that failed after its checkpoint."""
    folder = lake.start_run(product, week, run_id)
    folder.save_checkpoint(b"what is needed")
    with pytest.raises(ZeroDivisionError), folder:
        _ = 1 / 0
    assert folder.kept
    return Path(folder.base)


def adoptable(lake: Lake) -> bool:
    """Whether there was something to adopt; it is abandoned."""
    folder = lake.resume_run("food", WEEK)
    if folder is not None:
        folder.discard()
    return folder is not None


def staging_files(root: Path, product: str = "food") -> list[str]:
    return sorted(path.name for path in (root / f".staging/product={product}").iterdir())


def test_a_run_that_fails_after_its_checkpoint_can_be_adopted_and_committed(lake: Lake, root: Path) -> None:
    staging = kept(lake)
    assert lake.runs() == []
    folder = lake.resume_run("food", WEEK)
    assert folder is not None
    assert (folder.base, folder.run_id, folder.target_week_start) == (str(staging), "a", WEEK)
    assert Path(folder.checkpoint).read_bytes() == b"what is needed"
    with folder:
        run = folder.commit(manifest("a"))
    run.verify(checksums=True)
    assert not list(Path(run.base).glob(".*")), "the checkpoint is scratch"
    assert pointed(root) == "a"
    assert staging_files(root) == [".lock"]


def test_without_a_checkpoint_or_without_an_error_nothing_is_kept(lake: Lake, root: Path) -> None:
    with pytest.raises(ZeroDivisionError), lake.start_run("food", WEEK, "a") as folder:
        _ = 1 / 0
    with lake.start_run("food", WEEK, "b") as ended:
        ended.save_checkpoint(b"")
    assert not folder.kept
    assert not ended.kept
    assert staging_files(root) == [".lock"]
    assert lake.resume_run("food", WEEK) is None


def test_an_adopted_run_that_fails_again_can_be_adopted_again(lake: Lake) -> None:
    kept(lake)
    for _ in range(3):
        folder = lake.resume_run("food", WEEK)
        assert folder is not None
        with pytest.raises(ZeroDivisionError), folder:
            _ = 1 / 0
        assert folder.kept


def test_an_adopted_run_can_be_abandoned(lake: Lake, root: Path) -> None:
    kept(lake)
    assert adoptable(lake)
    assert staging_files(root) == [".lock"]


@pytest.mark.parametrize("moment", ["stamp", "flush", "_remove", "place_folder"])
def test_a_commit_that_fails_can_be_adopted_until_its_last_step(
    lake: Lake, root: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    folder = lake.start_run("food", WEEK, "a")
    Path(folder.path(".holdout.parquet")).write_bytes(b"held out")
    Path(folder.path("scores", "part-00000.parquet")).write_bytes(b"whole")
    folder.save_checkpoint(b"what is needed")
    with monkeypatch.context() as broken:
        broken.setattr(staging_local, moment, fail)
        with pytest.raises(KeyboardInterrupt), folder:
            folder.commit(manifest("a"))
    assert lake.runs() == []
    again = lake.resume_run("food", WEEK)
    if moment == "place_folder":
        assert again is None
        assert staging_files(root) == [".lock"]
        return
    assert again is not None
    assert Path(again.path(".holdout.parquet")).read_bytes() == b"held out"
    with again:
        run = again.commit(manifest("a"))
    run.verify(checksums=True)
    assert set(run.manifest.files) == {"scores/part-00000.parquet"}
    assert not list(Path(run.base).rglob(".*"))


def test_what_cannot_be_adopted_is_swept_with_a_line_that_says_why(
    lake: Lake, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "churn.core.timing")
    staging = kept(lake, "died")
    (staging / f".checkpoint-{WEEK}.json").unlink()
    lake.start_run("food", WEEK, "next").discard()
    (told,) = [record.getMessage() for record in caplog.records if record.name == "churn.core.timing"]
    assert told.endswith(
        "the unfinished run died is not resumed: it ended before its training began, or in the last step "
        "of its commit"
    )
    assert staging_files(root) == [".lock"]
    caplog.clear()
    kept(lake, "forced")
    lake.start_run("food", WEEK, "anew").discard()
    assert staging_files(root) == [".lock"]
    assert not [record for record in caplog.records if record.name == "churn.core.timing"], "it was asked for"


def test_a_living_run_is_not_adopted(lake: Lake) -> None:
    with lake.start_run("food", WEEK, "a") as folder:
        folder.save_checkpoint(b"")
        assert lake.resume_run("food", WEEK) is None
        with lake.start_run("food", WEEK, "b"):
            assert Path(folder.checkpoint).exists()


@pytest.mark.process
def test_a_dead_run_is_adopted_by_one_of_many(lake: Lake, root: Path) -> None:
    kept(lake)
    code = """
import sys
from datetime import date
from churn.lake.lake import Lake
lake = Lake(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
folder = lake.resume_run("food", date(2026, 7, 6))
print("mine" if folder else "nothing", flush=True)
sys.stdin.readline()
"""
    processes = [python(code, root) for _ in range(4)]
    go_at_once(processes)
    answers = [process.stdout.readline() for process in processes if process.stdout is not None]
    assert sorted(answers) == ["mine\n", *["nothing\n"] * 3]
    assert lake.resume_run("food", WEEK) is None
    for process in processes:
        process.kill()
        process.communicate()
    assert adoptable(lake), "its owner is dead"


def test_other_weeks_and_products_keep_what_can_be_adopted(lake: Lake, root: Path) -> None:
    staging, other = kept(lake), kept(lake, "b", product="drink")
    before = WEEK - timedelta(days=7)
    assert lake.resume_run("food", before) is None
    commit(lake, "c", as_of=AS_OF - timedelta(days=7))
    lake.refresh_pointer("food")
    assert staging.exists()
    lake.start_run("food", WEEK, "d").discard()
    assert not staging.exists(), "its own week begins anew"
    assert other.exists()
    assert staging_files(root) == [".lock"]


def test_what_failed_beside_a_committed_run_of_its_week_is_not_kept(lake: Lake, root: Path) -> None:
    commit(lake, "first")
    folder = lake.start_run("food", WEEK, "forced")
    folder.save_checkpoint(b"")
    with pytest.raises(ZeroDivisionError), folder:
        _ = 1 / 0
    assert not folder.kept
    assert staging_files(root) == [".lock"]


def test_what_can_be_adopted_goes_when_its_week_is_committed_by_another(lake: Lake, root: Path) -> None:
    with lake.start_run("food", WEEK, "quicker") as quicker:  # before the other one failed
        staging = kept(lake)
        quicker.commit(manifest("quicker"))
    assert not staging.exists()
    assert staging_files(root) == [".lock"]


@pytest.mark.parametrize("hours", [47, 49])
def test_it_can_be_adopted_for_48_hours(lake: Lake, hours: int) -> None:
    staging = kept(lake)
    then = time.time() - hours * 3600
    os.utime(staging / f".checkpoint-{WEEK}.json", (then, then))
    lake.start_run("food", WEEK + timedelta(days=7), "later").discard()
    assert staging.exists() == (hours < 48)
    assert adoptable(lake) == (hours < 48)


def test_what_died_on_another_host_is_not_adopted(lake: Lake) -> None:
    staging = kept(lake)
    Path(f"{staging}.owner").write_text("another-host\n42\n")
    assert lake.resume_run("food", WEEK) is None
    assert staging.exists()


def test_a_run_killed_as_it_is_adopted_can_be_adopted(lake: Lake) -> None:
    staging = kept(lake)
    Path(f"{staging}.owner").write_text("")
    assert adoptable(lake)


@pytest.mark.process
def test_processes_that_adopt_and_are_killed_at_any_moment_lose_nothing(lake: Lake, root: Path) -> None:
    code = """
import sys
from datetime import date, datetime, UTC
from pathlib import Path
from churn.lake.lake import Lake, Manifest
lake, week, turn = Lake(sys.argv[1]), date(2026, 7, 6), 0
print("ready", flush=True)
while True:
    folder = lake.resume_run("food", week)
    if folder is None:
        turn += 1
        folder = lake.start_run("food", week, f"{sys.argv[2]}-{turn}")
        Path(folder.path("features", "part-00000.parquet")).write_bytes(b"x" * 50_000)
        folder.save_checkpoint(folder.run_id.encode())
    content = Path(folder.path("features", "part-00000.parquet")).read_bytes()
    assert len(content) == 50_000 and Path(folder.checkpoint).read_text() == folder.run_id
    try:
        with folder:
            1 / 0
    except ZeroDivisionError:
        pass
"""
    for milliseconds in (3, 20, 40, 90, 160):
        process = python(code, root, f"k{milliseconds}")
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(milliseconds / 1000)
        assert process.poll() is None
        process.kill()
        assert process.communicate()[1] == ""
    folder = lake.resume_run("food", WEEK) or lake.start_run("food", WEEK, "last")
    with folder:
        folder.commit(manifest(folder.run_id))
    assert staging_files(root) == [".lock"]


def test_what_a_worker_writes_that_outlived_its_run_is_swept(lake: Lake, root: Path) -> None:
    with lake.start_run("food", WEEK, "a") as folder:
        late = Path(folder.path(".tmp", "part-00003-9f2c"))
    late.mkdir(parents=True)
    with lake.start_run("food", WEEK, "b") as other:
        assert not Path(folder.base).exists()
        assert Path(other.base).exists()
    assert staging_files(root) == [".lock"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "256k") as disk:
        yield disk


def test_a_full_disk_says_what_to_do_and_loses_nothing(small_disk: Path) -> None:
    lake = Lake(str(small_disk))
    commit(lake, "before")
    seen = visible(small_disk)
    noise = pa.table({"x": np.random.default_rng(0).random(100_000)})

    with (
        pytest.raises(RunError, match="the disk is full: free some space") as caught,
        lake.start_run("food", WEEK, "big") as folder,
    ):
        pq.write_table(noise, folder.path("scores", "part-00000.parquet"))
    assert isinstance(caught.value.__cause__, OSError)
    assert visible(small_disk) == seen
    commit(lake, "after", started_at=STARTED + timedelta(hours=1))
    assert pointed(small_disk) == "after"


def test_a_disk_that_fills_up_in_the_commit_leaves_the_run_before_it_current(small_disk: Path) -> None:
    lake = Lake(str(small_disk))
    commit(lake, "before")
    seen = visible(small_disk)
    with lake.start_run("food", WEEK, "big") as folder:
        with pytest.raises(OSError, match="No space"), open(folder.path("logs", "log.txt"), "wb") as file:
            file.write(bytes(1_000_000))
        with pytest.raises(RunError, match=r"committing the run .* the disk is full"):
            folder.commit(manifest("big"))
    assert visible(small_disk) == seen
    assert pointed(small_disk) == "before"


def test_a_disk_too_full_to_begin_says_so(small_disk: Path) -> None:
    lake = Lake(str(small_disk))
    commit(lake, "before")
    with pytest.raises(OSError, match="No space"), open(small_disk / "other", "wb") as file:
        file.write(bytes(1_000_000))
    with pytest.raises(RunError, match="the disk is full"):
        lake.start_run("food", WEEK, "next")
    assert pointed(small_disk) == "before"
    (small_disk / "other").unlink()
    commit(lake, "next", started_at=STARTED + timedelta(hours=1))
    assert pointed(small_disk) == "next"


@pytest.mark.process
def test_a_file_size_limit_says_what_to_do_and_loses_nothing(lake: Lake, root: Path) -> None:
    commit(lake, "before")
    seen = visible(root)
    code = f"""
import resource, sys
from datetime import date
from churn.lake import staging_local
from churn.core.files import file_lock
from churn.core.errors import RunError
from churn.lake.lake import Lake
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, {resource.RLIM_INFINITY}))
try:
    with Lake(sys.argv[1]).start_run("food", date(2026, 7, 6), "big") as folder:
        with open(folder.path("scores", "part-00000.parquet"), "wb") as file:
            file.write(bytes(1_000_000))
except RunError as error:
    print(error)
"""
    output, errors = python(code, root).communicate(timeout=30)
    assert "a file grew past the allowed size: raise the limit" in output, errors
    assert visible(root) == seen
    assert [path.name for path in (root / ".staging/product=food").iterdir()] == [".lock"]


@pytest.mark.process
def test_a_folder_that_may_not_be_written_says_so(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0o555)
    code = """
import os, sys
from datetime import date
from churn.lake import staging_local
from churn.core.files import file_lock
from churn.core.errors import RunError
from churn.lake.lake import Lake
lake = Lake(sys.argv[1])
if os.geteuid() == 0:
    os.setuid(65534)  # nothing is forbidden to the superuser
try:
    lake.start_run("food", date(2026, 7, 6), "a")
except RunError as error:
    print(error)
"""
    output, errors = python(code, closed / "lake").communicate(timeout=30)
    assert "permission denied: check the folder's owner and mode" in output, errors


def test_a_file_where_the_lake_should_be_says_so(tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("not a folder")
    with pytest.raises(RunError, match="a file stands where a folder should be"):
        Lake(str(tmp_path / "lake")).start_run("food", WEEK, "a")


@pytest.mark.parametrize("root", ["", "memory://lake", "nonsense://x", "a\0b", "s3://"])
def test_roots_that_cannot_commit_in_one_step_are_refused(root: str) -> None:
    with pytest.raises(UsageError, match="lake's root"):
        Lake(root)


def test_root_may_be_relative_a_file_address_or_have_unusual_signs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, root in enumerate(("out/lake", f"file://{tmp_path}/filed", f"{tmp_path}/a b%20[x]#é=1")):
        run = commit(Lake(root), f"r{number}")
        run.verify(checksums=True)
        assert Path(run.base).is_relative_to(tmp_path)
        assert Path(run.base).is_absolute()


def test_run_ids_are_unique_and_sort_by_start() -> None:
    ids = [new_run_id(STARTED + timedelta(seconds=second)) for second in range(50) for _ in range(4)]
    assert len(set(ids)) == 200
    assert [id_[:16] for id_ in sorted(ids)] == [id_[:16] for id_ in ids]
    assert re.fullmatch(r"20260629t180000z-[0-9a-f]{6}", ids[0])
    with pytest.raises(UsageError, match="no time zone"):
        new_run_id(datetime(2026, 6, 29))


HOSTILE = st.one_of(
    st.text(max_size=20),
    st.text(alphabet="./\\%2e~:*?[]= \n\0aA0-_", max_size=12),
    st.sampled_from(
        ["..", "../..", "/etc", "a/../..", "%2e%2e", "a\n", "~", "food/", ".staging", "é", "", "run=a"]
    ),
)


@given(product=HOSTILE, run_id=HOSTILE)
def test_no_product_or_run_id_leads_out_of_the_lake(
    tmp_path_factory: pytest.TempPathFactory, product: str, run_id: str
) -> None:
    root = tmp_path_factory.getbasetemp() / "hostile"
    lake = Lake(str(root))
    safe = bool(re.fullmatch(r"[a-z0-9][a-z0-9_-]*", product) and re.fullmatch(r"[a-z0-9][a-z0-9-]*", run_id))
    try:
        folder = lake.start_run(product, WEEK, run_id)
    except UsageError:
        assert not safe
    else:
        assert safe
        assert os.path.realpath(folder.base).startswith(
            f"{os.path.realpath(root)}/.staging/product={product}/"
        )
        folder.discard()
    assert {path.name for path in root.iterdir()} <= {".staging"} if root.exists() else True
    for read in (
        lambda: lake.get(product, run_id),
        lambda: lake.current(product),
        lambda: lake.runs(product),
    ):
        try:
            assert not read()
        except UsageError:
            assert not safe


@given(parts=st.lists(HOSTILE, min_size=1, max_size=3))
def test_no_path_leads_out_of_a_run(parts: list[str]) -> None:
    run = Run(manifest("a"), LocalFileSystem(), "/lake/run=a")
    try:
        path = run.path(*parts)
    except UsageError:
        return
    assert os.path.normpath(path) == path
    assert path.startswith("/lake/run=a/")
    assert not set(path) & set("\\%~:*?[]\n\0 ")
