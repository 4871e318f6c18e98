"""The weekly job on Redshift and S3 while both fail, while it is killed, and while others run: nothing is lost.

After each: no user twice for a product and week, one model in what is published, runs that are seen are whole, and
the final tables are those of a calm run. `make chaos` runs these, and counts the faults.
"""

import os
import random
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from churn.lake.lake import Lake
from churn.outputs import migrations
from churn.warehouse.redshift.client import RedshiftWarehouse
from tests.stand_ins.redshift import Fault
from tests.stand_ins.s3 import Faults, S3Server, faulting
from tests.support.chaos_summary import SUMMARY
from tests.support.churn_runs import Ended, Runs
from tests.support.fixtures_aws import Bucket, Redshift
from tests.support.fixtures_weekly import FOUR
from tests.support.lakes import own_settings
from tests.support.weekly_jobs import Job, fill, table

pytestmark = [pytest.mark.server, pytest.mark.process, pytest.mark.chaos]

_settings = pytest.fixture(autouse=True)(own_settings)

DATASETS = ("features", "scores", "shap", "reasons")
ATTEMPTS = 4
STRIDE = 5  # a run in which every statement's connection broke would not end for a long time


@dataclass
class Tally:
    """What was done to the runs of this module."""

    faults: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    failed: int = 0
    rows_lost: int = 0


@pytest.fixture(scope="module")
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    found = Tally()
    yield found
    faults = ", ".join(f"{count} {kind}" for kind, count in sorted(found.faults.items()))
    told = f"{found.runs} runs, {found.failed} of which failed and were run again; {found.faults.total()} faults ({faults}); "
    request.config.stash[SUMMARY].append(f"{told}rows lost: {found.rows_lost}")


@dataclass(frozen=True)
class Calm:
    """What a run comes to in which nothing fails."""

    published: list[tuple[Any, ...]]
    datasets: dict[str, pa.Table]
    seconds: float


