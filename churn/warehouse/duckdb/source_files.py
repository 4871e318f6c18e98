"""Checks a source table's Parquet files before the warehouse reads them."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from churn.core.errors import SourceError


def check_files(folder: Path) -> None:
    """Check that every file of a table can be read and has the columns of the first one.

    Only the files' footers are read.

    Raises:
        SourceError: lists each file that is damaged or differs.
    """
    first: dict[str, str] = {}
    faults: list[str] = []
    for path in sorted(folder.glob("*.parquet")):
        try:
            columns = {field.name: _kind(field.type) for field in pq.read_schema(path)}
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            faults.append(f"{path.name} cannot be read as Parquet ({reason}): make it anew")
            continue
        first = first or columns
        differing = [
            f"{name} is {columns.get(name, 'missing')} (in the first file: {first.get(name, 'missing')})"
            for name in {**first, **columns}
            if columns.get(name) != first.get(name)
        ]
        if differing:
            faults.append(f"{path.name} differs from the first file: {', '.join(differing)}")
    if faults:
        raise SourceError(f"{folder} cannot be used:\n" + "\n".join(f"  - {fault}" for fault in faults))


def _kind(type_: pa.DataType) -> str:
    """Return a type's kind, whatever the width of its numbers or the storage of its text."""
    if pa.types.is_dictionary(type_):
        return _kind(type_.value_type)
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return "text"
    if pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return "number"
    if pa.types.is_timestamp(type_):
        return f"timestamp with time zone {type_.tz}" if type_.tz else "timestamp"
    return str(type_)
