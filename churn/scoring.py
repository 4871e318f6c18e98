"""Score and explain one partition of users: features in, scores, SHAP contributions and reasons out.

Rows stream through in batches, so that memory depends on the batch and not on the partition. A partition is
committed by one small JSON row, written after its files: a partition whose row is there and true is not
computed again, and a worker that dies before leaves nothing that counts.
"""

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from numpy.typing import NDArray
from pydantic import ValidationError

from churn.errors import CheckError
from churn.explain.contributions import Contributions, contributions
from churn.explain.reasons import REASON_SCHEMA, reason_table
from churn.explain.summary import ContributionSummary, typical_cuts
from churn.model import KEYS, FeatureSchema, Model, sigmoid
from churn.outputs import PartitionFiles, is_intact, path_of, write_small
from churn.partitions import PartitionRow, PartitionTask, RunSummary, merge_rows

__all__ = ["SCORE_SCHEMA", "PartitionRow", "PartitionTask", "RunSummary", "merge_rows", "score_partition"]

ADDITIVITY = 1e-4  # log-odds, or relative to margins beyond 1
SHAP_SCHEMA_VERSION = 1
LEARNER_TYPE, LEARNER_NAME = "meta-learner", "xgboost"

# The first eight are those that the table's readers know, under its old name.
SCORE_SCHEMA = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("target_week_start_date", pa.date32(), nullable=False),
        pa.field("learner_type", pa.string(), nullable=False),
        pa.field("learner_name", pa.string(), nullable=False),
        pa.field("predicted_probability", pa.float64(), nullable=False),
        pa.field("optimal_threshold", pa.float64(), nullable=False),
        pa.field("optimal_classification", pa.int32(), nullable=False),
        pa.field("score_datetime", pa.timestamp("us"), nullable=False),
        pa.field("product", pa.string(), nullable=False),
        pa.field("as_of", pa.date32(), nullable=False),
        pa.field("run_id", pa.string(), nullable=False),
        pa.field("model_version", pa.string(), nullable=False),
        pa.field("margin", pa.float64(), nullable=False),
    ]
)
_VARIES = ("user_id", "predicted_probability", "optimal_classification", "margin")
_DICTIONARIES = {
    "scores": [name for name in SCORE_SCHEMA.names if name not in _VARIES],
    "reasons": ["feature"],
}

_logger = logging.getLogger(__name__)


def score_partition(task: PartitionTask) -> PartitionRow:
    """Score and explain the users of one partition, and commit it; return its row.

    Writes ``scores/``, ``shap/`` and ``reasons/part-NNNNN.parquet`` and, last,
    ``logs/partitions/part-NNNNN.json``. If that row is there already, of this very task, and its files are
    intact, nothing is computed.

    Raises:
        CheckError: a column of the model is missing, a user id is null, a probability is not a number,
            contributions do not add up to the margin, or rows went missing.
        RunError: the model cannot be read, or a column is of another type than in training.
        OSError: the disk refused.
    """
    fs, folder = url_to_fs(task.run_folder)
    row_path = f"{folder}/logs/partitions/{task.name}.json"
    row = _valid_row(fs, folder, row_path, task)
    if row is not None:
        return row
    if fs.exists(row_path):
        fs.rm_file(row_path)
    row = _Scorer(task, fs, folder).run()
    write_small(fs, folder, row_path, row.model_dump_json().encode())
    return row


def _valid_row(fs: AbstractFileSystem, folder: str, path: str, task: PartitionTask) -> PartitionRow | None:
    """Return the row at ``path`` if it is this task's and its files are as it says."""
    try:
        row = PartitionRow.model_validate_json(fs.cat_file(path))
    except FileNotFoundError:
        return None
    except ValidationError:
        _logger.warning("%s is damaged; %s is computed again", path, task.name)
        return None
    if row.task != task.fingerprint:
        return None
    for dataset, stamp in row.files.items():
        if not is_intact(fs, path_of(folder, dataset, task.name), stamp):
            _logger.warning("%s of %s is damaged; it is computed again", dataset, task.name)
            return None
    return row


