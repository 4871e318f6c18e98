"""The reasons of a prediction: its largest contributions, as a table."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from churn.core import datasets
from churn.explain.loops import top_k

REASONS = 5


class TopReasons(NamedTuple):
    """The contributions of each row with the largest absolute value, largest first; ties by position.

    Attributes:
        features: positions of their features, int32 (k, rows); k is at most the number of features.
        contributions: their contributions, float32 (k, rows).
    """

    features: NDArray[np.int32]
    contributions: NDArray[np.float32]


def top_reasons(phi: NDArray[np.float32], k: int = REASONS) -> TopReasons:
    """Return the ``k`` contributions of each row with the largest absolute value.

    Args:
        phi: contributions, (rows, features), without NaN; fastest if column-major in memory.
        k: number of reasons.
    """
    by_feature = np.ascontiguousarray(phi.T, np.float32)
    features, rows = by_feature.shape
    reasons = TopReasons(
        np.empty((min(k, features), rows), np.int32), np.empty((min(k, features), rows), np.float32)
    )
    top_k(by_feature, *reasons)
    return reasons


def reason_table(
    users: pa.Array,
    columns: pa.RecordBatch | Mapping[str, pa.Array],
    features: Sequence[str],
    reasons: TopReasons,
) -> pa.Table:
    """Return each user's reasons with their values, largest first: ``datasets.REASONS.schema``.

    Args:
        users: user ids, string (rows,).
        columns: the features' values before encoding, by name.
        features: names of the model's features, in order.
        reasons: the result of ``top_reasons``.
    """
    k, rows = reasons.features.shape
    flat = reasons.features.T.ravel()
    # Values are converted one feature at a time, then put back into the users' order.
    by_feature = np.argsort(flat.astype(np.uint16), kind="stable")
    starts = np.searchsorted(flat[by_feature], np.arange(len(features) + 1))
    values = [
        _texts(columns[name].take(pa.array(by_feature[start:end] // k)))
        for name, start, end in zip(features, starts[:-1], starts[1:], strict=True)
        if start < end
    ]
    original_order = np.empty_like(by_feature)
    original_order[by_feature] = np.arange(len(by_feature))
    return pa.Table.from_arrays(
        [
            users.take(pa.array(np.repeat(np.arange(rows), k))),
            pa.array(np.tile(np.arange(1, k + 1, dtype=np.int16), rows)),
            pa.array(list(features), pa.string()).take(pa.array(flat)),
            pa.concat_arrays(values).take(pa.array(original_order)) if values else pa.array([], pa.string()),
            pa.array(reasons.contributions.T.ravel()),
            pa.nulls(rows * k, pa.string()),
        ],
        schema=datasets.REASONS.schema,
    )


def _texts(values: pa.Array) -> pa.Array:
    """Return values as text; floats in the shortest form of their float32."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), None, values).cast(pa.float32(), safe=False)
    return values.cast(pa.string())
