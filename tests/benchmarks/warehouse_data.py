"""What ``tests.benchmarks.warehouse`` measures, and the data that it measures it with: DuckDB and Redshift's stand-in."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs
from psycopg2.extras import execute_values
from sqlalchemy import text

from churn.config.warehouse import WarehouseSettings
from churn.core import datasets
from churn.dataset.unload import partition_size, unload
from churn.explain.reasons import REASONS
from churn.features import store
from churn.features.aggregates.tables import VersionedTables
from churn.features.catalogue import DOUBLE, INTEGER, TEXT
from churn.jobs.capacity.sample import AS_OF, SCORED_AT, TARGET
from churn.outputs import migrations
from churn.outputs.tables import Published, publish_scores
from churn.scoring.partition import partition_name
from churn.scoring.schema import score_table
from churn.scoring.scorer import score_partition
from churn.warehouse.base import Warehouse
from churn.warehouse.duckdb.client import DuckDBWarehouse
from churn.warehouse.redshift.connect import connect
from tests.benchmarks.score_data import FEATURES, SHAPE, Snapshots, write_snapshots

FILE_ROWS = 100_000
RUN = "20260629t180000z-3fa1c2"
TABLE = "bench.snapshots"
_TYPES = {pa.string(): TEXT, pa.date32(): "date", pa.float32(): "real", pa.int32(): INTEGER}
_KINDS = {pa.float32(): DOUBLE, pa.int32(): INTEGER, pa.string(): TEXT}
ROWS = VersionedTables("bench", "0", {}, {})
PLAN: Any = SimpleNamespace(  # all that `unload` asks of one
    schema="bench",
    windows=SimpleNamespace(as_of=AS_OF),
    tables=SimpleNamespace(rows=ROWS),
    catalogue=SimpleNamespace(
        features=[SimpleNamespace(name=name, type=_KINDS[SHAPE.schema.field(name).type]) for name in FEATURES]
    ),
)


def open_warehouse(folder: Path, redshift: Mapping[str, Any] | None) -> Warehouse:
    """Open DuckDB's file in a folder, or Redshift."""
    if redshift is not None:
        from churn.warehouse.redshift.client import RedshiftWarehouse

        return RedshiftWarehouse(WarehouseSettings(**redshift))
    source = folder / "data" / "tables" / "events.activity"
    source.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"user_id": ["a"]}), source / "part-00000.parquet")
    return DuckDBWarehouse(folder / "warehouse.duckdb", folder / "data")


def make_snapshots(folder: Path, rows: int) -> None:
    """Write snapshots and a model into a folder."""
    folder.mkdir(parents=True)
    write_snapshots(folder, rows, FILE_ROWS)


def paths_of(folder: Path) -> list[Path]:
    """The files of snapshots."""
    return sorted((folder / "features").glob("*.parquet"))


def snapshot_files(folder: Path) -> list[str]:
    """Their names."""
    return [str(path) for path in paths_of(folder)]


def upload(folder: Path, url: str) -> None:
    """Copy a folder's files."""
    fs, path = url_to_fs(url)
    for file in sorted(folder.iterdir()):
        fs.put_file(str(file), f"{path}/{file.name}")


def fill(warehouse: Warehouse, files: Sequence[str]) -> None:
    """Make the table of snapshots that a run's last SQL step makes."""
    columns = ", ".join(f"{field.name} {_TYPES[field.type]}" for field in SHAPE.schema)
    warehouse.execute("create schema bench")
    warehouse.execute(f"create table {TABLE} ({columns})")
    warehouse.load_parquet(TABLE, files, SHAPE.schema.names)
    dates = ROWS.table(store.LEDGER.name)
    store.LEDGER.create(warehouse, ROWS)
    warehouse.execute(f"insert into {dates} values (date '{AS_OF}', '', '', 0, timestamp '{AS_OF}')")
    warehouse.execute(f"create view bench.feature_set as select 'score' as purpose, * from {TABLE}")


def unload_snapshots(warehouse: Warehouse, folder: str, rows: int) -> list[tuple[str, int]]:
    """Unload as a weekly run does, for two workers."""
    fs, path = url_to_fs(folder)
    if fs.exists(path):
        fs.rm(path, recursive=True)
    fs.makedirs(path, exist_ok=True)
    return unload(warehouse, PLAN, "score", folder, partition_size(rows, len(FEATURES), 2))


def score(files: Sequence[tuple[str, int]], model: Path, run: str) -> int:
    """Score unloaded files one after another; return the rows."""
    fs, path = url_to_fs(run)
    if fs.exists(path):
        fs.rm(path, recursive=True)
    for folder in ("scores", "shap", "reasons", "effects", "logs/partitions"):
        fs.makedirs(f"{path}/{folder}", exist_ok=True)
    found: Any = Snapshots  # which takes addresses as it takes paths
    return sum(score_partition(each).rows for each in found(tuple(files), model).tasks(run))


