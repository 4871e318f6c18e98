"""The weekly job of one product in a process of its own, with its lake on a disk or on S3, and either warehouse."""

import shutil
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs

from churn.lake.lake import Lake, Run
from churn.warehouse.redshift.client import RedshiftWarehouse
from tests.support.churn_runs import Ended, Runs
from tests.support.data_folders import AS_OF
from tests.support.fixtures_aws import LOGIN, PASSWORD, Bucket, Redshift

PUBLISHED = "user_id, predicted_probability, margin, reason_1, model_version"
_TYPES = {
    pa.string(): "varchar(250)",
    pa.int32(): "integer",
    pa.float64(): "double precision",
    pa.date32(): "date",
    pa.timestamp("us"): "timestamp",
}


def fill(warehouse: RedshiftWarehouse, data: Path, bucket: Bucket) -> None:
    """Load a data folder's tables by COPY."""
    for folder in sorted((data / "tables").iterdir()):
        schema = pq.read_schema(next(folder.iterdir()))
        warehouse.execute(f"create schema if not exists {folder.name.partition('.')[0]}")
        columns = ", ".join(f"{field.name} {_TYPES[field.type]}" for field in schema)
        warehouse.execute(f"create table {folder.name} ({columns})")
        urls = []
        for path in sorted(folder.iterdir()):
            urls.append(f"{bucket.url}/tables/{folder.name}/{path.name}")
            with fsspec.open(urls[-1], "wb") as file:
                file.write(path.read_bytes())
        warehouse.load_parquet(folder.name, urls, schema.names)


def on_redshift(redshift: Redshift) -> dict[str, str]:
    """Settings, as variables, by which a run reaches a Redshift."""
    given = redshift.settings().model_dump(mode="json", exclude_unset=True)
    return {f"CHURN_WAREHOUSE__{name.upper()}": f"{value}" for name, value in given.items()} | {
        "CHURN_REDSHIFT_USER": LOGIN,
        "CHURN_REDSHIFT_PASSWORD": PASSWORD,
    }


class Job:
    """The weekly job of one product, with an output folder and a lake of its own."""

    def __init__(
        self,
        runs: Runs,
        data: Path,
        out: Path,
        lake: str | None = None,
        redshift: Redshift | None = None,
        product: str = "food",
        variables: Mapping[str, str] | None = None,
    ) -> None:
        out.mkdir()
        shutil.copy(runs.empty_mlflow, out / "mlflow.db")
        self.out, self.product = out, product
        self.lake = lake or str(out / "lake")
        self._runs, self._redshift = runs, redshift
        self._line = ["run", "--data", str(data), "--out", str(out), "--product", product]
        self.variables = {
            **({} if lake is None else {"CHURN_STORE__LAKE": lake}),
            **({} if redshift is None else on_redshift(redshift)),
            **(variables or {}),
        }

    def __call__(self, as_of: date = AS_OF, kill: str = "", force: bool = False, rebuild: int = 0) -> Ended:
        return self.wait(self.start(as_of, kill, force, rebuild))

    def start(self, as_of: date = AS_OF, kill: str = "", force: bool = False, rebuild: int = 0) -> int:
        """Start a run; return its process id."""
        more = ["--as-of", f"{as_of}", *(["--force"] if force else [])]
        more += ["--rebuild-weeks", f"{rebuild}"] if rebuild else []
        return self._runs.start(*self._line, *more, kill=kill, environment=self.variables)

    def wait(self, pid: int) -> Ended:
        """Wait for a run that was started."""
        return self._runs.wait(pid)

    def run(self) -> Run:
        """The run that is current, whole."""
        found = Lake(self.lake).current(self.product)
        assert found is not None
        found.verify(checksums=True)
        return found

    def finished_after_a_kill(self, moment: str) -> Run:
        """Kill a run at a moment and run again; return the one run that is there, and was seen whole or not at all."""
        killed = self(kill=moment)
        assert killed.code == -9, killed.err
        seen = Lake(self.lake).runs()
        for run in seen:
            run.verify(checksums=True)
        ended = self()
        assert ended.code == 0, ended.err
        assert len(Lake(self.lake).runs(self.product)) == 1
        run = self.run()
        assert [each.manifest.run_id for each in seen] in ([], [run.manifest.run_id])
        return run

    def published(self, columns: str = PUBLISHED) -> list[tuple[Any, ...]]:
        """The product's rows of the published table, by user."""
        query = f"select {columns} from churn.scores where product = '{self.product}' order by 1"
        if self._redshift is not None:
            return self._redshift.look(query)
        with duckdb.connect(str(self.out / "warehouse.duckdb"), read_only=True) as warehouse:
            return warehouse.sql(query).fetchall()


def table(run: Run, dataset: str) -> pa.Table:
    """All rows of one of a run's datasets, but for what tells one run from another."""
    names = sorted(name for name in run.manifest.files if name.startswith(f"{dataset}/"))
    assert names
    parts = []
    for name in names:
        fs, path = url_to_fs(run.path(*name.split("/")))
        parts.append(pq.read_table(path, filesystem=fs, partitioning=None))
    found = pa.concat_tables(parts)
    return found.drop_columns([name for name in ("run_id", "score_datetime") if name in found.column_names])
