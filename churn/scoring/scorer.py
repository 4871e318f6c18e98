"""Score and explain one partition of users: features in, scores, SHAP contributions and reasons out.

Rows stream through in batches, so memory depends on the batch and not on the partition. A small JSON row,
written after the files, commits the partition. A partition with a valid row is not computed again; files
without a row are ignored.
"""

import logging
import time
from collections.abc import Iterator, Sequence
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

from churn.core.datasets import EFFECTS, LEARNER_SCORES, REASONS, SCORE_REASONS, SCORES, SHAP, THEMES
from churn.core.errors import CheckError
from churn.core.floats import standard_floats
from churn.explain.contributions import (
    Contributions,
    additivity_gap,
    contributions,
    explained_names,
    player_names,
)
from churn.explain.effects import BinEdges, ContributionSummary, bin_edges
from churn.explain.lines import add_lines
from churn.explain.loops import accumulate, top_k
from churn.explain.reasons import reason_table, top_reasons
from churn.explain.sentences import Sentences, read_catalogue
from churn.model.artifact import Model
from churn.model.encoding import KEYS, FeatureSchema, Matrix, sigmoid
from churn.model.learners.threads import one_thread
from churn.scoring.files import PartitionFiles, is_intact, path_of, write_small
from churn.scoring.partition import PartitionResult, PartitionTask, RunSummary, summarise_partitions
from churn.scoring.schema import score_reasons, score_table, shap_schema, shap_table, theme_table

__all__ = ["PartitionResult", "PartitionTask", "RunSummary", "score_partition", "summarise_partitions"]

ADDITIVITY = 1e-4  # log-odds, or relative to margins beyond 1
CHECKED_ROWS = 256  # per batch: the members predict their margins too
STACK, MEMBER, SINGLE = "meta-learner", "weak-learner", "single-learner"  # learner_type in the scores
# A batch is in memory four times (read, encoded, explained, being written): 16 bytes per value.
_READ_AHEAD = 1 << 18  # bytes per column
_BATCH_BYTES, _BYTES_A_VALUE, _MOST_ROWS = 40_000_000, 16, 16_384

_logger = logging.getLogger(__name__)


