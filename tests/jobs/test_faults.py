"""Kills and full disks: nothing half-written is ever current, and the next run finishes: anew, or where it was."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import duckdb
import psutil
import pyarrow.parquet as pq
import pytest

from churn.lake.lake import Lake, Run
from tests.support.churn_runs import Ended, Runs
from tests.support.data_folders import AS_OF, files_below
from tests.support.disks import mounted

pytestmark = pytest.mark.process
SLOW = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Starts runs without Prefect's engine."""
    folder = tmp_path_factory.mktemp("runs")
    outside = {
        name: value for name, value in os.environ.items() if not name.startswith(("CHURN_", "PREFECT_"))
    }
    started = Runs(
        folder,
        outside
        | {
            "OMP_NUM_THREADS": "1",
            "PREFECT_HOME": str(folder / "prefect"),
            "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "3s",
            "CHURN_CLUSTER__WORKERS": "1",
        },
    )
    try:
        assert started("products").code == 0  # it is ready when it has answered
        yield started
    finally:
        started.close()


@pytest.fixture
def out(runs: Runs, tmp_path: Path) -> Path:
    """An output folder."""
    return output(runs, tmp_path / "out")


def output(runs: Runs, folder: Path) -> Path:
    folder.mkdir()
    shutil.copy(runs.empty_mlflow, folder / "mlflow.db")
    return folder


def line(data: Path, out: Path, *more: str) -> list[str]:
    return ["run", "--data", str(data), "--out", str(out), "--product", "food", "--as-of", f"{AS_OF}", *more]


def committed(out: Path, product: str = "food") -> list[Run]:
    """The runs in the lake, after a look that each of them is whole and that the newest is current."""
    found = Lake(str(out / "lake")).runs()
    for run in found:
        run.verify(checksums=True)
        assert run.manifest.status == "committed"
    pointer = out / "lake" / "runs" / f"product={product}" / "current.json"
    if found and pointer.exists():
        assert json.loads(pointer.read_text())["run_id"] in {run.manifest.run_id for run in found}
    assert pointer.exists() <= bool(found)
    return found


def published(out: Path) -> dict[str, int]:
    """Scores in the warehouse by run id, as a reader would count them."""
    with duckdb.connect(str(out / "warehouse.duckdb"), read_only=True) as warehouse:
        tables = warehouse.sql("select table_schema || '.' || table_name from information_schema.tables")
        if ("churn.scores",) not in tables.fetchall():
            return {}
        return dict(warehouse.sql("select run_id, count(*) from churn.scores group by 1").fetchall())


def check_finished(out: Path, run: Run) -> None:
    """Look that a run is current, published once and logged, and that nothing else is left anywhere."""
    assert committed(out)[-1].manifest == run.manifest
    pointer = json.loads((out / "lake/runs/product=food/current.json").read_text())
    assert pointer["run_id"] == run.manifest.run_id
    assert published(out) == {run.manifest.run_id: run.manifest.rows["scores"]}
    scores = pq.read_table(run.path("scores"), partitioning=None)
    with duckdb.connect(str(out / "warehouse.duckdb"), read_only=True) as warehouse:
        found = warehouse.sql("select user_id, predicted_probability from churn.scores order by 1").fetchall()
        schemas = {row[0] for row in warehouse.sql("select schema_name from duckdb_schemas()").fetchall()}
        tables = warehouse.sql(
            "select table_name from duckdb_tables() where schema_name = 'churn'"
        ).fetchall()
    assert found == sorted(
        zip(scores["user_id"].to_pylist(), scores["predicted_probability"].to_pylist(), strict=True)
    )
    assert not [name for name in schemas if name.startswith("run_")]
    assert {name for (name,) in tables} == {"published", "reasons", "schema_version", "scores"}
    assert set(files_below(out / "lake" / ".staging")) == {"product=food/.lock"}
    with closing(sqlite3.connect(out / "mlflow.db")) as mlflow:
        logged = mlflow.execute(
            "select runs.name, runs.status, count(*) from runs join model_versions on run_id = run_uuid"
            " group by runs.name order by runs.name"
        ).fetchall()
    assert logged[-1] == (run.manifest.run_id, "FINISHED", 1)
    assert {path.name for path in out.iterdir()} == {
        "lake", "mlflow", "mlflow.db", ".mlflow.db.lock", "warehouse.duckdb"
    }  # fmt: skip