@pytest.fixture(scope="module")
def calm(runs: Runs, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Calm:
    job = Job(runs, data, tmp_path_factory.mktemp("calm") / "out")
    start = time.monotonic()
    ended = job()
    assert ended.code == 0, ended.err
    seconds = time.monotonic() - start
    return Calm(job.published(), {name: sorted_table(job, name) for name in DATASETS}, seconds)


def sorted_table(job: Job, dataset: str) -> pa.Table:
    keys = [("user_id", "ascending"), *([("rank", "ascending")] if dataset == "reasons" else [])]
    return table(job.run(), dataset).sort_by(keys)


@dataclass
class Scene:
    """A warehouse and a place in S3, and the jobs that are run there."""

    runs: Runs
    data: Path
    folder: Path
    bucket: Bucket
    redshift: Redshift
    calm: Calm
    tally: Tally

    def job(self, product: str = "food", out: str = "out", **variables: str) -> Job:
        return Job(
            self.runs, self.data, self.folder / out, f"{self.bucket.url}/lake", self.redshift, product,
            {"CHURN_WAREHOUSE__BACKOFF": "0.2", **variables},
        )  # fmt: skip

    def until_done(self, job: Job, first: Ended | None = None) -> int:
        """Run a job again until it succeeds; return how many runs failed."""
        failed = 0
        ended = first or job()
        while ended.code != 0:
            failed += 1
            assert "Traceback" not in ended.err
            self.check(job)
            assert failed < ATTEMPTS, ended.err
            ended = job()
        self.tally.runs += failed + 1
        self.tally.failed += failed
        return failed

    def check(self, job: Job) -> None:
        """Look that nobody sees half of anything."""
        for run in Lake(job.lake).runs():
            run.verify(checksums=True)
        rows = self.redshift.look(
            "select user_id, product, target_week_start_date, run_id, model_version from churn.scores"
        )
        assert len({row[:3] for row in rows}) == len(rows)
        assert len({row[1:] for row in rows}) == len({row[1] for row in rows}), "a mixture of runs"

    def check_final(self, job: Job) -> None:
        """Look that all is as after a calm run."""
        self.check(job)
        published = job.published()
        self.tally.rows_lost += len({row[0] for row in self.calm.published} - {row[0] for row in published})
        assert published == [tuple(_of(job, value) for value in row) for row in self.calm.published]
        for dataset, rows in self.calm.datasets.items():
            found = sorted_table(job, dataset)
            for name in {"product", "model_version"} & set(found.column_names):
                assert set(found[name].to_pylist()) == {_of(job, rows[name][0].as_py())}
                found, rows = found.drop_columns(name), rows.drop_columns(name)
            assert found.equals(rows), dataset
        run_id = job.run().manifest.run_id
        assert {row[0] for row in job.published("run_id")} == {run_id}


def _of(job: Job, value: Any) -> Any:
    """A value of the calm run's as a product has it that is the same but for its name."""
    return re.sub(r"^food(?=-|$)", job.product, value) if isinstance(value, str) else value


@pytest.fixture
def scene(
    runs: Runs, data: Path, tmp_path: Path, bucket: Bucket, redshift: Redshift, calm: Calm, tally: Tally
) -> Scene:
    with closing(RedshiftWarehouse(redshift.settings())) as warehouse:
        fill(warehouse, data, bucket)
        migrations.apply(warehouse, "user_id")
    redshift.front.statements.clear()
    return Scene(runs, data, tmp_path, bucket, redshift, calm, tally)


ALL_WEEKS = 60


def shapes(statements: list[str]) -> list[str]:
    """Return a pattern for each kind of statement, in order: its beginning, whatever the run."""
    found = dict.fromkeys(
        re.sub(r"\d{8}t\d{6}z_[0-9a-f]+|[0-9a-f]{12,}|'[^']*'|\b\d+\b", "\0", statement.strip())[:120]
        for statement in statements
        if not re.match(r"\s*(set|show|select 1$|select pg_|begin|rollback)\b", statement, re.IGNORECASE)
    )
    return [re.escape(shape).replace("\0", ".*?") for shape in found]


@pytest.mark.parametrize("first", range(STRIDE))
@pytest.mark.parametrize("action", ["cut", "crash"])
@pytest.mark.parametrize("point", ["statement", "answer"])
def test_connections_that_break_at_each_statement(scene: Scene, point: Any, action: Any, first: int) -> None:
    job = scene.job()
    assert job().code == 0
    once = len(scene.redshift.front.statements)
    assert job(rebuild=ALL_WEEKS).code == 0  # what is kept was made the first time only
    patterns = shapes(scene.redshift.front.statements[once:])
    assert len(patterns) > 25
    faults = [Fault(point, action, pattern) for pattern in patterns[first::STRIDE]]
    scene.redshift.front.faults.extend(faults)

    scene.until_done(job, job(rebuild=ALL_WEEKS))
    happened = sum(1 - fault.times for fault in faults)
    assert happened >= len(faults) - 2  # a run that is gone on with leaves some statements out
    scene.tally.faults[f"connections ({action} at {point})"] += happened
    scene.check_final(job)


@pytest.mark.parametrize("seed", range(8))
def test_the_warehouse_is_restarted(scene: Scene, seed: int) -> None:
    dice = random.Random(seed)
    job = scene.job()
    server = scene.redshift.postgres
    pid = job.start()
    time.sleep(dice.uniform(0.1, 0.8) * scene.calm.seconds)
    server.kill() if dice.random() < 0.5 else server.stop(signal.SIGQUIT)
    time.sleep(dice.uniform(0, 0.5))
    server.start()
    scene.tally.faults["restarts"] += 1
    scene.until_done(job, job.wait(pid))
    scene.check_final(job)


@pytest.mark.parametrize("seed", range(12))
def test_s3_fails_at_random(scene: Scene, s3_server: S3Server, seed: int) -> None:
    faults = Faults(seed, rate=0.15, budget=40, timeout_s=2.5)
    with faulting(s3_server, faults) as endpoint:
        job = scene.job(CHURN_STORE__ENDPOINT_URL=endpoint, CHURN_STORE__READ_TIMEOUT="2")
        scene.until_done(job)
    assert faults.injected.total() > 3
    for kind, count in faults.injected.items():
        scene.tally.faults[f"S3 {kind}"] += count
    scene.check_final(job)


@pytest.mark.parametrize("seed", range(30))
def test_a_kill_at_a_random_moment(scene: Scene, seed: int) -> None:
    job = scene.job()
    pid = job.start()
    # The first and the last seed are at either end of the run, the others anywhere between.
    time.sleep(random.Random(f"kill {seed}").uniform(0, 1.3) * scene.calm.seconds)
    os.kill(pid, signal.SIGKILL)
    ended = job.wait(pid)
    scene.tally.faults["SIGKILL"] += ended.code == -signal.SIGKILL
    scene.check(job)
    scene.until_done(job)
    scene.check_final(job)


@pytest.mark.parametrize("seed", range(4))
def test_two_runs_of_one_product_and_week_at_once(scene: Scene, seed: int) -> None:
    jobs = [scene.job(out=f"out{number}") for number in range(2)]
    pids = []
    for job in jobs:
        pids.append(job.start())
        time.sleep(random.Random(seed).uniform(0, 0.5))
    ended = [job.wait(pid) for job, pid in zip(jobs, pids, strict=True)]
    assert 0 in [each.code for each in ended], [each.err for each in ended]
    for job, each in zip(jobs, ended, strict=True):
        scene.until_done(job, each)
    scene.tally.faults["runs at once"] += 1
    for job in jobs:
        scene.check_final(job)


@pytest.mark.parametrize("seed", range(3))
def test_four_products_at_once(scene: Scene, seed: int) -> None:
    jobs = [scene.job(name, out=name) for name in FOUR]
    pids = [job.start() for job in jobs]
    stop = _restart_once(scene, seed) if seed else None
    ended = [job.wait(pid) for job, pid in zip(jobs, pids, strict=True)]
    if stop is not None:
        stop()
    for job, each in zip(jobs, ended, strict=True):
        scene.until_done(job, each)
    scene.tally.faults["products at once"] += len(jobs)
    for job in jobs:
        scene.check_final(job)


def _restart_once(scene: Scene, seed: int) -> Callable[[], None]:
    def restart() -> None:
        time.sleep(random.Random(seed).uniform(0.5, 3) * scene.calm.seconds)
        scene.redshift.postgres.kill()
        scene.redshift.postgres.start()
        scene.tally.faults["restarts"] += 1

    thread = threading.Thread(target=restart)
    thread.start()
    return thread.join
