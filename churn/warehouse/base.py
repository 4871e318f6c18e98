"""What the rest of the house may ask of a warehouse."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

import pyarrow as pa

Dialect = Literal["duckdb", "redshift", "postgres"]


class Session(Protocol):
    """Statements that succeed or fail together."""

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> int:
        """Run one statement in the warehouse's dialect; return the rows it changed (0 when unknown)."""

    def fetch(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """Run one query whose result is small."""

    def load_parquet(self, table: str, paths: Sequence[str], columns: Sequence[str]) -> int:
        """Append Parquet files to a table by column name; return the rows loaded."""


class Warehouse(Session, Protocol):
    """A place that runs SQL next to the data. Safe to use from several threads."""

    dialect: Dialect

    def columns(self, table: str) -> dict[str, str]:
        """Return column names and types of ``schema.table``; empty when it does not exist."""

    def stream(
        self, sql: str, parameters: Mapping[str, Any] | None = None, *, batch_rows: int
    ) -> AbstractContextManager[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
        """Run one query whose result is large: its schema and its batches, in order."""

    def transaction(self) -> AbstractContextManager[Session]:
        """Return a session that commits at the end of the block, or rolls all of it back."""

    def close(self) -> None:
        """Release every connection."""