def copy_by_duckdb(warehouse: Warehouse, folder: str) -> None:
    """Let DuckDB write the same files itself."""
    warehouse.execute(
        f"copy (select * from {TABLE} order by as_of_date, user_id) to '{folder}'"
        " (format parquet, compression zstd, compression_level 1, file_size_bytes '80MB', overwrite)"
    )


def fetch_by_driver(warehouse: Any, path: str) -> None:
    """Fetch the same rows through the driver, and write them with pandas."""
    with closing(connect(warehouse.engine, warehouse.settings, warehouse.redactor)) as connection:
        pd.read_sql(text(f"select * from {TABLE}"), connection).to_parquet(path, compression="zstd")


def write_run(folder: str, rows: int, seed: int = 0) -> None:
    """Write a run's scores and reasons, in order of users as DuckDB unloads them."""
    rng = np.random.default_rng(seed)
    fs, path = url_to_fs(folder)
    for part, start in enumerate(range(0, rows, FILE_ROWS)):
        size = min(FILE_ROWS, rows - start)
        users = np.array([f"{start + i:08x}{rng.bytes(12).hex()}" for i in range(size)])
        tables = {"scores": _scores(rng, users), "reasons": _reasons(rng, users)}
        for name, table in tables.items():
            fs.makedirs(f"{path}/{name}", exist_ok=True)
            with fs.open(f"{path}/{name}/{partition_name(part)}.parquet", "wb") as file:
                texts = (
                    datasets.SCORES.dictionary_columns
                    if name == "scores"
                    else ["user_id", "feature", "value"]
                )
                pq.write_table(table, file, 16_384, compression="zstd", use_dictionary=texts)


def _scores(rng: np.random.Generator, users: Any) -> pa.Table:
    probability = rng.random(len(users))
    codes = pa.array([sign + name for name in FEATURES for sign in "+-"])
    columns = {
        "user_id": pa.array(users),
        "predicted_probability": pa.array(probability),
        "optimal_classification": pa.array((probability > 0.4).astype(np.int32)),
        "margin": pa.array(rng.standard_normal(len(users))),
        **{f"reason_{n}": codes.take(pa.array(rng.integers(0, len(codes), len(users)))) for n in (1, 2, 3)},
    }
    constants = {
        "target_week_start_date": TARGET,
        "learner_type": "single-learner",
        "learner_name": "xgboost",
        "optimal_threshold": 0.4,
        "score_datetime": SCORED_AT.astimezone(UTC).replace(tzinfo=None),
        "as_of": AS_OF,
        "run_id": RUN,
        "model_version": "food-2026-06-28",
    }
    return score_table(columns, constants)


def _reasons(rng: np.random.Generator, users: Any) -> pa.Table:
    rows = len(users) * REASONS
    arrays = [
        pa.array(np.repeat(users, REASONS)),
        pa.array(np.tile(np.arange(1, REASONS + 1, dtype=np.int16), len(users))),
        pa.array(FEATURES).take(pa.array(rng.integers(0, len(FEATURES), rows))),
        pa.array(rng.standard_exponential(rows).round(3).astype(str)),
        pa.array(rng.standard_normal(rows).astype(np.float32)),
        pa.nulls(rows, pa.string()),
    ]
    return pa.Table.from_arrays(arrays, schema=datasets.REASONS.schema)


def publish(warehouse: Warehouse, folder: str, rows: int) -> Published:
    """Publish what ``write_run`` wrote."""
    started: datetime = SCORED_AT
    names = [f"{partition_name(n)}.parquet" for n in range(-(-rows // FILE_ROWS))]
    migrations.apply(warehouse, "user_id")
    return publish_scores(
        warehouse,
        [f"{folder}/scores/{name}" for name in names],
        product="food",
        target_week_start=TARGET,
        run_id=RUN,
        started_at=started,
        rows=rows,
        reason_paths=[f"{folder}/reasons/{name}" for name in names],
    )


def insert_by_driver(warehouse: Any, folder: str) -> None:
    """Insert the scores alone through the driver, a thousand rows a statement, unchecked."""
    migrations.apply(warehouse, "user_id")
    fs, path = url_to_fs(f"{folder}/scores")
    names = datasets.SCORES.schema.names
    insert = f"insert into churn.scores ({', '.join(names)}, product) values %s"
    template = f"({', '.join(['%s'] * len(names))}, 'food')"
    with closing(connect(warehouse.engine, warehouse.settings, warehouse.redactor)) as connection:
        with connection.connection.cursor() as cursor:
            cursor.execute("delete from churn.scores")
            for name in sorted(fs.find(path)):
                with fs.open(name, "rb") as file:
                    rows = pq.read_table(file, columns=names).to_pandas().itertuples(index=False)
                execute_values(cursor, insert, rows, page_size=1_000, template=template)
        connection.commit()
