"""The model artefact: features and category maps, boosted trees, and a card that describes them.

On disk a model is a folder of two files, without pickles: ``booster.ubj`` (XGBoost's universal binary JSON)
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
# Rarer values are treated as missing: their churn rate is hardly known, so that placing them by it would
# write the labels of a few training rows into the feature.
MINIMUM_CATEGORY_ROWS = 20
SMOOTHING_ROWS = 20.0

Matrix = NDArray[np.float32]
_FLOAT = pa.float32()
_TO_FLOATS = pc.CastOptions.unsafe(_FLOAT)


@dataclass(frozen=True)
class FeatureSchema:
    """The features of a model, in order, and the values of those that are categories.

    A category enters the trees as one number: the position of its value among the values seen in training, in
    order of their churn rate. For a binary response the best split of a category is a cut in that order
    (Fisher, JASA 1958; Breiman et al., Classification and Regression Trees, 1984, section 4.2). See
    ``order_values``.

    Attributes:
        names: feature columns in the order of the model's matrix.
        categories: category feature -> values in order; a value's code is its position.
    """

    names: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def fit(cls, snapshots: pa.Table, churned: NDArray[Any]) -> "FeatureSchema":
        """Return the schema of training snapshots: every column that is not a key is a feature.

        Args:
            snapshots: training rows only; whatever is to be judged must not be among them.
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
        """Return the model's matrix of a table or batch; columns that the model does not know are ignored.

        Returns:
            (rows, features) float32, feature by feature in memory (``.T`` is C-contiguous), as columns come
            and as the SHAP kernel reads them. Nulls, and category values unseen in training, are NaN.

        Raises:
            RunError: a column is missing, is a category where a number is expected (or the reverse), or holds
                an infinite number.
        """
        found = set(table.column_names)
        missing = [name for name in self.names if name not in found]
        if missing:
            raise RunError(
                f"the table lacks {len(missing)} feature(s) of the model: {_some(missing)}; "
                "score snapshots must come from the same SQL steps as the training snapshots"
            )
        by_feature = np.empty((len(self.names), table.num_rows), dtype=np.float32)
        for row, name in zip(by_feature, self.names, strict=True):
            row[:] = self._column(table, name)
        # One pass over all columns: one for each would cost small tables more than reading them.
        if np.isinf(by_feature).any():
            for row, name in zip(by_feature, self.names, strict=True):
                _refuse_infinite(row, name)
        return by_feature.T

    def _column(self, table: pa.Table | pa.RecordBatch, name: str) -> Matrix:
        column = table[name]
        if name in self.categories:
            # A column of nulls only may have lost its type.
            if not (is_category(column.type) or pa.types.is_null(column.type)):
                raise RunError(f"feature {name!r} is a category in the model, but {column.type} in the table")
            known = pa.array(self.categories[name], pa.string())
            return _floats(pc.index_in(column.cast(pa.string()), value_set=known))
        return _numbers(column, name)


def is_category(type_: pa.DataType) -> bool:
    """Return whether columns of this Arrow type are categories: strings, plain or dictionary-encoded."""
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    return bool(
        pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_)
    )


def is_numeric(type_: pa.DataType) -> bool:
    """Return whether columns of this Arrow type are numbers: integers, floats, decimals, booleans, nulls."""
    kinds = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_decimal,
        pa.types.is_boolean,
        pa.types.is_null,
    )
    return any(kind(type_) for kind in kinds)


def number_values(column: pa.ChunkedArray | pa.Array, name: str) -> Matrix:
    """Return a numeric column as (rows,) float32, null as NaN.

    Raises:
        RunError: it is not numeric, or holds an infinite number, which trees cannot split on.
    """
    values = _numbers(column, name)
    _refuse_infinite(values, name)
    return values


def _numbers(column: pa.ChunkedArray | pa.Array, name: str) -> Matrix:
    if column.type == _FLOAT:  # the most: a cast to what it is takes longer than to read a small column
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
    """Return values in order of churn rate, smoothed by 20 rows' worth of the overall rate; ties by name.

    Values with fewer than 20 rows are left out, that is, they count as missing.

    Args:
        values: distinct values.
        codes: (rows,) position of each row's value, -1 = null; of the rows that the model is fitted on only,
            as the order knows their labels.
        churned: (rows,) 0 or 1.
        overall: churn rate of those rows.
    """
    seen = codes >= 0
    rows = np.bincount(codes[seen], minlength=len(values))
    churners = np.bincount(codes[seen], weights=churned[seen], minlength=len(values))
    rates = (churners + SMOOTHING_ROWS * overall) / (rows + SMOOTHING_ROWS)
    kept = [code for code in range(len(values)) if rows[code] >= MINIMUM_CATEGORY_ROWS]
    return tuple(values[code] for code in sorted(kept, key=lambda code: (rates[code], values[code])))


