"""Build the tables of scores and contributions of a batch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from churn.config.explain import ContributionType
from churn.core.datasets import SCORE_REASONS, SCORES
from churn.explain.reasons import TopReasons

SHAP_SCHEMA_VERSION = 1


def score_table(columns: Mapping[str, pa.Array], constants: Mapping[str, Any]) -> pa.Table:
    """Return a batch of scores with the schema of ``datasets.SCORES``.

    Args:
        columns: the columns that differ between users.
        constants: one value for each other column.
    """
    rows, schema = len(columns["user_id"]), SCORES.schema
    arrays = [
        columns[field.name]
        if field.name in columns
        else pa.repeat(pa.scalar(constants[field.name], field.type), rows)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def score_reasons(features: Sequence[str], reasons: TopReasons) -> dict[str, pa.Array]:
    """Return the columns of each user's first three reasons.

    ``+name`` raises the risk, ``-name`` lowers it. A contribution of 0 gives null.
    """
    codes = pa.array([sign + name for name in features for sign in "+-"], pa.string())
    columns: dict[str, pa.Array] = {}
    for rank in range(SCORE_REASONS):
        if rank < len(reasons.features):
            feature, contribution = reasons.features[rank], reasons.contributions[rank]
            positions = pa.array(2 * feature + (contribution < 0), mask=contribution == 0)
            columns[f"reason_{rank + 1}"] = codes.take(positions)
        else:
            columns[f"reason_{rank + 1}"] = pa.nulls(reasons.features.shape[1], pa.string())
    return columns


def shap_schema(features: Sequence[str], metadata: Mapping[str, str], kept: ContributionType) -> pa.Schema:
    """Return the schema of contributions: the user id, and one column per feature."""
    type_ = pa.float16() if kept == "float16" else pa.float32()
    fields = [pa.field("user_id", pa.string(), nullable=False)]
    fields += [pa.field(name, type_, nullable=False) for name in features]
    return pa.schema(fields, {"schema_version": str(SHAP_SCHEMA_VERSION), **metadata})


def theme_table(
    users: pa.Array, phi: NDArray[np.float32], themes: Mapping[str, Sequence[int]], schema: pa.Schema
) -> pa.Table:
    """Return each user's contributions summed up by theme, in log-odds.

    Args:
        users: user ids, (rows,).
        phi: contributions in log-odds, (rows, columns), column-major.
        themes: the columns of each theme.
        schema: from ``shap_schema`` of the themes.
    """
    sums = [phi.T[list(columns)].sum(axis=0, dtype=np.float64) for columns in themes.values()]
    return pa.Table.from_arrays([users, *(pa.array(total, pa.float32()) for total in sums)], schema=schema)


def shap_table(users: pa.Array, phi: NDArray[np.float32], schema: pa.Schema) -> tuple[pa.Table, float]:
    """Return a batch of contributions and the largest rounding error, in log-odds.

    Args:
        users: user ids, (rows,).
        phi: contributions in log-odds, (rows, features), in column-major order: float32 is not copied.
        schema: from ``shap_schema``.
    """
    rows, rounding = len(phi), 0.0
    values: NDArray[Any] = phi.T.ravel()
    if len(schema) > 1 and schema.field(1).type == pa.float16():
        values = values.astype(np.float16)
        rounding = max(
            float(np.abs(half.astype(np.float32) - column).max(initial=0.0))
            for half, column in zip(values.reshape(phi.T.shape), phi.T, strict=True)
        )
    flat = pa.array(values)  # one array for all features: one per feature takes longer for a small batch
    columns = [flat.slice(index * rows, rows) for index in range(phi.shape[1])]
    return pa.Table.from_arrays([users, *columns], schema=schema), rounding
