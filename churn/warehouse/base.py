"""The protocol of a warehouse, and its errors."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

import pyarrow as pa

from churn.core.errors import RunError

Dialect = Literal["duckdb", "redshift", "postgres"]
Values = Mapping[str, Any]  # bound parameters, or what a template may use, by name


class SerialisationError(RunError):
    """Two transactions conflicted: nothing was changed, and the same may succeed when run again."""


class InUseError(RunError):
    """The warehouse's file is in use by another process; nothing was changed."""


class LostConnectionError(RunError):
    """The connection broke while the server worked.

    Attributes:
        unchanged: whether nothing was changed, because no commit had been sent. Otherwise the transaction
            may have been committed.
        backend: id of the server's process, which may still be working.
    """

    def __init__(self, message: str, unchanged: bool = False, backend: int | None = None) -> None:
        """Store the outcome with the message."""
        super().__init__(message)
        self.unchanged = unchanged
        self.backend = backend


class Statements(Protocol):
    """Runs statements: a warehouse (one transaction each) or a session."""

    def execute(self, sql: str, parameters: Values | None = None) -> int:
        """Run one statement in the warehouse's dialect; return the rows it changed (0 when unknown)."""

    def fetch(self, sql: str, parameters: Values | None = None) -> pa.Table:
        """Run one query whose result is small."""

    def load_parquet(
        self, table: str, paths: Sequence[str], columns: Sequence[str], *, scratch: str | None = None
    ) -> int:
        """Append Parquet files to a table by column name; return the rows loaded.

        Args:
            scratch: folder for a temporary file of the warehouse; by default the folder of the files.
        """


class Session(Statements, Protocol):
    """Statements that succeed or fail together."""

    def lock(self, table: str) -> None:
        """Lock the table against other writers until the transaction ends; DuckDB has no locks."""
        return


class Warehouse(Statements, Protocol):
    """A place that runs SQL next to the data. Safe to use from several threads.

    Each statement is a transaction of its own, except within ``transaction``. An engine is a subclass in a
    package beside ``duckdb`` and ``redshift``. Code outside ``churn.warehouse`` asks what an engine can do,
    never which one it is.

    Attributes:
        dialect: the SQL that it takes, for ``templates.render``.
        exclusive: whether this process alone uses it: no other run can be at work in it, and published tables
            migrate by themselves.
        reads_remote_files: whether ``load_parquet`` reads from S3.
        unloads_in_order: whether ``unload`` keeps the order of the query.
        view_suffix: what ``create view`` ends with, so that a view may outlive its tables.
    """

    dialect: Dialect
    exclusive: bool
    reads_remote_files: bool
    unloads_in_order: bool
    view_suffix: str

    def analyze(self, *tables: str) -> None:
        """Renew the planner's statistics of tables that rows were inserted into, if it needs that."""
        return

    def rewrite(self) -> None:
        """Write the database file anew, so that no deleted row is left in its bytes; do nothing on a server.

        No transaction may be open.

        Raises:
            RunError: there is too little space, or the disk refused; the file is as it was.
        """
        return

    def rewrite_bytes(self) -> int:
        """Return the free bytes that ``rewrite`` needs beside the file; 0 on a server."""
        return 0

    def view_on_files(self, name: str, paths: Sequence[str], columns: Sequence[str]) -> str | None:
        """Return the statement that makes a view on Parquet files; None where they must be loaded."""
        return None

    def grants(self, schema: str, tables: Sequence[str], group: str) -> list[str]:
        """Return the statements that let a group read tables; none where there are no groups."""
        return []

    def columns(self, table: str) -> dict[str, str]:
        """Return column names and types of ``schema.table``; empty when it does not exist."""

    def row_count(self, table: str) -> int:
        """Return how many rows a source table has, without reading them if possible."""

    def stamps(self, table: str) -> dict[str, str]:
        """Return a stamp of each file of a source table that changes with the file; empty without files."""
        return {}

    def stream(
        self, sql: str, parameters: Values | None = None, *, batch_rows: int
    ) -> AbstractContextManager[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
        """Run one query whose result is large: its schema and its batches, in order."""

    def unload(
        self, sql: str, parameters: Values | None, folder: str, *, schema: pa.Schema, rows_per_file: int
    ) -> list[tuple[str, int]]:
        """Write a query's rows to Parquet files.

        Args:
            sql: the query, in the warehouse's dialect, whose columns have the schema's names and order.
            folder: path or URL of a folder that no one else writes to. Only the returned files count.
            schema: what the files hold. A warehouse that writes the files itself may write int8 as int16.
            rows_per_file: the most rows of a file; about so many where the warehouse writes the files.

        Returns:
            Each file's path or URL with its rows (at least one).
        """

    def transaction(self, *, computes: bool = False) -> AbstractContextManager[Session]:
        """Return a session that commits at the end of the block, or rolls all of it back.

        Args:
            computes: whether its statements need more memory than moving rows does.
        """

    def scratch(self, schema: str) -> AbstractContextManager[str]:
        """Return a schema for large tables that are only needed within the block.

        Args:
            schema: a run's schema, which a warehouse may return; the block must drop its tables.
        """

    def close(self) -> None:
        """Release every connection."""