def check_refused(ended: Ended, told: str, code: int = 1) -> None:
    """Look that a run failed with one sentence that says something."""
    assert ended.code == code, ended.err
    assert ended.out == ""
    assert "Traceback" not in ended.err
    sentences = [line for line in ended.err.splitlines() if line and not line.startswith("  ")]
    assert len(sentences) == 1
    assert re.match(f"churn: .*({told})", sentences[0]), sentences[0]


# --- kills ---


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("during eligible", marks=SLOW),  # SQL
        pytest.param("before churn.jobs.weekly.stages.save_inputs", marks=SLOW),
        "before churn.lake.staging_local.place_folder",  # everything is written, the commit's one step is not taken
    ],
)
def test_a_kill_before_the_commit_leaves_nothing_and_the_next_run_starts_clean(
    runs: Runs, data: Path, out: Path, moment: str
) -> None:
    assert runs(*line(data, out), kill=moment).code == -signal.SIGKILL
    assert list((out / "lake/.staging/product=food").glob("*/scores")), "it was in the middle of a run"
    assert committed(out) == []
    assert published(out) == {}
    ended = runs(*line(data, out))
    assert ended.code == 0
    assert "is not resumed: it ended before its training began, or in the last step" in ended.err
    (run,) = committed(out)
    check_finished(out, run)


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("during train", marks=SLOW),
        # All is there to score with, and not written down.
        "before churn.jobs.weekly.stages.save_trained",
    ],
)
def test_a_kill_in_training_is_resumed(runs: Runs, data: Path, out: Path, moment: str) -> None:
    assert runs(*line(data, out), kill=moment).code == -signal.SIGKILL
    assert committed(out) == []
    ended = runs(*line(data, out))
    assert ended.code == 0
    assert re.search(r"resuming run \S+: \d+ steps? of its training done", ended.err)
    (run,) = committed(out)
    check_finished(out, run)


@pytest.mark.parametrize(
    "moment",
    [
        # Committed, and the pointer not renewed.
        pytest.param("before churn.lake.lake.Lake.refresh_pointer", marks=SLOW),
        "before churn.outputs.tables._score_failures",  # in the transaction that publishes
        # MLflow has half of its record.
        pytest.param("before churn.outputs.tracking._model_version", marks=SLOW),
    ],
)
def test_a_kill_after_the_commit_is_finished_by_the_next_run(
    runs: Runs, data: Path, out: Path, moment: str
) -> None:
    assert runs(*line(data, out), kill=moment).code == -signal.SIGKILL
    (run,) = committed(out)
    whole = {run.manifest.run_id: run.manifest.rows["scores"]}
    assert published(out) == (whole if "tracking" in moment else {})
    ended = runs(*line(data, out))
    assert ended.code == 0
    assert f"run {run.manifest.run_id} is already committed" in ended.out
    check_finished(out, run)


def test_a_kill_of_a_second_run_leaves_the_first_current_and_published(
    runs: Runs, data: Path, out: Path
) -> None:
    assert runs(*line(data, out)).code == 0
    (first,) = committed(out)
    killed = runs(*line(data, out, "--force"), kill="before churn.lake.staging_local.place_folder")
    assert killed.code == -signal.SIGKILL
    (current,) = committed(out)
    assert current.manifest == first.manifest
    assert published(out) == {first.manifest.run_id: first.manifest.rows["scores"]}
    ended = runs(*line(data, out))  # nothing to do, but to sweep
    assert "already committed" in ended.out
    check_finished(out, first)
    assert runs(*line(data, out, "--force")).code == 0
    assert len(committed(out)) == 2
    check_finished(out, committed(out)[-1])


