"""Statements on one DuckDB cursor, and how a full disk is recognised."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from glob import escape
from typing import cast

import duckdb
import pyarrow as pa

from churn.core.errors import RunError
from churn.core.names import identifier
from churn.warehouse.base import SerialisationError, Session, Values
from churn.warehouse.quoting import qualified

DISK_ADVICE = ". Free some space or choose another --out, and run again"
_DISK_FAULTS = ("No space left", "quota exceeded", "File too large", "Read-only file system")


class DuckDBSession(Session):
    """Statements on one DuckDB cursor."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Use a cursor that nobody else uses."""
        self._cursor = cursor

    @contextmanager
    def refusals(self, sql: str) -> Iterator[None]:
        """Raise the engine's errors in the block as RunError, with the statement's first line.

        DuckDB has no locks. It refuses the later of two transactions that change the same row or table, or
        insert the same key.
        """
        try:
            yield
        # While a result is read in batches, Arrow hands the engine's errors on as errors of its own.
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            first = next((line for line in sql.splitlines() if line.strip()), "")
            detail = str(error).split("\n\nLINE", 1)[0]
            advice = DISK_ADVICE if is_disk_fault(error) else ""
            repeated_key = isinstance(error, duckdb.ConstraintException) and "Duplicate key" in detail
            conflict = repeated_key or isinstance(error, duckdb.TransactionException)
            raise (SerialisationError if conflict else RunError)(
                f"the warehouse refused a statement ({first.strip()[:100]}): {detail}{advice}"
            ) from error

    def execute(self, sql: str, parameters: Values | None = None) -> int:
        """Run one statement; return the rows it changed."""
        with self.refusals(sql):
            result = self.query(sql, parameters).fetchone()
        return int(result[0]) if result and isinstance(result[0], int) else 0

    def query(self, sql: str, parameters: Values | None = None) -> duckdb.DuckDBPyConnection:
        """Start one query."""
        # Not `sql(..., params=...)`: a relation with parameters takes its rows through Python, one by one.
        return self._cursor.execute(sql, dict(parameters) if parameters else None)

    def fetch(self, sql: str, parameters: Values | None = None) -> pa.Table:
        """Run one query whose result is small."""
        with self.refusals(sql):
            return cast(pa.Table, self.query(sql, parameters).to_arrow_table())

    def load_parquet(
        self, table: str, paths: Sequence[str], columns: Sequence[str], *, scratch: str | None = None
    ) -> int:
        """Append Parquet files to a table by column name."""
        listed = ", ".join(identifier(column) for column in columns)
        # Without hive_partitioning = false a folder named product=x would add a column.
        sql = (
            f"insert into {qualified(table)} ({listed})"
            f" select {listed} from read_parquet($paths, hive_partitioning = false)"
        )
        return self.execute(sql, {"paths": [escape(path) for path in paths]})


def is_disk_fault(error: BaseException) -> bool:
    """Return whether an error means that a disk is full or cannot be written."""
    return isinstance(error, (duckdb.Error, OSError)) and any(text in str(error) for text in _DISK_FAULTS)
