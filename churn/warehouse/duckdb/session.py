"""Statements on one DuckDB cursor."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import cast

import duckdb
import pyarrow as pa

from churn.core.errors import RunError
from churn.core.names import identifier
from churn.warehouse.base import SerialisationError, Session, Values
from churn.warehouse.duckdb.opening import DISK_ADVICE, damage_advice, is_disk_fault
from churn.warehouse.quoting import qualified


class DuckDBSession(Session):
    """Statements on one DuckDB cursor."""

    def __init__(
        self,
        cursor: duckdb.DuckDBPyConnection,
        database: Path | None,
        hold: Callable[[str], bool] | None = None,
    ) -> None:
        """Use a cursor that nobody else uses, on a database file or on one in memory.

        Args:
            cursor: the cursor.
            database: the file; None = in memory.
            hold: within a transaction, holds a table until its end against other transactions of this process
                that lock it too; returns whether it was not held before.
        """
        self._cursor, self._database, self._hold = cursor, database, hold

    def lock(self, table: str) -> None:
        """Wait for other transactions of this process that have locked the table.

        DuckDB has no locks, but only this process writes to its file. The transaction begins anew, so that it
        sees what the others have committed: lock before any other statement.
        """
        if self._hold is not None and self._hold(table):
            self.execute("rollback")
            self.execute("begin transaction")

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
            if self._database is not None and "Corrupt database file" in detail:
                damaged = f"{self._database} cannot be read: {damage_advice(self._database)}"
                raise RunError(f"{damaged}. DuckDB says: {detail.splitlines()[0]}") from error
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
