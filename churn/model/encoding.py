"""Encode snapshots as the matrix that every learner reads: numbers, and categories as codes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from churn.core.errors import RunError

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
                f"the table lacks {len(missing)} feature(s) of the model: {some(missing)}; "
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


def some(names: Sequence[str], shown: int = 10) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def sigmoid(margin: NDArray[Any]) -> NDArray[np.float64]:
    """Return the probabilities of log-odds, in float64 and without overflow."""
    m = margin.astype(np.float64)
    small = np.exp(-np.abs(m))
    probabilities: NDArray[np.float64] = np.where(m >= 0, 1.0, small) / (1.0 + small)
    return probabilities
