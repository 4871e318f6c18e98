"""Made-up score snapshots, a model of them, and the tasks that score them: for ``tests.benchmarks.score``.

150 features in the shapes of the catalogue (114 real numbers, 30 counts, 6 categories), 11 % of the values missing,
and user ids of 32 hexadecimal digits, in Parquet files as ``churn.unload`` writes them. The model is 300 trees
of depth 6, fitted on labels that depend on most of the features.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from churn.model import FeatureSchema, Model
from churn.partitions import PartitionTask, partition_name
from tests.benchmarks.shap import MODELS, train
from tests.support.small_models import model_of

MISSING = 0.11
TRAINING_ROWS = 40_000
ROW_GROUP = 16_384  # as churn.unload
AS_OF, TARGET = date(2026, 6, 28), date(2026, 7, 6)
SCORED_AT = datetime(2026, 6, 29, 18, tzinfo=UTC)

_SHARES = tuple(f"share_{i:02d}" for i in range(40))  # of 0 to 1, two fifths of them exactly 0
_AMOUNTS = tuple(f"value_{i:02d}" for i in range(74))  # positive, with a long tail
_COUNTS = tuple(f"events_{i:02d}" for i in range(30))
_VALUES_OF = {"gender": 3, "nation": 4, "region": 14, "acorn": 18, "device": 6, "verified": 2}
FEATURES = (*_AMOUNTS, *_SHARES, *_COUNTS, *_VALUES_OF)

SCHEMA = pa.schema(
    [pa.field("user_id", pa.string()), pa.field("as_of_date", pa.date32())]
    + [pa.field(name, pa.float32()) for name in (*_AMOUNTS, *_SHARES)]
    + [pa.field(name, pa.int32()) for name in _COUNTS]
    + [pa.field(name, pa.string()) for name in _VALUES_OF]
)


@dataclass(frozen=True)
class Snapshots:
    """Partition files in a folder, and a model.

    Attributes:
        files: the files in order, each with its rows.
        model_folder: the artefact.
    """

    files: tuple[tuple[Path, int], ...]
    model_folder: Path

    def first(self, rows: int) -> "Snapshots":
        """The files that hold the first ``rows`` rows, which must end with a file."""
        count = int(np.searchsorted(np.cumsum([n for _, n in self.files]), rows)) + 1
        found = Snapshots(self.files[:count], self.model_folder)
        if sum(found.rows) != rows:
            raise SystemExit(f"{rows:,} rows are no whole number of partitions")
        return found

    @property
    def rows(self) -> list[int]:
        """Rows of each partition."""
        return [rows for _, rows in self.files]

    def tasks(self, run: Path) -> list[PartitionTask]:
        """What scores them into a run's folder."""
        return [
            PartitionTask(
                index=index,
                features=str(path),
                run_folder=str(run),
                product="food",
                as_of=AS_OF,
                target_week_start=TARGET,
                run_id="20260629t180000z-3fa1c2",
                model_folder=str(self.model_folder),
                score_datetime=SCORED_AT,
            )
            for index, (path, _) in enumerate(self.files)
        ]


def batch(rng: np.random.Generator, rows: int) -> pa.Table:
    """Return made-up snapshots."""

    def present() -> NDArray[np.bool_]:
        return rng.random(rows, np.float32) < MISSING

    ids = pa.py_buffer(rng.bytes(16 * rows).hex().encode())
    users = pa.Array.from_buffers(pa.binary(32), rows, [None, ids]).cast(pa.binary()).cast(pa.string())
    columns = [users, pa.repeat(pa.scalar(AS_OF, pa.date32()), rows)]
    for _ in _AMOUNTS:
        columns.append(pa.array(np.exp(rng.standard_normal(rows, np.float32)), mask=present()))
    for _ in _SHARES:
        share = np.maximum(rng.random(rows, np.float32) / np.float32(0.6) - np.float32(2 / 3), 0)
        columns.append(pa.array(share, mask=present()))
    for _ in _COUNTS:
        count = (8 * rng.standard_exponential(rows, np.float32)).astype(np.int32)
        columns.append(pa.array(count, mask=present()))
    for name, number in _VALUES_OF.items():
        codes = pa.array(rng.integers(0, number, rows, np.int32), mask=present())
        values = pa.array([f"{name} {i}" for i in range(number)])
        columns.append(pa.DictionaryArray.from_arrays(codes, values).cast(pa.string()))
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def write_snapshots(folder: Path, rows: int, partition_rows: int, seed: int = 0) -> Snapshots:
    """Write snapshots and a model into a folder, one row group in memory at a time."""
    rng = np.random.default_rng(seed)
    model_folder, features = folder / "model", folder / "features"
    fitted_model(rng).save(model_folder)
    features.mkdir()
    files = []
    for index, start in enumerate(range(0, rows, partition_rows)):
        path, size = features / f"{partition_name(index)}.parquet", min(partition_rows, rows - start)
        with pq.ParquetWriter(
            path, SCHEMA, compression="zstd", compression_level=1, use_dictionary=list(_VALUES_OF)
        ) as writer:
            for first in range(0, size, ROW_GROUP):
                writer.write_table(batch(rng, min(ROW_GROUP, size - first)))
        files.append((path, size))
    return Snapshots(tuple(files), model_folder)


def fitted_model(rng: np.random.Generator) -> Model:
    """Return a model whose labels depend on two thirds of the numbers and on every category, in noise."""
    table = batch(rng, TRAINING_ROWS)
    numbers = table.select([*_AMOUNTS, *_SHARES, *_COUNTS])
    known = np.column_stack([column.fill_null(0).to_numpy().astype(np.float32) for column in numbers])
    known = (known - known.mean(axis=0)) / known.std(axis=0)
    weights = rng.normal(size=known.shape[1]) * (rng.random(known.shape[1]) < 2 / 3)
    signal = known @ weights + 2 * known[:, 0] * known[:, 80]
    for name, number in _VALUES_OF.items():
        codes = table[name].combine_chunks().dictionary_encode().indices.fill_null(number).to_numpy()
        signal += rng.normal(size=number + 1)[codes]
    churned = signal + 0.7 * signal.std() * rng.normal(size=TRAINING_ROWS) > 0
    schema = FeatureSchema.fit(table, churned)
    assert schema.names == FEATURES
    trees, shape = MODELS["300 trees, depth 6"]
    booster = train(schema.encode(table), churned, trees, shape)
    return model_of(booster, schema.names, {name: tuple(v) for name, v in schema.categories.items()})
