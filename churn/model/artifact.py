"""The model artefact: boosted trees and a card with features, categories and figures.

On disk a model is a folder of two files, without pickle: ``booster.ubj`` (XGBoost's universal binary JSON)
and ``model.json`` (the card and a checksum of the other file).
"""

import hashlib
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xgboost as xgb
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from churn.core.errors import RunError

BOOSTER_FILE = "booster.ubj"
CARD_FILE = "model.json"
FORMAT = 1
KEYS = ("user_id", "as_of_date", "churned")
# Rarer values count as missing: their churn rate is uncertain, and ordering by it would leak the labels of a
# few training rows into the feature.
MINIMUM_CATEGORY_ROWS = 20
SMOOTHING_ROWS = 20.0

Matrix = NDArray[np.float32]
_FLOAT = pa.float32()
_TO_FLOATS = pc.CastOptions.unsafe(_FLOAT)


@dataclass(frozen=True)
class FeatureSchema:
    """A model's features in order, and the values of its category features.

    A category value becomes its position among the training values in order of their churn rate. For a binary
    response the best split of a category is a cut in that order
    (Fisher, JASA 1958; Breiman et al., Classification and Regression Trees, 1984, section 4.2). See
    ``order_values``.

    ``names`` are the columns of the model's matrix; a category value's code is its position in its list.
    """

    names: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def fit(cls, snapshots: pa.Table, churned: NDArray[Any]) -> "FeatureSchema":
        """Return the schema of training snapshots; all columns except the keys are features.

        Args:
            snapshots: training rows only, without rows that will be used for evaluation.
            churned: (rows,) 0 or 1.
        """
        names = tuple(name for name in snapshots.column_names if name not in KEYS)
        overall = float(np.mean(churned)) if len(churned) else 0.0
        categories = {
            name: order_values(*category_codes(snapshots[name]), churned, overall)
            for name in names
            if is_category(snapshots[name].type)
        }
        return cls(names, categories)

    def encode(self, table: pa.Table | pa.RecordBatch) -> Matrix:
        """Return the model's matrix of a table or batch; other columns are ignored.

        Returns:
            (rows, features) float32, column-major (``.T`` is C-contiguous), as the SHAP kernel reads it.
            Nulls and category values unseen in training are NaN.

        Raises:
            RunError: a column is missing, is a category where a number is expected (or the reverse), or holds
                an infinite number.
        """
        present = set(table.column_names)
        missing = [name for name in self.names if name not in present]
        if missing:
            raise RunError(
                f"the table lacks {len(missing)} feature(s) of the model: {_some(missing)}; "
                "score snapshots must come from the same SQL steps as the training snapshots"
            )
        by_feature = np.empty((len(self.names), table.num_rows), dtype=np.float32)
        for row, name in zip(by_feature, self.names, strict=True):
            row[:] = self._column(table, name)
        # One check of the whole matrix: a check per column takes longer than reading a small table.
        if np.isinf(by_feature).any():
            for row, name in zip(by_feature, self.names, strict=True):
                _refuse_infinite(row, name)
        return by_feature.T

    def _column(self, table: pa.Table | pa.RecordBatch, name: str) -> Matrix:
        column = table[name]
        if name in self.categories:
            # A column of nulls may have lost its type.
            if not (is_category(column.type) or pa.types.is_null(column.type)):
                raise RunError(f"feature {name!r} is a category in the model, but {column.type} in the table")
            known = pa.array(self.categories[name], pa.string())
            return _floats(pc.index_in(column.cast(pa.string()), value_set=known))
        return _numbers(column, name)


def is_category(type_: pa.DataType) -> bool:
    """Return whether an Arrow type is a category: strings, plain or dictionary-encoded."""
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    return bool(
        pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_)
    )


def is_numeric(type_: pa.DataType) -> bool:
    """Return whether an Arrow type is a number: integer, float, decimal, boolean or null."""
    kinds = ("integer", "floating", "decimal", "boolean", "null")
    return any(getattr(pa.types, f"is_{kind}")(type_) for kind in kinds)


def number_values(column: pa.ChunkedArray | pa.Array, name: str) -> Matrix:
    """Return a numeric column as (rows,) float32, null as NaN.

    Raises:
        RunError: the column is not numeric or holds infinite numbers, which trees cannot split on.
    """
    values = _numbers(column, name)
    _refuse_infinite(values, name)
    return values


