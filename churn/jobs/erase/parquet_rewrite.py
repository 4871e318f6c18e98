"""Copy a Parquet file without some rows; columns, metadata, row groups and encodings stay the same."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_DICTIONARIES = {"PLAIN_DICTIONARY", "RLE_DICTIONARY"}


def count_rows_of(source: Any, column: str, values: pa.Array) -> int:
    """Return how many rows of a Parquet file have one of ``values`` in ``column``."""
    with pq.ParquetFile(source, pre_buffer=False) as file:
        groups = range(file.num_row_groups)
        found = (_is_in(file.read_row_group(index, columns=[column]), column, values) for index in groups)
        return sum(int(pc.sum(mask).as_py() or 0) for mask in found)


def without_rows_of(source: Any, target: Any, column: str, values: pa.Array) -> int:
    """Copy a Parquet file without the rows that have one of ``values`` in ``column``.

    It reads one row group at a time, and leaves out one that loses all its rows. A null never matches. Source
    and target are open files.

    Returns:
        The number of rows written.
    """
    written = 0
    with (
        pq.ParquetFile(source, pre_buffer=False) as file,
        pq.ParquetWriter(target, file.schema_arrow, **_written_as(file.metadata)) as writer,
    ):
        for index in range(file.num_row_groups):
            group = file.read_row_group(index)
            kept = _without_unused_words(group.filter(pc.invert(_is_in(group, column, values))))
            if kept.num_rows:
                writer.write_table(kept, row_group_size=kept.num_rows)
            written += kept.num_rows
    return written


def _without_unused_words(table: pa.Table) -> pa.Table:
    """Return the table with dictionaries of only the values that its rows have: a filter keeps all words."""
    for index, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            plain = table.column(index).cast(field.type.value_type)
            table = table.set_column(index, field, plain.dictionary_encode().cast(field.type))
    return table


def _is_in(table: pa.Table, column: str, values: pa.Array) -> pa.ChunkedArray:
    return pc.is_in(table[column].cast(pa.string()), value_set=values)


def _written_as(metadata: pq.FileMetaData) -> dict[str, Any]:
    """Return the options a file was written with, as its first row group shows them."""
    options: dict[str, Any] = {"version": metadata.format_version}
    if not metadata.num_row_groups:
        return options
    group = metadata.row_group(0)
    chunks = [group.column(index) for index in range(group.num_columns)]
    codecs = {chunk.path_in_schema: chunk.compression for chunk in chunks}
    return options | {
        "compression": {name: "NONE" if codec == "UNCOMPRESSED" else codec for name, codec in codecs.items()},
        # The file does not record the level; this program writes with level 1.
        "compression_level": {name: 1 for name, codec in codecs.items() if codec == "ZSTD"} or None,
        "use_dictionary": [c.path_in_schema for c in chunks if _DICTIONARIES & set(c.encodings)] or False,
        "write_statistics": [c.path_in_schema for c in chunks if c.is_stats_set] or False,
    }
