"""Made-up snapshots and a model of them, with as many features and trees as a plan is for.

Features have the shapes of the catalogue in its proportions: real numbers with a long tail, shares of which
two fifths are exactly 0, counts, and a few categories; 11 % of the values are missing; user ids are 32
hexadecimal digits; files are as ``churn.dataset.unload`` writes them.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xgboost as xgb
from numpy.typing import NDArray

from churn import __version__
from churn.core.errors import UsageError
from churn.model.artifact import Model, ModelCard
from churn.model.encoding import FeatureSchema
from churn.model.learners.boosted import Boosted
from churn.scoring.partition import PartitionTask

AS_OF, TARGET = date(2026, 6, 28), date(2026, 7, 6)
SCORED_AT = datetime(2026, 6, 29, 18, tzinfo=UTC)
PRODUCT, RUN_ID = "sample", "20260629t180000z-3fa1c2"
MISSING = 0.11
ROW_GROUP = 16_384  # as churn.dataset.unload
LEAST_FEATURES = 8
_VALUES_OF = {"gender": 3, "nation": 4, "region": 14, "acorn": 18, "device": 6, "verified": 2}
# The report sums up scores by these two, as every product has them.
_SEGMENTS = ("days_w2", "active_weeks_13w")
_ROWS_PER_LEAF = 125  # to train on: enough that trees are as full as those of a large audience
_QUICK = {"max_bin": 16, "subsample": 0.5, "colsample_bytree": 0.2, "min_child_weight": 1, "eta": 0.05}


@dataclass(frozen=True)
class Shape:
    """How many features there are, and of which kinds."""

    features: int  # at least 8

    def __post_init__(self) -> None:
        """Refuse what cannot hold every kind."""
        if self.features < LEAST_FEATURES:
            raise UsageError(
                f"{self.features} features are too few to measure: give {LEAST_FEATURES} or more"
            )

    @cached_property
    def categories(self) -> dict[str, int]:
        """Category features, each with its number of values."""
        return dict(list(_VALUES_OF.items())[: max(1, round(self.features * 0.04))])

    @cached_property
    def counts(self) -> tuple[str, ...]:
        """Features that are counts."""
        count = max(2, round(self.features * 0.2))
        return (*_SEGMENTS, *(f"events_{i:02d}" for i in range(count - len(_SEGMENTS))))

    @cached_property
    def shares(self) -> tuple[str, ...]:
        """Features between 0 and 1."""
        return tuple(f"share_{i:02d}" for i in range(round(self.features * 4 / 15)))

    @cached_property
    def amounts(self) -> tuple[str, ...]:
        """Positive features: all the others."""
        others = len(self.categories) + len(self.counts) + len(self.shares)
        return tuple(f"value_{i:02d}" for i in range(self.features - others))

    @property
    def names(self) -> tuple[str, ...]:
        """All features, in the order of the model."""
        return (*self.amounts, *self.shares, *self.counts, *self.categories)

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns of a features file."""
        return pa.schema(
            [pa.field("user_id", pa.string()), pa.field("as_of_date", pa.date32())]
            + [pa.field(name, pa.float32()) for name in (*self.amounts, *self.shares)]
            + [pa.field(name, pa.int32()) for name in self.counts]
            + [pa.field(name, pa.string()) for name in self.categories]
        )


def batch(shape: Shape, rng: np.random.Generator, rows: int) -> pa.Table:
    """Return made-up snapshots."""

    def missing() -> NDArray[np.bool_]:
        return rng.random(rows, np.float32) < MISSING

    ids = pa.py_buffer(rng.bytes(16 * rows).hex().encode())
    users = pa.Array.from_buffers(pa.binary(32), rows, [None, ids]).cast(pa.binary()).cast(pa.string())
    columns = [users, pa.repeat(pa.scalar(AS_OF, pa.date32()), rows)]
    for _ in shape.amounts:
        columns.append(pa.array(np.exp(rng.standard_normal(rows, np.float32)), mask=missing()))
    for _ in shape.shares:
        share = np.maximum(rng.random(rows, np.float32) / np.float32(0.6) - np.float32(2 / 3), 0)
        columns.append(pa.array(share, mask=missing()))
    for _ in shape.counts:
        count = (8 * rng.standard_exponential(rows, np.float32)).astype(np.int32)
        columns.append(pa.array(count, mask=missing()))
    for name, number in shape.categories.items():
        codes = pa.array(rng.integers(0, number, rows, np.int32), mask=missing())
        values = pa.array([f"{name} {i}" for i in range(number)])
        columns.append(pa.DictionaryArray.from_arrays(codes, values).cast(pa.string()))
    return pa.Table.from_arrays(columns, schema=shape.schema)