@pytest.mark.slow
def test_a_run_under_prefect_killed_while_it_scores_is_resumed(
    runs: Runs, data: Path, out: Path, tmp_path: Path, prefect_home: Callable[[Path], Path]
) -> None:
    """The whole program, as people start it: with Prefect's server, a local cluster, worker processes."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {
        "PREFECT_HOME": str(prefect_home(tmp_path / "prefect")),
        "OMP_NUM_THREADS": "1",
        "CHURN_CLUSTER__WORKERS": "1",
        "CHURN_CLUSTER__PROCESSES": "true",
        "CHURN_PARTITION_ROWS": "2",
    }
    program = [str(Path(sys.executable).with_name("churn")), *line(data, out)]
    said = tmp_path / "said"
    with said.open("w") as log:
        run = subprocess.Popen(
            program, env=environment, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True
        )
    try:
        while not list(rows_of(out)):
            assert run.poll() is None, said.read_text()
            time.sleep(0.02)
        run.kill()
        run.wait()
        workers = [process for process in in_session(run.pid) if "multiprocessing" in told(process)]
        assert workers, "it had a cluster"
        _, alive = psutil.wait_procs(workers, timeout=60)
        assert not alive, "workers of a dead run go by themselves"
    finally:
        run.kill()
        for process in in_session(run.pid):  # Prefect's server does not
            process.kill()
        run.wait()
    assert committed(out) == []
    left = staged(out).name
    ended = runs(*line(data, out), environment={"CHURN_PARTITION_ROWS": "2"})
    assert f"resuming run {left}" in ended.err
    (made,) = committed(out)
    assert made.manifest.run_id == left
    check_finished(out, made)


def in_session(leader: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader and process.pid != leader:
                found.append(process)
        except ProcessLookupError:
            continue
    return found


def told(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, pytest.param(signal.SIGHUP, marks=SLOW)])
def test_a_stop_ends_a_run_in_order(runs: Runs, data: Path, out: Path, number: signal.Signals) -> None:
    run = runs.start(*line(data, out))
    while not list(out.glob("lake/.staging/*/*/.train")):
        time.sleep(0.001)
    os.kill(run, number)
    check_refused(runs.wait(run), "stopped; nothing half-written is to be seen", 128 + number)
    assert committed(out) == []
    assert set(files_below(out / "lake")) == {".staging/product=food/.lock"}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_whole_group_ends_a_run_under_prefect_with_one_sentence(
    data: Path, out: Path, tmp_path: Path, prefect_home: Callable[[Path], Path], number: signal.Signals
) -> None:
    """As a terminal, `timeout` and systemd send it: to Prefect's server too, and to Dask's, which still imports."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {
        "PREFECT_HOME": str(prefect_home(tmp_path / "prefect")),
        "CHURN_CLUSTER__WORKERS": "1",
        "CHURN_CLUSTER__PROCESSES": "true",
    }
    program = [str(Path(sys.executable).with_name("churn")), *line(data, out)]
    said = tmp_path / "said"
    with said.open("w") as log:
        run = subprocess.Popen(
            program, env=environment, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True
        )
    try:
        while not any("forkserver" in told(process) for process in in_session(run.pid)):
            assert run.poll() is None, said.read_text()
            time.sleep(0.1)  # to look at every process of the machine takes time of its own
        os.killpg(run.pid, number)
        assert run.wait(30) == 128 + number, said.read_text()
        ended = r"(  food +prepare .*\n)*\n?churn: stopped; nothing half-written is to be seen\n"
        assert re.fullmatch(ended, said.read_text()), said.read_text()
        until = time.monotonic() + 10
        while alive := [told(process) for process in in_session(run.pid) if told(process)]:
            assert time.monotonic() < until, alive
            time.sleep(0.1)
    finally:
        for process in in_session(run.pid):
            process.kill()
        run.kill()
        run.wait()
    assert committed(out) == []
    assert set(files_below(out / "lake")) == {".staging/product=food/.lock"}


