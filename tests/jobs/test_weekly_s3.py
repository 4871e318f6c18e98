"""The weekly job with its lake on S3: the same results as on a disk, and nothing of a run that was killed."""

import json
from pathlib import Path

import pytest

from churn.explain.user import explain_user
from tests.support.churn_runs import Runs
from tests.support.fixtures_aws import Bucket
from tests.support.lakes import own_settings
from tests.support.weekly_jobs import Job, table

pytestmark = [pytest.mark.server, pytest.mark.process]

_settings = pytest.fixture(autouse=True)(own_settings)


@pytest.fixture
def job(runs: Runs, data: Path, tmp_path: Path, bucket: Bucket) -> Job:
    return Job(runs, data, tmp_path / "out", f"{bucket.url}/lake")


def test_a_run_on_s3_comes_to_what_a_run_on_a_disk_comes_to(
    job: Job, runs: Runs, data: Path, tmp_path: Path, bucket: Bucket
) -> None:
    on_disk = Job(runs, data, tmp_path / "on-disk")
    for one in (job, on_disk):
        ended = one()
        assert ended.code == 0, ended.err
    run, other = job.run(), on_disk.run()

    assert run.manifest.files.keys() == other.manifest.files.keys()
    for dataset in ("features", "scores", "shap", "reasons", "effects"):
        assert table(run, dataset).equals(table(other, dataset)), dataset
    assert run.manifest.files["model/xgboost.ubj"] == other.manifest.files["model/xgboost.ubj"]
    assert job.published() == on_disk.published()
    assert len(job.published()) == run.manifest.rows["scores"]
    names = set(bucket.keys())
    prefix = run.path().removeprefix(f"{bucket.url}/")
    assert names == {"lake/runs/product=food/current.json", f"{prefix}/manifest.json"} | {
        f"{prefix}/{name}" for name in run.manifest.files
    }
    assert not (job.out / "lake").exists()
    user = job.published()[0][0]
    assert explain_user(run.path(), str(user))[1:] == explain_user(other.path(), str(user))[1:]
    report = json.loads(run.fs.cat_file(f"{run.base}/charts/report.json"))
    assert report["audience"]["users_scored"] == run.manifest.rows["scores"]
    logged = {path.name for path in (job.out / "mlflow").rglob("*") if path.is_file()}
    assert {"xgboost.ubj", "model.json", "report.html"} <= logged

    again = job()
    assert again.code == 0, again.err
    assert job.run().manifest == run.manifest
    assert "have changed" not in again.err
    job.variables["CHURN_SEED"] = "7"
    told = (
        f"settings of food have changed since run {run.manifest.run_id} of that week was made (seed): --force"
    )
    assert told in job().err
    assert job.run().manifest == run.manifest


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("during train", marks=pytest.mark.slow),
        pytest.param("during score and explain", marks=pytest.mark.slow),
        "before churn.lake.staging_s3.S3StagedRun.commit",
        pytest.param("before churn.lake.lake.Lake.refresh_pointer", marks=pytest.mark.slow),
    ],
)
def test_a_kill_leaves_nothing_that_is_seen_and_the_next_run_finishes(job: Job, moment: str) -> None:
    run = job.finished_after_a_kill(moment)
    assert len(job.published()) == run.manifest.rows["scores"]
    pointer = json.loads(run.fs.cat_file(f"{run.base.partition('/week_start=')[0]}/current.json"))
    assert pointer["run_id"] == run.manifest.run_id