def _numbers(column: pa.ChunkedArray | pa.Array, name: str) -> Matrix:
    if column.type == _FLOAT:  # a cast to the same type takes longer than reading a small column
        values: Matrix = column.to_numpy(zero_copy_only=False)
        return values
    if not is_numeric(column.type):
        raise RunError(f"feature {name!r} is a number in the model, but {column.type} in the table")
    return _floats(column)


def _refuse_infinite(values: Matrix, name: str) -> None:
    infinite = int(np.isinf(values).sum())
    if infinite:
        raise RunError(
            f"feature {name!r} holds {infinite:,} infinite numbers; guard the division in its SQL with nullif"
        )


def category_codes(column: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int64]]:
    """Return a category column's distinct values, and each row's position among them (-1 = null)."""
    encoded = column.cast(pa.string()).dictionary_encode().unify_dictionaries()
    if not encoded.num_chunks:
        return [], np.empty(0, dtype=np.int64)
    codes = [chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False) for chunk in encoded.chunks]
    return encoded.chunk(0).dictionary.to_pylist(), np.concatenate(codes).astype(np.int64)


def order_values(
    values: Sequence[str], codes: NDArray[np.int64], churned: NDArray[Any], overall: float
) -> tuple[str, ...]:
    """Return values in order of smoothed churn rate; ties by name.

    The rate is (churners + 20 * overall) / (rows + 20). Values with fewer than 20 rows are left out and count
    as missing.

    Args:
        values: distinct values.
        codes: (rows,) position of each row's value, -1 = null; only of rows that the model is fitted on.
        churned: (rows,) 0 or 1.
        overall: churn rate of those rows.
    """
    seen = codes >= 0
    rows = np.bincount(codes[seen], minlength=len(values))
    churners = np.bincount(codes[seen], weights=churned[seen], minlength=len(values))
    rates = (churners + SMOOTHING_ROWS * overall) / (rows + SMOOTHING_ROWS)
    frequent = [code for code in range(len(values)) if rows[code] >= MINIMUM_CATEGORY_ROWS]
    return tuple(values[code] for code in sorted(frequent, key=lambda code: (rates[code], values[code])))


def _floats(column: pa.ChunkedArray | pa.Array) -> Matrix:
    values: Matrix = column.cast(options=_TO_FLOATS).to_numpy(zero_copy_only=False)
    return values


def _some(names: Sequence[str], shown: int = 10) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class DateSummary(_Frozen):
    """One as-of date's snapshots, and their role before the final refit on all rows.

    ``gap`` dates lie within the label delay before the holdout: their labels were not known on its as-of
    date.
    """

    as_of: date
    rows: int
    churn_rate: float
    role: Literal["training", "validation", "gap", "holdout"]


class ModelCard(_Frozen):
    """A model's features, training data, parameters and figures.

    Attributes:
        as_of: as-of date of the run that trained it; all labels were known by then.
        model_version: product, date and a hash of booster, data and code; equal versions are equal models.
        features: feature columns in the order of the model's matrix.
        categories: category feature -> values in the order of their codes.
        training_dates: as-of dates that the shipped booster was fitted on (holdout included).
        rows: snapshots that the shipped booster was fitted on.
        judged_on: ``later_dates``: the holdout is later than the rows of the evaluated model.
            ``other_users``: there were too few dates, so users were held out by a hash of their id.
        metrics: the holdout evaluation (``Evaluation.to_dict``) of a model fitted without the holdout and
            without rows whose label was not known on the holdout's as-of date.
        threshold: lowest probability that is classified as churn: best F1 on the holdout.
        data_fingerprint: hash of the training snapshots; it does not depend on their order.
        notes: sentences on differences from the usual scheme.
    """

    product: str
    as_of: date
    model_version: str
    features: tuple[str, ...]
    categories: dict[str, tuple[str, ...]]
    params: dict[str, bool | int | float | str]
    trees: int
    training_dates: tuple[date, ...]
    dates: tuple[DateSummary, ...]
    rows: int
    churn_rate: float
    judged_on: Literal["later_dates", "other_users"]
    metrics: dict[str, Any]
    threshold: float = Field(ge=0, le=1)
    seed: int
    data_fingerprint: str
    code_version: str
    created_at: AwareDatetime
    notes: tuple[str, ...] = ()