def test_a_stop_while_it_scores_keeps_what_is_done(runs: Runs, data: Path, out: Path) -> None:
    run = runs.start(*line(data, out), environment={"CHURN_PARTITION_ROWS": "2"})
    while not list(rows_of(out)):
        time.sleep(0.001)
    os.kill(run, signal.SIGINT)
    ended = runs.wait(run)
    check_refused(ended, "stopped", 130)
    assert f"run {staged(out).name} is kept for 48 hours: run again" in ended.err
    kept = staged(out).name
    again = runs(*line(data, out), environment={"CHURN_PARTITION_ROWS": "2"})
    assert again.code == 0
    (made,) = committed(out)
    assert made.manifest.run_id == kept
    check_finished(out, made)


# --- resuming ---


def staged(out: Path) -> Path:
    """The one staging folder."""
    (found,) = [path for path in out.glob("lake/.staging/product=food/*") if path.is_dir()]
    return found


def rows_of(out: Path) -> Iterator[Path]:
    """The rows of the partitions that are done."""
    return out.glob("lake/.staging/product=food/*/logs/partitions/*.json")


@pytest.fixture(scope="module")
def calm(runs: Runs, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that nothing happened to."""
    out = output(runs, tmp_path_factory.mktemp("calm") / "out")
    assert runs(*line(data, out)).code == 0
    return committed(out)[0]


def check_equal(run: Run, calm: Run) -> None:
    """Look that two runs of the same data came to the same, but for ids and times."""
    for dataset in ("features", "scores", "shap", "reasons", "effects"):
        one, two = (pq.read_table(each.path(dataset), partitioning=None) for each in (run, calm))
        if dataset == "scores":
            one, two = (table.drop_columns(["run_id", "score_datetime"]) for table in (one, two))
        assert one.equals(two), dataset
    one, two = (each.manifest for each in (run, calm))
    for name in ("rows", "metrics", "warnings", "model_version", "settings"):
        assert getattr(one, name) == getattr(two, name), name
    assert set(one.files) == set(two.files)
    assert set(one.seconds) == set(two.seconds)
    one, two = (json.loads(Path(each.path("charts", "report.json")).read_text()) for each in (run, calm))
    one_stages, two_stages = ({stage["name"] for stage in told["run"].pop("stages")} for told in (one, two))
    assert one_stages == two_stages
    for told in (one, two):
        for name in ("run_id", "started_at"):
            del told["run"][name]
    assert one == two


@pytest.mark.parametrize(
    "moment",
    [
        "after 2 partitions",
        pytest.param("before churn.jobs.weekly.stages.write_report", marks=SLOW),
        pytest.param("before churn.lake.staging_local.stamp", marks=SLOW),
    ],
)
def test_a_run_killed_after_training_is_resumed_and_comes_to_the_same(
    runs: Runs, data: Path, out: Path, calm: Run, moment: str
) -> None:
    assert runs(*line(data, out), kill=moment).code == -signal.SIGKILL
    assert committed(out) == []
    before = staged(out)
    done = [row.stem for row in rows_of(out)]
    assert len(done) >= 2
    kept = [f"{part}/{name}.parquet" for name in done for part in ("scores", "shap", "reasons", "effects")]
    kept += [f"logs/partitions/{name}.json" for name in done]
    kept += [f"features/part-{index:05d}.parquet" for index in range(4)] + [
        "model/xgboost.ubj",
        "model/model.json",
    ]
    written = {name: (before / name).stat() for name in kept}

    ended = runs(*line(data, out))
    assert ended.code == 0, ended.err
    resumed = re.search(rf"resuming run {before.name}: (\d) of 4 partitions are done", ended.err)
    assert resumed is not None
    assert int(resumed[1]) >= len(done), "a worker may have ended one that it had begun"
    stages = re.findall(r"^  food +\w+ +([a-z_][\w ]*?\w)  ", ended.err, flags=re.M)
    assert stages == [
        "check sources", "aggregate weeks", "check activity", "user lives",
        "score and explain", "report and commit", "load scores", "log to MLflow",
    ]  # fmt: skip
    (run,) = committed(out)
    assert run.manifest.run_id == before.name
    check_finished(out, run)
    for name, then in written.items():
        now = Path(run.path(*name.split("/"))).stat()
        assert (now.st_ino, now.st_mtime_ns) == (then.st_ino, then.st_mtime_ns), name
    check_equal(run, calm)


@pytest.mark.slow
def test_a_run_can_be_killed_and_resumed_again_and_again(
    runs: Runs, data: Path, out: Path, calm: Run
) -> None:
    for moment in (
        "after 1 partitions",
        "before churn.jobs.weekly.stages.score_users",
        "during check sources",
        "after 3 partitions",
    ):
        assert runs(*line(data, out), kill=moment).code == -signal.SIGKILL
    assert runs(*line(data, out)).code == 0
    (run,) = committed(out)
    check_finished(out, run)
    check_equal(run, calm)


@pytest.fixture(scope="module")
def unfinished(runs: Runs, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run that could not score has left; to be copied."""
    out = output(runs, tmp_path_factory.mktemp("unfinished") / "out")
    nobody = {
        "CHURN_CLUSTER__KIND": "address",
        "CHURN_CLUSTER__ADDRESS": "tcp://127.0.0.1:9",
        "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "1s",
    }
    ended = runs(*line(data, out), environment=nobody)
    check_refused(ended, "no Dask scheduler answers at tcp://127.0.0.1:9")
    assert f"warning: run {staged(out).name} is kept for 48 hours: run again to resume it" in ended.err
    assert committed(out) == []
    assert published(out) == {}
    return out


def test_a_run_whose_cluster_failed_is_resumed_on_another(
    runs: Runs, data: Path, unfinished: Path, tmp_path: Path, calm: Run
) -> None:
    out = shutil.copytree(unfinished, tmp_path / "out")
    before = staged(out).name
    ended = runs(*line(data, out))
    assert f"resuming run {before}: 0 steps of its training done" in ended.err
    (run,) = committed(out)
    assert run.manifest.run_id == before
    check_finished(out, run)
    check_equal(run, calm)


@pytest.mark.parametrize(
    "change", ["seed", *(pytest.param(change, marks=SLOW) for change in ("feature file", "data", "force"))]
)
def test_what_does_not_fit_any_more_is_not_resumed_but_swept(
    runs: Runs, data: Path, unfinished: Path, tmp_path: Path, change: str
) -> None:
    out = shutil.copytree(unfinished, tmp_path / "out")
    data = shutil.copytree(data, tmp_path / "data")
    before = staged(out)
    more, environment = [], {}
    told = f"the unfinished run {before.name} is not resumed: "
    if change == "feature file":
        os.truncate(before / "features" / "part-00002.parquet", 1_000)
        told += "features/part-00002.parquet is damaged"
    elif change == "seed":
        environment["CHURN_SEED"] = "2"
        told += "changed since: settings (seed)"
    elif change == "data":
        told += "changed since: source files"
        for path in (data / "tables").glob("*/*.parquet"):
            path.touch()
    else:
        more.append("--force")
    ended = runs(*line(data, out, *more), environment=environment)
    assert ended.code == 0, ended.err
    assert (told in ended.err) == (change != "force")
    assert "resuming" not in ended.err
    (run,) = committed(out)
    assert run.manifest.run_id != before.name
    check_finished(out, run)


@pytest.mark.slow
def test_a_run_of_another_week_leaves_it_to_be_resumed(
    runs: Runs, data: Path, unfinished: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(unfinished, tmp_path / "out")
    before = staged(out).name
    week_before = [f"{AS_OF - timedelta(days=7)}" if word == f"{AS_OF}" else word for word in line(data, out)]
    assert runs(*week_before).code == 0
    assert staged(out).name == before
    assert f"resuming run {before}" in runs(*line(data, out)).err
    assert [run.manifest.run_id == before for run in committed(out)] == [False, True]


# --- two at once ---


def test_a_second_run_on_the_same_folder_is_refused_and_does_not_disturb_the_first(
    runs: Runs, data: Path, out: Path
) -> None:
    first = runs.start(*line(data, out))
    while not list(out.glob("lake/.staging/*/*/model")):
        time.sleep(0.001)
    os.kill(first, signal.SIGSTOP)
    try:
        check_refused(runs(*line(data, out, "--force")), "another run is using this output folder")
        checked = runs("check", "--data", str(data), "--out", str(out))
        assert (checked.code, "is in use by a run" in checked.out) == (0, True), checked.out
    finally:
        os.kill(first, signal.SIGCONT)
    assert runs.wait(first).code == 0
    (run,) = committed(out)
    check_finished(out, run)


def test_a_product_that_fails_does_not_keep_the_others_from_running(
    runs: Runs, data: Path, out: Path
) -> None:
    ended = runs(*line(data, out, "--product", "empty", "--product", "food"))
    assert ended.code == 1
    assert "Traceback" not in ended.err
    assert re.search(r"churn: 1 of 2 products failed:\n  - empty: .*'empty' has no activity", ended.err)
    assert re.search(r"^  Food +\d+ ", ended.out, flags=re.M)
    (run,) = committed(out)
    assert published(out) == {run.manifest.run_id: run.manifest.rows["scores"]}


def test_several_dates_are_back_filled_in_their_order(runs: Runs, data: Path, out: Path) -> None:
    before = AS_OF - timedelta(weeks=1)
    ended = runs(*line(data, out, "--as-of", f"{before}", "--as-of", f"{AS_OF}"))
    assert ended.code == 0, ended.err
    assert re.findall(r"^  as of (.*)$", ended.err, flags=re.M) == [f"{before}", f"{AS_OF}"]
    assert re.findall(rf"^  Food +({before}|{AS_OF}) +\d+ ", ended.out, flags=re.M) == [
        f"{before}",
        f"{AS_OF}",
    ]
    made = committed(out)
    assert [run.manifest.as_of for run in sorted(made, key=lambda run: run.manifest.run_id)] == [
        before,
        AS_OF,
    ]
    assert published(out) == {run.manifest.run_id: run.manifest.rows["scores"] for run in made}


# --- full disks, and other things that refuse ---


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "32m") as disk:
        yield disk


def fill(disk: Path, free: int) -> Path:
    """Leave some bytes free."""
    there = os.statvfs(disk)
    (disk / "ballast").write_bytes(b"\1" * (there.f_bavail * there.f_frsize - free))
    return disk / "ballast"


@pytest.mark.parametrize(
    "free",
    [pytest.param(0, marks=SLOW), 300_000, pytest.param(1_800_000, marks=SLOW)],
    ids=lambda free: f"{free // 1000} kB",
)
def test_a_full_disk_is_told_and_the_next_run_finishes(
    runs: Runs, data: Path, small_disk: Path, free: int
) -> None:
    out = output(runs, small_disk / "out")
    ballast = fill(small_disk, free)
    check_refused(runs(*line(data, out)), "[Ff]ree some space")
    assert committed(out) == []
    ballast.unlink()
    assert runs(*line(data, out)).code == 0
    (run,) = committed(out)
    check_finished(out, run)


@pytest.mark.slow
def test_a_disk_that_is_full_for_the_second_run_keeps_the_first(
    runs: Runs, data: Path, small_disk: Path
) -> None:
    out = output(runs, small_disk / "out")
    assert runs(*line(data, out)).code == 0
    before = files_below(out / "lake" / "runs")
    ballast = fill(small_disk, 200_000)
    check_refused(runs(*line(data, out, "--force")), "[Ff]ree some space")
    ballast.unlink()
    assert files_below(out / "lake" / "runs") == before
    (run,) = committed(out)
    assert runs(*line(data, out)).code == 0
    check_finished(out, run)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [4_096, 1_200_000])
