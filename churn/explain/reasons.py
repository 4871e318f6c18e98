"""The reasons of a prediction: its largest contributions, as a table and in words."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

MOST_REASONS = 5
_ROWS_AT_ONCE = 4096  # keeps the sort keys within the processor's cache

REASON_SCHEMA = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("rank", pa.int8(), nullable=False),
        pa.field("feature", pa.string(), nullable=False),
        pa.field("value", pa.string()),
        pa.field("contribution", pa.float32(), nullable=False),
    ]
)


class Described(Protocol):
    """A catalogue entry: what a feature means, fit to follow its value, and what it is measured in."""

    @property
    def meaning(self) -> str:
        """One line in words: "active days in the last observed week"."""

    @property
    def unit(self) -> str:
        """Unit: "days", "share", "flag", "category"."""


def top_reasons(
    phi: NDArray[np.float32], k: int = MOST_REASONS
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the ``k`` largest contributions of each row by absolute value, largest first.

    Of two equally large ones, the earlier feature comes first.

    Args:
        phi: contributions, (rows, features), without NaN.
        k: how many; all features where there are fewer.

    Returns:
        Feature indices and their contributions, both (rows, min(k, features)).
    """
    rows, features = phi.shape
    k = min(k, features)
    indices = np.empty((rows, k), np.int32)
    # One unsigned integer orders by size, then by position: the bits of a positive float grow with its value.
    order = np.arange(features, 0, -1, dtype=np.uint64)
    for start in range(0, rows, _ROWS_AT_ONCE):
        block = np.abs(np.ascontiguousarray(phi[start : start + _ROWS_AT_ONCE], np.float32))
        keys = block.view(np.uint32).astype(np.uint64) << np.uint64(32) | order
        keys.partition(features - k, axis=1)
        largest = np.sort(keys[:, features - k :], axis=1)[:, ::-1]
        indices[start : start + len(block)] = features - (largest & np.uint64(0xFFFFFFFF)).astype(np.int64)
    return indices, np.take_along_axis(phi, indices, axis=1)


def reason_table(
    users: pa.Array, columns: Mapping[str, pa.Array], features: Sequence[str], phi: NDArray[np.float32]
) -> pa.Table:
    """Return the reasons of each user with the values behind them, ``REASON_SCHEMA``, largest first.

    Args:
        users: user ids, string (rows,).
        columns: the features' values as they were read, before encoding, by name.
        features: the model's features, in the order of ``phi``'s columns.
        phi: contributions, (rows, features).
    """
    indices, largest = top_reasons(phi)
    rows, k = indices.shape
    flat = indices.ravel()
    # Values are cast feature by feature, whole columns at a time, then brought back into the users' order.
    by_feature = np.argsort(flat, kind="stable")
    used, starts = np.unique(flat[by_feature], return_index=True)
    values = [
        _texts(columns[features[feature]].take(pa.array(positions // k)))
        for feature, positions in zip(used, np.split(by_feature, starts[1:]), strict=True)
    ]
    back = np.empty_like(by_feature)
    back[by_feature] = np.arange(len(by_feature))
    return pa.Table.from_arrays(
        [
            users.take(pa.array(np.repeat(np.arange(rows), k))),
            pa.array(np.tile(np.arange(1, k + 1, dtype=np.int8), rows)),
            pa.array(list(features), pa.string()).take(pa.array(flat)),
            pa.concat_arrays(values).take(pa.array(back)) if values else pa.array([], pa.string()),
            pa.array(largest.ravel()),
        ],
        schema=REASON_SCHEMA,
    )


def _texts(values: pa.Array) -> pa.Array:
    """Return values as text: floats as the model sees them (float32, shortest), the rest as they are."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), None, values).cast(pa.float32(), safe=False)
    return values.cast(pa.string())


def in_words(reasons: Iterable[Mapping[str, object]], catalogue: Mapping[str, Described]) -> list[str]:
    """Return one line a reason: ``active days in the last observed week: 1 (raises the risk, +0.42)``.

    Args:
        reasons: rows of a reasons table: feature, value (text or None), contribution.
        catalogue: the features by name; one that is not in it goes by its name.
    """
    return [_line(reason, catalogue.get(str(reason["feature"]))) for reason in reasons]


def _line(reason: Mapping[str, object], feature: Described | None) -> str:
    contribution = float(str(reason["contribution"]))
    meaning = feature.meaning if feature else str(reason["feature"]).replace("_", " ")
    value = None if reason["value"] is None else str(reason["value"])
    effect = "raises" if contribution > 0 else "lowers" if contribution < 0 else "does not change"
    shown = _value(value, feature.unit if feature else "")
    return f"{meaning}: {shown} ({effect} the risk, {contribution:+.2f})"


def _value(value: str | None, unit: str) -> str:
    """Return a value as people write it: 3 significant digits, shares in per cent, flags as yes and no."""
    if value is None:
        return "unknown"
    try:
        number = float(value)
    except ValueError:
        return {"true": "yes", "false": "no"}.get(value, value)
    if unit == "category":
        return value
    if unit == "flag" and number in (0.0, 1.0):
        return "yes" if number else "no"
    if unit == "share":
        return f"{number:.0%}"
    if number.is_integer() or abs(number) >= 1000:
        return f"{number:,.0f}"
    return f"{number:.3g}"