def write_features(path: Path, shape: Shape, rng: np.random.Generator, rows: int) -> None:
    """Write a features file, one row group in memory at a time."""
    with pq.ParquetWriter(
        path, shape.schema, compression="snappy", use_dictionary=list(shape.categories)
    ) as writer:
        for first in range(0, rows, ROW_GROUP):
            writer.write_table(batch(shape, rng, min(ROW_GROUP, rows - first)))


def labels(shape: Shape, rng: np.random.Generator, table: pa.Table) -> NDArray[np.bool_]:
    """Return who churned: it depends on two thirds of the numbers and on every category, in noise."""
    numbers = table.select([*shape.amounts, *shape.shares, *shape.counts])
    known = np.column_stack([column.fill_null(0).to_numpy().astype(np.float32) for column in numbers])
    known = (known - known.mean(axis=0)) / known.std(axis=0)
    weights = rng.normal(size=known.shape[1]) * (rng.random(known.shape[1]) < 2 / 3)
    signal = known @ weights + 2 * known[:, 0] * known[:, -1]
    for name, number in shape.categories.items():
        codes = table[name].combine_chunks().dictionary_encode().indices.fill_null(number).to_numpy()
        signal += rng.normal(size=number + 1)[codes]
    churned: NDArray[np.bool_] = signal + 0.7 * signal.std() * rng.normal(size=len(signal)) > 0
    return churned


def fitted_model(
    shape: Shape, rng: np.random.Generator, trees: int, params: dict[str, Any], rows: int
) -> Model:
    """Return a model of so many trees, fitted on one thread."""
    table = batch(shape, rng, rows)
    churned = labels(shape, rng, table)
    schema = FeatureSchema.fit(table, churned)
    matrix = xgb.QuantileDMatrix(schema.encode(table), churned, max_bin=params["max_bin"])
    fixed = {"objective": "binary:logistic", "nthread": 1, "seed": 1, "verbosity": 0}
    booster = xgb.train({**fixed, **params}, matrix, trees)
    booster.feature_names = list(schema.names)
    card = ModelCard(
        product=PRODUCT,
        as_of=AS_OF,
        model_version=f"{PRODUCT}-{AS_OF:%Y%m%d}-0123abcd",
        features=schema.names,
        categories=dict(schema.categories),
        params=params,
        trees=trees,
        training_dates=(AS_OF,),
        dates=(),
        rows=rows,
        churn_rate=float(churned.mean()),
        judged_on="later_dates",
        metrics={},
        threshold=0.5,
        seed=1,
        data_fingerprint="",
        code_version=__version__,
        created_at=SCORED_AT,
        notes=("made up, to measure with",),
    )
    return Model.of(Boosted(booster, {}), card)


def quick_model(shape: Shape, rng: np.random.Generator, trees: int, depth: int) -> Model:
    """Return a model whose trees are as full as a real one's, fitted in a second or two."""
    return fitted_model(shape, rng, trees, {**_QUICK, "max_depth": depth}, _ROWS_PER_LEAF << depth)


def partition_task(index: int, features: Path, run: Path, model: Path) -> PartitionTask:
    """Return what scores a features file as one partition of a run."""
    return PartitionTask(
        index=index,
        features=str(features),
        run_folder=str(run),
        product=PRODUCT,
        as_of=AS_OF,
        target_week_start=TARGET,
        run_id=RUN_ID,
        model_folder=str(model),
        score_datetime=SCORED_AT,
    )