def test_a_limit_on_file_sizes_is_told_and_the_next_run_starts_clean(
    runs: Runs, data: Path, out: Path, limit: int
) -> None:
    """For those who may not make disks: a file that may not grow fails like a full disk does."""
    check_refused(runs(*line(data, out), file_size=limit), "[Ff]ree some space")
    assert committed(out) == []
    assert runs(*line(data, out)).code == 0
    (run,) = committed(out)
    check_finished(out, run)


def test_mlflow_out_of_order_does_not_keep_the_scores_back_and_is_made_good_later(
    runs: Runs, data: Path, out: Path
) -> None:
    (out / "mlflow.db").write_text("no database")
    check_refused(runs(*line(data, out)), r"could not .* in MLflow .*run again")
    (run,) = committed(out)
    assert published(out) == {run.manifest.run_id: run.manifest.rows["scores"]}
    (out / "mlflow.db").unlink()
    ended = runs(*line(data, out))
    assert (ended.code, "already committed" in ended.out) == (0, True)
    check_finished(out, run)


@pytest.mark.slow
def test_an_mlflow_server_that_is_not_there_is_told_at_once_and_once_more_at_the_end(
    runs: Runs, data: Path, out: Path
) -> None:
    nobody = {"CHURN_MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    for anew in (True, False):
        began = time.monotonic()
        ended = runs(*line(data, out), environment=nobody)
        assert anew or time.monotonic() - began < 20
        check_refused(
            ended,
            r"is committed, but not logged: .* it cannot be reached \(Connection refused\); .*run again to log it",
        )
        assert ("the run of food goes on" in ended.err) is anew
        assert "Retrying" not in ended.err
    (run,) = committed(out)
    assert published(out) == {run.manifest.run_id: run.manifest.rows["scores"]}
    assert runs(*line(data, out)).code == 0
    check_finished(out, run)


# --- folders of any name ---


NAMES = [
    "a#b",
    "a%20b",
    "a*b",
    "a[1]b",
    "a\nb",
    "-a",
    "a{b}",
    "a;b'c\"d",
    "a\\b",
    "é☕",
    "file:",
    "s3:",
    "~",
]


@pytest.mark.parametrize(
    "name",
    [
        "a#b%20c:d*e[1]{f};'g'\n☕",
        *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES),
    ],
)
def test_a_run_into_a_folder_of_any_name_writes_there_and_nowhere_else(
    runs: Runs, data: Path, out: Path, tmp_path: Path, name: str
) -> None:
    place = tmp_path / "place" / name
    place.parent.mkdir()
    shutil.copytree(out, place)
    around = files_below(place.parent).keys()
    ended = runs(*line(data, place))
    assert ended.code == 0, ended.err
    (run,) = committed(place)
    check_finished(place, run)
    assert all(path.startswith(f"{name}/") for path in files_below(place.parent).keys() - around)
    user = run.scores(columns=[])["user_id"][0].as_py()
    told = runs("explain", "--data", str(data), "--out", str(place), "--product", "food", "--user", user)
    assert (told.code, user in told.out) == (0, True), told.err
    again = runs(*line(data, place))
    assert (again.code, "is already committed" in again.out) == (0, True), again.err
    (tmp_path / "users.txt").write_text(user)
    told = runs(
        "erase", "--data", str(data), "--out", str(place), "--user-file", str(tmp_path / "users.txt"), "--yes"
    )
    assert (told.code, "1 of 1 ids were found." in told.out) == (0, True), told.err
    assert run.scores([user]).num_rows == 0
