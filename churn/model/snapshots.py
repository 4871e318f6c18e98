"""Where training snapshots come from: a table in memory, or files that are read one at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

_BATCH_ROWS = 16_384
_READ_AHEAD = 1 << 18  # bytes per column


class Snapshots(Protocol):
    """Labelled snapshots in parts: user_id, as_of_date, churned (0 or 1) and feature columns."""

    @property
    def schema(self) -> pa.Schema:
        """Columns and their types."""
        ...

    def read(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield some columns of all rows, a part at a time, always in the same order."""
        ...


@dataclass(frozen=True)
class SnapshotTable:
    """Snapshots in memory."""

    table: pa.Table

    @property
    def schema(self) -> pa.Schema:
        """Columns and their types."""
        return self.table.schema

    def read(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield some columns of the table."""
        yield self.table.select(list(columns))


@dataclass(frozen=True)
class SnapshotFiles:
    """Snapshots in Parquet files of the same columns; paths or fsspec URLs."""

    paths: tuple[str, ...]

    @cached_property
    def schema(self) -> pa.Schema:
        """Columns and their types."""
        fs, path = fsspec.core.url_to_fs(self.paths[0])
        with fs.open(path, "rb") as file:
            return pq.read_schema(file)

    def read(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield some columns of some rows of each file at a time."""
        for address in self.paths:
            fs, path = fsspec.core.url_to_fs(address)
            with fs.open(path, "rb") as opened:
                file = pq.ParquetFile(opened, pre_buffer=False, buffer_size=_READ_AHEAD)
                for batch in file.iter_batches(_BATCH_ROWS, columns=list(columns), use_threads=False):
                    yield pa.Table.from_batches([batch])
