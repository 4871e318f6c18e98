"""The columns of a run's scores and contributions, and the constant ones' values."""

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
    """Return a batch of scores, ``datasets.SCORES.schema``.

    Args:
        columns: what differs from user to user.
        constants: everything else: one value a column.
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
    """Return the columns of each user's first three reasons: ``+name`` raises the risk, ``-name`` lowers it.

    A feature without effect is no reason: null.
    """
    codes = pa.array([sign + name for name in features for sign in "+-"], pa.string())
    found: dict[str, pa.Array] = {}
    for rank in range(SCORE_REASONS):
        if rank < len(reasons.features):
            feature, contribution = reasons.features[rank], reasons.contributions[rank]
            positions = pa.array(2 * feature + (contribution < 0), mask=contribution == 0)
            found[f"reason_{rank + 1}"] = codes.take(positions)
        else:
            found[f"reason_{rank + 1}"] = pa.nulls(reasons.features.shape[1], pa.string())
    return found


def shap_schema(features: Sequence[str], metadata: Mapping[str, str], kept: ContributionType) -> pa.Schema:
    """Return the columns of contributions: the user's id, and one a feature."""
    type_ = pa.float16() if kept == "float16" else pa.float32()
    fields = [pa.field("user_id", pa.string(), nullable=False)]
    fields += [pa.field(name, type_, nullable=False) for name in features]
    return pa.schema(fields, {"schema_version": str(SHAP_SCHEMA_VERSION), **metadata})


def shap_table(users: pa.Array, phi: NDArray[np.float32], schema: pa.Schema) -> tuple[pa.Table, float]:
    """Return a batch of contributions, and the greatest error of rounding them, in log-odds.

    Args:
        users: user ids.
        phi: contributions, (rows, features), feature by feature in memory: no copy is made of float32.
        schema: what ``shap_schema`` returned.
    """
    rows, rounding = len(phi), 0.0
    values: NDArray[Any] = phi.T.ravel()
    if len(schema) > 1 and schema.field(1).type == pa.float16():
        values = values.astype(np.float16)
        rounding = max(
            float(np.abs(half.astype(np.float32) - column).max(initial=0.0))
            for half, column in zip(values.reshape(phi.T.shape), phi.T, strict=True)
        )
    flat = pa.array(values)  # one for all features: one for each takes longer than a small batch
    columns = [flat.slice(index * rows, rows) for index in range(phi.shape[1])]
    return pa.Table.from_arrays([users, *columns], schema=schema), rounding