@dataclass(frozen=True)
class _Ready:
    """A model with what scoring derives from it once."""

    model: Model
    schema: FeatureSchema
    bias: float
    cuts: tuple[float | None, ...]


def _ready(folder: str) -> _Ready:
    """Load a model, once for each worker process and state of the folder."""
    fs, path = url_to_fs(folder)
    state = sorted((info["name"], info["size"], str(info.get("mtime"))) for info in fs.ls(path, detail=True))
    return _load(folder, str(state))


@lru_cache(maxsize=2)
def _load(folder: str, state: str) -> _Ready:
    model = Model.load(folder)
    schema = model.schema
    nobody = np.empty((0, len(schema.names)), np.float32)
    cuts = typical_cuts(model.booster, [name in schema.categories for name in schema.names])
    return _Ready(model, schema, contributions(model, nobody).bias, cuts)


class _Scorer:
    """One pass over one partition."""

    def __init__(self, task: PartitionTask, fs: AbstractFileSystem, folder: str) -> None:
        self.task = task
        self.fs = fs
        self.folder = folder
        self.seconds: dict[str, float] = {}
        with self._timed("load"):
            self.ready = _ready(task.model_folder)
        self.model = self.ready.model
        self.names: Sequence[str] = self.ready.schema.names
        self.rows = 0
        self.probability_sum = 0.0
        self.classified = 0
        self.gap = 0.0
        self.margin_range: tuple[float, float] | None = None
        nothing = np.empty((0, len(self.names)), np.float32)
        self.summaries = [ContributionSummary.of(self.names, self.ready.cuts, nothing, nothing)]

    def run(self) -> PartitionRow:
        task, features = self.task, self._open_features()
        ignored = tuple(name for name in features.schema_arrow.names if name not in {*self.names, *KEYS})
        schemas = {"scores": SCORE_SCHEMA, "shap": self._shap_schema(), "reasons": REASON_SCHEMA}
        with PartitionFiles(self.fs, self.folder, task.name, schemas, _DICTIONARIES) as files:
            for batch in self._batches(features):
                self._score(batch, files)
            expected = features.metadata.num_rows
            if self.rows != expected:
                raise self._failure(f"{task.features} has {expected:,} rows, but {self.rows:,} were scored")
            with self._timed("write"):
                stamps = files.publish()
        return PartitionRow(
            index=task.index,
            task=task.fingerprint,
            rows=self.rows,
            files=stamps,
            model_version=self.model.card.model_version,
            bias=self.ready.bias,
            probability_sum=self.probability_sum,
            classified=self.classified,
            margin_range=self.margin_range,
            additivity_gap=self.gap,
            summary=ContributionSummary.merged(self.summaries),
            ignored=ignored,
            seconds=self.seconds,
        )

    def _open_features(self) -> pq.ParquetFile:
        fs, path = url_to_fs(self.task.features)
        try:
            # Buffering ahead would keep the whole file in memory until the last batch.
            features = pq.ParquetFile(path, filesystem=fs, pre_buffer=False)
        except FileNotFoundError as error:
            raise self._failure(f"{self.task.features} is not there") from error
        except pa.ArrowInvalid as error:
            raise self._failure(f"{self.task.features} is not a Parquet file ({error})") from error
        found = set(features.schema_arrow.names)
        missing = [name for name in ("user_id", *self.names) if name not in found]
        if missing:
            raise self._failure(
                f"{self.task.features} lacks {len(missing)} column(s) that the model was trained on: "
                f"{', '.join(missing)}"
            )
        return features

    def _batches(self, features: pq.ParquetFile) -> Iterator[pa.Table]:
        batches = features.iter_batches(
            self.task.batch_rows, columns=["user_id", *self.names], use_threads=False
        )
        while True:
            with self._timed("read"):
                batch = next(batches, None)
            if batch is None:
                return
            yield pa.Table.from_batches([batch])

    def _score(self, batch: pa.Table, files: PartitionFiles) -> None:
        users = batch.column("user_id").combine_chunks().cast(pa.string())
        if users.null_count:
            raise self._failure(f"{self.task.features} has {users.null_count:,} rows without a user id")
        with self._timed("encode"):
            X = self.ready.schema.encode(batch)
        with self._timed("explain"):
            explained = contributions(self.model, X)
        probability = self._checked(users, explained)
        with self._timed("reasons"):
            columns = {name: batch.column(name).combine_chunks() for name in self.names}
            reasons = reason_table(users, columns, self.names, explained.phi)
        with self._timed("summary"):
            self.summaries.append(ContributionSummary.of(self.names, self.ready.cuts, X, explained.phi))
        with self._timed("write"):
            files.write("scores", self._score_table(users, probability, explained.margin))
            arrays = [users, *(pa.array(np.ascontiguousarray(column)) for column in explained.phi.T)]
            files.write("shap", pa.Table.from_arrays(arrays, schema=self._shap_schema()))
            files.write("reasons", reasons)

    def _checked(self, users: pa.Array, explained: Contributions) -> NDArray[np.float64]:
        """Check a batch, add it to the sums, and return its probabilities."""
        margin = explained.margin.astype(np.float64)
        gap = np.abs(margin - explained.bias - explained.phi.sum(axis=1, dtype=np.float64))
        broken = np.flatnonzero(~(gap <= ADDITIVITY * np.maximum(1.0, np.abs(margin))))
        probability = sigmoid(margin)
        wrong = np.flatnonzero(np.isnan(probability))
        if len(wrong):
            raise self._failure(
                f"{len(wrong):,} users have no probability (NaN), user {users[int(wrong[0])]} first"
            )
        if len(broken):
            raise self._failure(
                f"bias + contributions differ from the margin by more than {ADDITIVITY} for {len(broken):,} "
                f"users, user {users[int(broken[0])]} first, by {gap[broken[0]]:.2g}"
            )
        if not math.isclose(explained.bias, self.ready.bias, abs_tol=ADDITIVITY):
            raise self._failure(
                f"the bias changed from {self.ready.bias} to {explained.bias} between batches"
            )
        if len(margin):
            low, high = float(margin.min()), float(margin.max())
            before = self.margin_range or (low, high)
            self.margin_range = min(low, before[0]), max(high, before[1])
            self.gap = max(self.gap, float(gap.max()))
        self.rows += len(margin)
        self.probability_sum += float(probability.sum())
        self.classified += int((probability >= self.model.card.threshold).sum())
        return probability

    def _score_table(
        self, users: pa.Array, probability: NDArray[np.float64], margin: NDArray[np.float32]
    ) -> pa.Table:
        task, card = self.task, self.model.card
        columns: Mapping[str, Any] = {
            "user_id": users,
            "predicted_probability": pa.array(probability),
            "optimal_classification": pa.array((probability >= card.threshold).astype(np.int32)),
            "margin": pa.array(margin.astype(np.float64)),
        }
        constants: Mapping[str, Any] = {
            "target_week_start_date": task.target_week_start,
            "learner_type": LEARNER_TYPE,
            "learner_name": LEARNER_NAME,
            "optimal_threshold": float(card.threshold),
            "score_datetime": _naive_utc(task.score_datetime),
            "product": task.product,
            "as_of": task.as_of,
            "run_id": task.run_id,
            "model_version": card.model_version,
        }
        arrays = [
            columns[field.name]
            if field.name in columns
            else pa.repeat(pa.scalar(constants[field.name], field.type), len(users))
            for field in SCORE_SCHEMA
        ]
        return pa.Table.from_arrays(arrays, schema=SCORE_SCHEMA)

    def _shap_schema(self) -> pa.Schema:
        fields = [pa.field("user_id", pa.string(), nullable=False)]
        fields += [pa.field(name, pa.float32(), nullable=False) for name in self.names]
        metadata = {
            "bias": repr(self.ready.bias),
            "model_version": self.model.card.model_version,
            "schema_version": str(SHAP_SCHEMA_VERSION),
        }
        return pa.schema(fields, metadata)

    def _failure(self, sentence: str) -> CheckError:
        return CheckError(f"scoring {self.task.name}", [sentence])

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


def _naive_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
