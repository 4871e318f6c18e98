"""The weekly job as in production, with Redshift and S3: the same results as on one machine, however it ends."""

import os
import re
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from churn.lake.staging import STALE_SECONDS
from churn.outputs import migrations
from churn.warehouse.redshift.client import RedshiftWarehouse
from tests.stand_ins.redshift import Fault
from tests.support.churn_runs import Runs
from tests.support.fixtures_aws import Bucket, Redshift
from tests.support.lakes import own_settings
from tests.support.weekly_jobs import Job, fill, table

pytestmark = [pytest.mark.server, pytest.mark.process]

_settings = pytest.fixture(autouse=True)(own_settings)


@pytest.fixture
def job(runs: Runs, data: Path, tmp_path: Path, bucket: Bucket, redshift: Redshift) -> Job:
    warehouse = RedshiftWarehouse(redshift.settings())
    fill(warehouse, data, bucket)
    migrations.apply(warehouse, "user_id")
    warehouse.close()
    return Job(runs, data, tmp_path / "out", f"{bucket.url}/lake", redshift)


def schemas(redshift: Redshift) -> list[str]:
    found = redshift.look("select nspname from pg_namespace where nspname like 'run\\_%' order by 1")
    return [name for (name,) in found]


def test_redshift_and_s3_come_to_what_one_machine_comes_to(
    job: Job, runs: Runs, data: Path, tmp_path: Path, bucket: Bucket, redshift: Redshift
) -> None:
    on_disk = Job(runs, data, tmp_path / "on-disk")
    for one in (job, on_disk):
        ended = one()
        assert ended.code == 0, ended.err
    run, other = job.run(), on_disk.run()

    assert run.manifest.files["model/xgboost.ubj"] == other.manifest.files["model/xgboost.ubj"]
    for dataset in ("features", "scores", "shap", "reasons"):
        mine, theirs = (table(each, dataset) for each in (run, other))
        keys = [("user_id", "ascending"), *([("rank", "ascending")] if dataset == "reasons" else [])]
        assert mine.sort_by(keys).equals(theirs.sort_by(keys)), dataset
    assert job.published() == on_disk.published()
    assert len(job.published()) == run.manifest.rows["scores"]
    assert schemas(redshift) == []
    prefix = run.path().removeprefix(f"{bucket.url}/")
    assert {name for name in list(bucket.keys()) if name.startswith("lake/")} == {
        "lake/runs/product=food/current.json",
        f"{prefix}/manifest.json",
    } | {f"{prefix}/{name}" for name in run.manifest.files}
    assert not (job.out / "lake").exists()
    assert not (job.out / "warehouse.duckdb").exists()

    again = job()
    assert again.code == 0, again.err
    assert job.run().manifest == run.manifest
    assert len(job.published()) == run.manifest.rows["scores"]


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("during unload score", marks=pytest.mark.chaos),
        pytest.param("during train", marks=pytest.mark.chaos),
        pytest.param("during score and explain", marks=pytest.mark.slow),
        pytest.param("before churn.lake.lake.Lake.refresh_pointer", marks=pytest.mark.chaos),
        "before churn.jobs.weekly.finish.publish_scores",
    ],
)
def test_a_kill_leaves_nothing_that_is_seen_and_the_next_run_finishes(
    job: Job, redshift: Redshift, moment: str
) -> None:
    run = job.finished_after_a_kill(moment)
    published = job.published("user_id, run_id, model_version")
    assert len({user for user, _, _ in published}) == len(published) == run.manifest.rows["scores"]
    assert {run_id for _, run_id, _ in published} == {run.manifest.run_id}


def test_a_kill_while_a_committed_run_is_loaded_adds_nothing_to_it(
    job: Job, redshift: Redshift, bucket: Bucket
) -> None:
    pids: list[int] = []
    redshift.front.faults.append(Fault("copy:started", lambda: os.kill(pids[0], signal.SIGKILL)))
    pids.append(job.start())
    assert job.wait(pids[0]).code == -signal.SIGKILL
    committed = job.run()  # whole
    assert any(name.startswith("lake/.staging/product=food/copy/") for name in [*bucket.keys()])
    assert job.published() == []

    ended = job()
    assert ended.code == 0, ended.err
    assert job.run().manifest == committed.manifest
    assert len(job.published()) == committed.manifest.rows["scores"]


@pytest.mark.slow
def test_tables_of_a_dead_run_are_removed_when_they_are_two_days_old(job: Job, redshift: Redshift) -> None:
    now = datetime.now(UTC)
    old, young = (
        f"run_food_{now - timedelta(seconds=age):%Y%m%dt%H%M%S}z_0a1b2c3d" for age in (STALE_SECONDS + 60, 60)
    )
    for name in (old, young, "run_other_20200101t000000z_0a1b2c3d"):
        redshift.look(f"create schema {name}")
        redshift.look(f"create table {name}.user_week as select 1 as one")
    assert job().code == 0
    assert schemas(redshift) == sorted([young, "run_other_20200101t000000z_0a1b2c3d"])


def test_tables_that_have_to_be_migrated_are_told_of_before_anything_is_made(
    runs: Runs, data: Path, tmp_path: Path, bucket: Bucket, redshift: Redshift
) -> None:
    warehouse = RedshiftWarehouse(redshift.settings())
    fill(warehouse, data, bucket)
    warehouse.close()
    there = bucket.keys()
    ended = Job(runs, data, tmp_path / "out", f"{bucket.url}/lake", redshift)()
    assert ended.code == 1
    assert "run `churn migrate`, which shows its SQL before it asks" in ended.err
    assert schemas(redshift) == []
    assert bucket.keys() == there


def test_a_step_whose_commit_is_not_answered_is_not_made_again(job: Job, redshift: Redshift) -> None:
    commits = 0

    def made() -> list[str]:
        return [each for each in redshift.front.statements if re.match(r"create table \S+\.eligible\b", each)]

    def cut_after_a_table() -> None:
        nonlocal commits
        if made() and not commits:
            commits += 1
            redshift.front.cut_all()

    redshift.front.faults.append(Fault("answer", cut_after_a_table, "^commit$", times=1_000))
    ended = job()
    assert ended.code == 0, ended.err
    assert commits == 1
    assert len(made()) == 1
    assert "exists, so it was committed" in ended.err


def test_redshift_with_a_lake_on_this_machine_is_refused(
    runs: Runs, data: Path, tmp_path: Path, redshift: Redshift
) -> None:
    ended = Job(runs, data, tmp_path / "out", None, redshift)()
    assert ended.code == 1
    assert "set store.lake to an address such as s3://bucket/prefix" in ended.err
    assert redshift.front.statements == []
