"""Converts rows of a PostgreSQL driver to Arrow."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from churn.core.errors import RunError

# Type codes of PostgreSQL's protocol, as both drivers return them.
_TYPES = {
    16: pa.bool_(),
    20: pa.int64(),
    21: pa.int16(),
    23: pa.int32(),
    26: pa.int64(),
    700: pa.float32(),
    701: pa.float64(),
    1082: pa.date32(),
    1114: pa.timestamp("us"),
    1184: pa.timestamp("us", "UTC"),
}
_NUMERIC = 1700
_WHOLE = pa.decimal128(38, 0)
_TEXTS = frozenset({18, 19, 25, 705, 1042, 1043})


def table_of(description: Sequence[Sequence[Any]], rows: Sequence[Sequence[Any]]) -> pa.Table:
    """Return all rows of a result with the cursor's description; decimals are as precise as they need."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(description)
    arrays = [
        pa.array(values, column_type(column) or (None if any(v is not None for v in values) else _WHOLE))
        for column, values in zip(description, columns, strict=True)
    ]
    return pa.Table.from_arrays(arrays, names=[column[0] for column in description])


def schema_of(description: Sequence[Sequence[Any]]) -> pa.Schema:
    """Return the schema of a result that comes in batches; decimals of unknown scale become float64."""
    return pa.schema([pa.field(column[0], column_type(column) or pa.float64()) for column in description])


def batch_of(schema: pa.Schema, rows: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    """Return rows as one batch of a schema."""
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [
        pa.array(map(_float, values) if pa.types.is_float64(field.type) else values, field.type)
        for field, values in zip(schema, columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def column_type(column: Sequence[Any]) -> pa.DataType | None:
    """Return a column's type, or None for a decimal whose scale the driver does not return."""
    code = int(column[1])
    if code == _NUMERIC:
        precision, scale = column[4], column[5]
        known = precision is not None and scale is not None and 0 < precision <= _WHOLE.precision
        return pa.decimal128(precision, scale) if known else None
    if code in _TYPES:
        return _TYPES[code]
    if code in _TEXTS:
        return pa.string()
    raise RunError(f"column {column[0]} has a type that is not read here (code {code}): cast it in the query")