class _File(_Frozen):
    format: Literal[1]
    booster_sha256: str
    card: ModelCard


@dataclass(frozen=True)
class Model:
    """A fitted model: booster and card; ``booster.feature_names`` are the card's features."""

    booster: xgb.Booster
    card: ModelCard

    @property
    def schema(self) -> FeatureSchema:
        """The schema that encodes tables as matrices."""
        return FeatureSchema(self.card.features, self.card.categories)

    def margin(self, matrix: Matrix) -> Matrix:
        """Return the log-odds of churn, (rows,) float32, of a (rows, features) matrix made by ``encode``."""
        if not len(matrix):
            return np.empty(0, dtype=np.float32)
        margins: Matrix = self.booster.inplace_predict(matrix, predict_type="margin", validate_features=False)
        return margins

    def probability(self, matrix: Matrix) -> NDArray[np.float64]:
        """Return the probability of churn, (rows,) float64, of a matrix made by ``encode``."""
        return sigmoid(self.margin(matrix))

    def save(self, folder: str | Path) -> None:
        """Write the model's two files into a folder (path or fsspec URL), which is created if missing.

        Raises:
            RunError: the folder cannot be written.
        """
        raw = bytes(self.booster.save_raw("ubj"))
        document = _File(format=FORMAT, booster_sha256=hashlib.sha256(raw).hexdigest(), card=self.card)
        files, root = fsspec.core.url_to_fs(str(folder))
        try:
            files.makedirs(root, exist_ok=True)
            files.pipe_file(posixpath.join(root, BOOSTER_FILE), raw)
            # Written last, so that a folder with a card also has its booster.
            text = document.model_dump_json(indent=1) + "\n"
            files.pipe_file(posixpath.join(root, CARD_FILE), text.encode())
        except OSError as error:
            raise RunError(f"the model cannot be written to {folder}: {error}") from error

    @classmethod
    def load(cls, folder: str | Path, *, threads: int = 0) -> "Model":
        """Read a model that ``save`` wrote.

        Example:
            >>> model = Model.load("model")
            >>> model.probability(model.schema.encode(table))

        Args:
            folder: local path or fsspec URL.
            threads: number of threads for predictions; 0 = all.

        Raises:
            RunError: a file is missing or damaged, the two do not belong together, or another version of
                churn wrote them.
        """
        files, root = fsspec.core.url_to_fs(str(folder))
        try:
            text = files.cat_file(posixpath.join(root, CARD_FILE))
            raw = files.cat_file(posixpath.join(root, BOOSTER_FILE))
        except OSError as error:
            raise RunError(
                f"{folder} holds no complete model ({BOOSTER_FILE} and {CARD_FILE}): {error}; train again"
            ) from error
        try:
            document = _File.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise RunError(
                f"{folder}/{CARD_FILE} is damaged or of another version: {where}: {first['msg']}; train again"
            ) from error
        if hashlib.sha256(raw).hexdigest() != document.booster_sha256:
            raise RunError(
                f"{folder}/{BOOSTER_FILE} is damaged or belongs to another model: "
                f"its checksum is not the one in {CARD_FILE}; train again"
            )
        booster = xgb.Booster({"nthread": threads, "verbosity": 0})
        try:
            booster.load_model(bytearray(raw))
        except xgb.core.XGBoostError as error:
            raise RunError(f"{folder}/{BOOSTER_FILE} cannot be read by XGBoost: {error}") from error
        actual, expected = tuple(booster.feature_names or ()), document.card.features
        if actual != expected:
            different = sorted(set(actual) ^ set(expected)) or ["the same features in another order"]
            raise RunError(
                f"{folder}: booster and {CARD_FILE} differ in their features: {_some(different)}; train again"
            )
        return cls(booster, document.card)


def sigmoid(margin: NDArray[Any]) -> NDArray[np.float64]:
    """Return the probabilities of log-odds, in float64 and without overflow."""
    m = margin.astype(np.float64)
    small = np.exp(-np.abs(m))
    probabilities: NDArray[np.float64] = np.where(m >= 0, 1.0, small) / (1.0 + small)
    return probabilities
