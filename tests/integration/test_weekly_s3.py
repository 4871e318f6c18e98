"""The weekly job with its lake on S3: the same results as on a disk, and nothing of a run that was killed."""

import json
import os
import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.core import url_to_fs

from churn.cluster import open_client
from churn.config_cluster import ClusterSettings
from churn.explain.user import explain_user
from churn.lake import Lake, Run
from tests.integration.test_faults import AS_OF, PRODUCTS, leaving_people
from tests.support.churn_runs import Ended, Runs
from tests.support.data_folders import write_table
from tests.support.fixtures_aws import Bucket
from tests.support.lakes import own_settings
from tests.support.s3 import S3Server, environment

_settings = pytest.fixture(autouse=True)(own_settings)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("weekly-s3") / "data"
    write_table(data, "events.activity", leaving_people())
    (data / "churn.toml").write_text(PRODUCTS, "utf-8")
    return data


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server) -> Iterator[Runs]:
    """Starts runs without Prefect's engine that share one small Dask cluster, all of them led to S3."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("CHURN_", "PREFECT_"))]:
            patch.delenv(name)
        for name, value in environment(s3_server.endpoint).items():
            patch.setenv(name, value)
        patch.setenv("OMP_NUM_THREADS", "1")
        with open_client(ClusterSettings(workers=1)) as client:
            ours = {
                "PREFECT_HOME": str(folder / "prefect"),
                "CHURN_CLUSTER__KIND": "address",
                "CHURN_CLUSTER__ADDRESS": client.scheduler.address,
            }
            started = Runs(folder, {**os.environ, **ours})
            try:
                assert started("products").code == 0
                yield started
            finally:
                started.close()


class Job:
    """The weekly job of one product, with an output folder and a lake of its own."""

    def __init__(self, runs: Runs, data: Path, out: Path, lake: str | None) -> None:
        out.mkdir()
        shutil.copy(runs.empty_mlflow, out / "mlflow.db")
        self.out = out
        self.lake = lake or str(out / "lake")
        self._runs = runs
        self._line = ["run", "--data", str(data), "--out", str(out), "--product", "food"]
        self._environment = {} if lake is None else {"CHURN_STORE__LAKE": lake}

    def __call__(self, as_of: date = AS_OF, kill: str = "", force: bool = False) -> Ended:
        more = ["--as-of", f"{as_of}", *(["--force"] if force else [])]
        return self._runs(*self._line, *more, kill=kill, environment=self._environment)

    def run(self) -> Run:
        """The run that is current, whole."""
        found = Lake(self.lake).current("food")
        assert found is not None
        found.verify(checksums=True)
        return found

    def published(self) -> list[tuple[object, ...]]:
        with duckdb.connect(str(self.out / "warehouse.duckdb"), read_only=True) as warehouse:
            columns = "user_id, predicted_probability, margin, reason_1, model_version"
            return warehouse.sql(f"select {columns} from churn.scores order by 1").fetchall()


@pytest.fixture
def job(runs: Runs, data: Path, tmp_path: Path, bucket: Bucket) -> Job:
    return Job(runs, data, tmp_path / "out", f"{bucket.url}/lake")


def table(run: Run, dataset: str) -> pa.Table:
    names = sorted(name for name in run.manifest.files if name.startswith(f"{dataset}/"))
    assert names
    parts = []
    for name in names:
        fs, path = url_to_fs(run.path(*name.split("/")))
        parts.append(pq.read_table(path, filesystem=fs, partitioning=None))
    found = pa.concat_tables(parts)
    return found.drop_columns([name for name in ("run_id", "score_datetime") if name in found.column_names])


def test_a_run_on_s3_comes_to_what_a_run_on_a_disk_comes_to(
    job: Job, runs: Runs, data: Path, tmp_path: Path, bucket: Bucket
) -> None:
    on_disk = Job(runs, data, tmp_path / "on-disk", None)
    for one in (job, on_disk):
        ended = one()
        assert ended.code == 0, ended.err
    run, other = job.run(), on_disk.run()

    assert run.manifest.files.keys() == other.manifest.files.keys()
    for dataset in ("features", "scores", "shap", "reasons", "effects"):
        assert table(run, dataset).equals(table(other, dataset)), dataset
    assert run.manifest.files["model/booster.ubj"] == other.manifest.files["model/booster.ubj"]
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
    assert {"booster.ubj", "model.json", "report.html"} <= logged

    again = job()
    assert again.code == 0, again.err
    assert job.run().manifest == run.manifest


@pytest.mark.parametrize(
    "moment",
    [
        "during train",
        "during score and explain",
        "before churn.desk_s3.S3Claim.commit",
        "before churn.lake.Lake.settle",
    ],
)
def test_a_kill_leaves_nothing_that_is_seen_and_the_next_run_finishes(job: Job, moment: str) -> None:
    killed = job(kill=moment)
    assert killed.code == -9, killed.err
    seen = Lake(job.lake).runs()
    for run in seen:
        run.verify(checksums=True)

    ended = job()
    assert ended.code == 0, ended.err
    assert len(Lake(job.lake).runs("food")) == 1
    run = job.run()
    assert [each.manifest.run_id for each in seen] in ([], [run.manifest.run_id])
    assert len(job.published()) == run.manifest.rows["scores"]
    pointer = json.loads(run.fs.cat_file(f"{run.base.partition('/week_start=')[0]}/current.json"))
    assert pointer["run_id"] == run.manifest.run_id