def _floats(column: pa.ChunkedArray | pa.Array) -> Matrix:
    values: Matrix = column.cast(options=_TO_FLOATS).to_numpy(zero_copy_only=False)
    return values


def _some(names: Sequence[str], shown: int = 10) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class DateSummary(_Frozen):
    """One as-of date's snapshots, and what they served for before the final refit on everything.

    ``gap`` dates lie within the label delay before the holdout: their label was not known on its as-of date.
    """

    as_of: date
    rows: int
    churn_rate: float
    role: Literal["training", "validation", "gap", "holdout"]


class ModelCard(_Frozen):
    """What a model is, what it was made from, and how good it is.

    Attributes:
        product: the product whose churn it predicts.
        as_of: the as-of date of the run that trained it; all labels were known then.
        model_version: product, date and a hash of booster and card: equal versions are equal models.
        features: feature columns in order.
        categories: category feature -> values in the order of their codes.
        params: XGBoost parameters.
        trees: number of trees.
        training_dates: as-of dates that the shipped booster was fitted on (holdout included).
        dates: rows and churn rate by as-of date, and what each date served for.
        rows: snapshots that the shipped booster was fitted on.
        churn_rate: their churn rate.
        judged_on: ``later_dates``: the holdout is later than anything the judged model knew. ``other_users``:
            there were too few dates, so users were held out by a hash of their id.
        metrics: the holdout evaluation (``Evaluation.to_dict``) of the same model fitted without the holdout
            and without anything whose label was not known on the holdout's as-of date.
        threshold: probability from which a user is called a churner: best F1 on the holdout.
        seed: seed of row and column sampling.
        data_fingerprint: hash of the training snapshots, whatever their order.
        code_version: version of the code that trained it.
        created_at: when.
        notes: what was done differently from the usual scheme, in sentences.
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
    """A fitted model: everything that scoring needs.

    Attributes:
        booster: the trees; ``booster.feature_names`` are the card's features.
        card: what it is.
    """

    booster: xgb.Booster
    card: ModelCard

    @property
    def schema(self) -> FeatureSchema:
        """How tables become matrices."""
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
        """Write the model's two files into a folder, local or an fsspec URL; it is made if need be.

        Raises:
            RunError: the folder cannot be written.
        """
        raw = bytes(self.booster.save_raw("ubj"))
        described = _File(format=FORMAT, booster_sha256=hashlib.sha256(raw).hexdigest(), card=self.card)
        files, root = fsspec.core.url_to_fs(str(folder))
        try:
            files.makedirs(root, exist_ok=True)
            files.pipe_file(posixpath.join(root, BOOSTER_FILE), raw)
            # Last, so that a folder with a card has its booster.
            text = described.model_dump_json(indent=1) + "\n"
            files.pipe_file(posixpath.join(root, CARD_FILE), text.encode())
        except OSError as error:
            raise RunError(f"the model cannot be written to {folder}: {error}") from error

    @classmethod
    def load(cls, folder: str | Path, *, threads: int = 0) -> "Model":
        """Read a model that ``save`` wrote.

        Args:
            folder: local path or fsspec URL.
            threads: threads that predictions may use; 0 = all.

        Raises:
            RunError: a file is missing or damaged, the two do not belong together, or a newer version of this
                program wrote them.
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
            described = _File.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise RunError(
                f"{folder}/{CARD_FILE} is damaged or of another version: {where}: {first['msg']}; train again"
            ) from error
        if hashlib.sha256(raw).hexdigest() != described.booster_sha256:
            raise RunError(
                f"{folder}/{BOOSTER_FILE} is damaged or belongs to another model: "
                f"its checksum is not the one in {CARD_FILE}; train again"
            )
        booster = xgb.Booster({"nthread": threads, "verbosity": 0})
        try:
            booster.load_model(bytearray(raw))
        except xgb.core.XGBoostError as error:
            raise RunError(f"{folder}/{BOOSTER_FILE} cannot be read by XGBoost: {error}") from error
        found, expected = tuple(booster.feature_names or ()), described.card.features
        if found != expected:
            different = sorted(set(found) ^ set(expected)) or ["the same features in another order"]
            raise RunError(
                f"{folder}: booster and {CARD_FILE} differ in their features: {_some(different)}; train again"
            )
        return cls(booster, described.card)


def sigmoid(margin: NDArray[Any]) -> NDArray[np.float64]:
    """Return probabilities of log-odds, computed in float64 without overflow."""
    m = margin.astype(np.float64)
    small = np.exp(-np.abs(m))
    probabilities: NDArray[np.float64] = np.where(m >= 0, 1.0, small) / (1.0 + small)
    return probabilities