@standard_floats()
def score_partition(task: PartitionTask) -> PartitionResult:
    """Score, explain and commit one partition; return its result.

    Writes ``scores/``, ``shap/``, ``reasons/`` and ``effects/part-NNNNN.parquet`` and, last,
    ``logs/partitions/part-NNNNN.json``. If that file exists for this task and its files are intact, it
    computes nothing.

    Raises:
        CheckError: a column of the model is missing, a user id is null, a probability is not a number,
            contributions do not add up to the margin, or rows are missing.
        RunError: the model cannot be read, or a column has another type than in training.
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


def _valid_row(fs: AbstractFileSystem, folder: str, path: str, task: PartitionTask) -> PartitionResult | None:
    """Return the result at ``path`` if it is of this task and its files are intact."""
    try:
        row = PartitionResult.model_validate_json(fs.cat_file(path))
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
class _LoadedModel:
    """A model, and what scoring derives from it once."""

    model: Model
    schema: FeatureSchema
    bias: float
    cuts: tuple[BinEdges, ...]


def _load_once(folder: str) -> _LoadedModel:
    """Load a model, once per worker process and state of the folder."""
    fs, path = url_to_fs(folder)
    state = sorted((info["name"], info["size"], str(info.get("mtime"))) for info in fs.ls(path, detail=True))
    return _load(folder, str(state))


@lru_cache(maxsize=2)
def _load(folder: str, state: str) -> _LoadedModel:
    model = Model.load(folder, threads=1)  # a partition is one thread's work
    schema = model.schema
    no_rows = np.empty((0, len(schema.names)), np.float32)
    cuts = bin_edges(model)
    for loops in (top_k, accumulate, add_lines):
        loops.ready()
    return _LoadedModel(model, schema, contributions(model, no_rows).bias, cuts)


def batch_rows(features: int) -> int:
    """Return the rows of a batch: 40 MB of values, at most 16,384 rows."""
    fitting = _BATCH_BYTES // (_BYTES_A_VALUE * max(1, features))
    return max(1, min(_MOST_ROWS, fitting))


class _Scorer:
    """One pass over one partition."""

    def __init__(self, task: PartitionTask, fs: AbstractFileSystem, folder: str) -> None:
        self.task = task
        self.fs = fs
        self.folder = folder
        self.seconds: dict[str, float] = {}
        self.cpu: dict[str, float] = {}
        with self._timed("load"):
            self.loaded = _load_once(task.model_folder)
        self.model = self.loaded.model
        self.features: Sequence[str] = self.loaded.schema.names
        self.names: Sequence[str] = explained_names(self.model)
        self.shap_schema = shap_schema(
            self.names,
            {"bias": repr(self.loaded.bias), "model_version": self.model.card.model_version},
            task.contributions,
        )
        self.rows = 0
        self.checked_rows = 0
        self.probability_sum = 0.0
        self.classified = 0
        self.gap = 0.0
        self.rounding = 0.0
        self.margin_range: tuple[float, float] | None = None
        self.summary = ContributionSummary(self.names, self.loaded.cuts)
        self.sentences: Sentences | None = None
        self.themes = self._find_themes() if task.themes else {}

    def run(self) -> PartitionResult:
        task, (features, columns) = self.task, self._open_features()
        if task.sentences:
            with self._timed("reasons"):
                self.sentences = Sentences(
                    read_catalogue(self.fs, f"{self.folder}/logs/features.json"), features
                )
        known = {*self.features, *KEYS}
        ignored = tuple(name for name in columns if name not in known)
        schemas = {dataset: dataset.schema for dataset in (SCORES, REASONS, EFFECTS)}
        if task.contributions != "none":
            schemas[SHAP] = self.shap_schema
        if self.themes:
            schemas[THEMES] = self._theme_schema()
        if self._writes_members():
            schemas[LEARNER_SCORES] = LEARNER_SCORES.schema
        with PartitionFiles(self.fs, self.folder, task.name, schemas) as files:
            for batch in self._batches(features):
                self._score(batch, files)
            expected = features.metadata.num_rows
            if self.rows != expected:
                raise self._failure(f"{task.features} has {expected:,} rows, but {self.rows:,} were scored")
            with self._timed("write"):
                files.write(EFFECTS, self.summary.table())
                stamps = files.close()
        return PartitionResult(
            index=task.index,
            task=task.fingerprint,
            rows=self.rows,
            files=stamps,
            model_version=self.model.card.model_version,
            bias=self.loaded.bias,
            probability_sum=self.probability_sum,
            classified=self.classified,
            margin_range=self.margin_range,
            checked_rows=self.checked_rows,
            additivity_gap=self.gap,
            rounding=self.rounding,
            ignored=ignored,
            seconds=self.seconds,
            cpu=self.cpu,
        )

    def _open_features(self) -> tuple[pq.ParquetFile, list[str]]:
        """Open the features; return them and their columns."""
        fs, path = url_to_fs(self.task.features)
        try:
            # Row groups can be large: do not buffer them whole.
            features = pq.ParquetFile(path, filesystem=fs, pre_buffer=False, buffer_size=_READ_AHEAD)
        except FileNotFoundError as error:
            raise self._failure(f"{self.task.features} does not exist") from error
        except pa.ArrowInvalid as error:
            raise self._failure(f"{self.task.features} is not a Parquet file ({error})") from error
        columns = features.schema_arrow.names
        known = set(columns)
        missing = [name for name in ("user_id", *self.features) if name not in known]
        if missing:
            raise self._failure(
                f"{self.task.features} lacks {len(missing)} column(s) that the model was trained on: "
                f"{', '.join(missing)}"
            )
        return features, columns

    def _find_themes(self) -> dict[str, list[int]]:
        """Return the columns of contributions by feature group, in the catalogue's order."""
        catalogue = read_catalogue(self.fs, f"{self.folder}/logs/features.json")
        themes: dict[str, list[int]] = {}
        for column, name in enumerate(self.names):
            group = catalogue[name].group if name in catalogue else "other"
            themes.setdefault(group.replace(" ", "_").replace("-", "_"), []).append(column)
        return themes

    def _theme_schema(self) -> pa.Schema:
        return shap_schema(
            list(self.themes),
            {"bias": repr(self.loaded.bias), "model_version": self.model.card.model_version},
            "float32",
        )

    def _writes_members(self) -> bool:
        return self.task.learner_scores and len(self.model.members) > 1

    def _batches(self, features: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
        rows = self.task.batch_rows or batch_rows(len(self.names))
        batches = features.iter_batches(rows, columns=["user_id", *self.features], use_threads=False)
        while True:
            with self._timed("read"):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch

    def _score(self, batch: pa.RecordBatch, files: PartitionFiles) -> None:
        users = batch.column("user_id").cast(pa.string())
        if users.null_count:
            raise self._failure(f"{self.task.features} has {users.null_count:,} rows without a user id")
        with self._timed("encode"):
            X = self.loaded.schema.encode(batch)
        with self._timed("explain"):
            explained = contributions(self.model, X)
        with self._timed("check"):
            probability = self._checked(X, explained)
        for name, margin in zip(player_names(self.model), explained.players.T, strict=True):
            batch = batch.append_column(name, pa.array(margin))
        with self._timed("reasons"):
            largest = top_reasons(explained.phi, self.task.reasons)
            reasons = reason_table(users, batch, self.names, largest)
            if self.sentences is not None:
                reasons = self.sentences.add_to(reasons, batch)
            in_scores = score_reasons(self.names, largest)
        with self._timed("summary"):
            self.summary.add(
                np.hstack([X, explained.players]) if explained.players.size else X, explained.phi
            )
        with self._timed("write"):
            margin = explained.margin.astype(np.float64)
            scores = score_table(
                {
                    "user_id": users,
                    "predicted_probability": pa.array(probability),
                    "optimal_classification": pa.array(self._is_churner(probability).astype(np.int32)),
                    "margin": pa.array(margin),
                    **in_scores,
                },
                self._constants(),
            )
            files.write(SCORES, scores)
            files.write(REASONS, reasons)
            if self.themes:
                files.write(THEMES, theme_table(users, explained.phi, self.themes, self._theme_schema()))
            if self._writes_members():
                for members in self._member_scores(users, X):
                    files.write(LEARNER_SCORES, members)
            if self.task.contributions != "none":
                shap, rounding = shap_table(users, explained.phi, self.shap_schema)
                self.rounding = max(self.rounding, rounding)
                files.write(SHAP, shap)

    def _member_scores(self, users: pa.Array, X: Matrix) -> Iterator[pa.Table]:
        """Yield the scores of each learner of the stack, with its own threshold and without reasons."""
        summaries = {learner.name: learner for learner in self.model.card.learners}
        names = (f"reason_{rank}" for rank in range(1, SCORE_REASONS + 1))
        no_reasons = dict.fromkeys(names, pa.nulls(len(users), pa.string()))
        for each in self.model.members:
            with one_thread():
                margin = each.member.margin(each.matrix(X))
            probability, threshold = sigmoid(margin), summaries[each.name].threshold or 0.5
            yield score_table(
                {
                    "user_id": users,
                    "predicted_probability": pa.array(probability),
                    "optimal_classification": pa.array((probability >= threshold).astype(np.int32)),
                    "margin": pa.array(margin),
                    **no_reasons,
                },
                self._constants()
                | {"learner_type": MEMBER, "learner_name": each.name, "optimal_threshold": threshold},
            )

    def _checked(self, X: Matrix, explained: Contributions) -> NDArray[np.float64]:
        """Check a batch, add it to the totals, and return its probabilities."""
        margin = explained.margin
        probability = sigmoid(margin)
        wrong = int(np.isnan(probability).sum())
        if wrong:  # without ids: errors go to logs and to Prefect
            raise self._failure(f"{wrong:,} users have no probability (NaN)")
        checked, gap = additivity_gap(self.model, X, explained, CHECKED_ROWS)
        if not gap <= ADDITIVITY:
            raise self._failure(
                f"bias + contributions differ from the margin that the model predicts by {gap:.2g} (at most "
                f"{ADDITIVITY} is rounding): the explanation is of another model; train again"
            )
        if len(margin):
            low, high = float(margin.min()), float(margin.max())
            before = self.margin_range or (low, high)
            self.margin_range = min(low, before[0]), max(high, before[1])
        self.gap = max(self.gap, gap)
        self.checked_rows += checked
        self.rows += len(margin)
        self.probability_sum += float(probability.sum())
        self.classified += int(self._is_churner(probability).sum())
        return probability

    def _is_churner(self, probability: NDArray[np.float64]) -> NDArray[np.bool_]:
        return probability >= self.model.card.threshold

    def _constants(self) -> dict[str, Any]:
        task, card = self.task, self.model.card
        return {
            "target_week_start_date": task.target_week_start,
            "learner_type": STACK if len(self.model.members) > 1 else SINGLE,
            "learner_name": self.model.learner,
            "optimal_threshold": float(card.threshold),
            "score_datetime": _naive_utc(task.score_datetime),
            "as_of": task.as_of,
            "run_id": task.run_id,
            "model_version": card.model_version,
        }

    def _failure(self, sentence: str) -> CheckError:
        return CheckError(f"scoring {self.task.name}", [sentence])

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - wall
            self.cpu[stage] = self.cpu.get(stage, 0.0) + time.thread_time() - cpu


def _naive_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
