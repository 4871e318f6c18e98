"""Statements of one Redshift transaction, on one connection."""

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast
from uuid import uuid4

import fsspec.core
import pyarrow as pa
from sqlalchemy import Connection
from sqlalchemy.engine import CursorResult
from sqlalchemy.exc import SQLAlchemyError

from churn.core.errors import ChurnError, RunError
from churn.warehouse.base import Session, Values
from churn.warehouse.parquet import copy_manifest, differences, inspect_file
from churn.warehouse.quoting import bind, label_of, qualified
from churn.warehouse.redshift.arrow import batch_of, schema_of, table_of
from churn.warehouse.redshift.connect import PID, as_run_error
from churn.warehouse.redshift.interruptible import run_interruptible
from churn.warehouse.redshift.unload_copy import copy_statement, s3_url

if TYPE_CHECKING:
    from churn.warehouse.redshift.client import RedshiftWarehouse

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


class RedshiftSession(Session):
    """One connection within one transaction."""

    def __init__(self, warehouse: "RedshiftWarehouse", connection: Connection) -> None:
        """Use a connection that nobody else uses meanwhile."""
        self._warehouse = warehouse
        self._connection = connection
        self.backend: int | None = connection.info.get(PID)

    def execute(self, sql: str, parameters: Values | None = None) -> int:
        """Run one statement; return the rows it changed."""
        return self.run(label_of(sql), bind(sql, parameters), lambda result: max(0, result.rowcount))

    def fetch(self, sql: str, parameters: Values | None = None) -> pa.Table:
        """Run one query whose result is small."""
        return self.run(
            label_of(sql),
            bind(sql, parameters),
            lambda result: table_of(_description(result), result.fetchall()),
        )

    def fetch_part(self, rows: int, schema: pa.Schema | None) -> tuple[pa.Schema, pa.RecordBatch]:
        """Return the next rows of the cursor ``churn_rows``, and their schema, inferred if not given."""

        def read(result: CursorResult[Any]) -> tuple[pa.Schema, pa.RecordBatch]:
            known = schema or schema_of(_description(result))
            return known, batch_of(known, result.fetchall())

        return self.run("fetch rows", f"fetch forward {rows:d} from churn_rows", read)

    def load_parquet(
        self, table: str, paths: Sequence[str], columns: Sequence[str], *, scratch: str | None = None
    ) -> int:
        """Append Parquet files on S3 by COPY, which needs their columns in this order; return the rows."""
        if not paths:
            raise RunError(f"there are no files to load into {table}")
        files = inspect_file(s3_url(path) for path in paths)
        for facts in files:
            if facts.schema.names != list(columns):  # COPY goes by position
                fault = differences(facts.schema, pa.schema([(name, pa.null()) for name in columns]))[0]
                raise RunError(f"{facts.url} cannot be loaded into {table}: {fault}")
        manifest = f"{scratch or files[0].url.rpartition('/')[0]}/_copy-{uuid4().hex}.json"
        statement = copy_statement(table, columns, manifest, self._warehouse.settings.iam_role or "")
        fs, path = fsspec.core.url_to_fs(manifest)
        try:
            fs.pipe_file(path, copy_manifest(files))
            self.run(label_of(statement), statement, lambda _: None)
            loaded = int(self.fetch("select pg_last_copy_count() as loaded")["loaded"][0].as_py())
        except OSError as error:
            raise RunError(f"{manifest} cannot be written: {error}") from error
        finally:
            remove_files(fs, [path])
        expected = sum(facts.rows for facts in files)
        if loaded != expected:
            raise RunError(f"{loaded:,} rows were loaded into {table}, but the files have {expected:,}")
        return loaded

    def lock(self, table: str) -> None:
        """Lock the table until the transaction ends."""
        self.execute(f"lock table {qualified(table)}")

    def run(self, label: str, sql: str, read: Callable[[CursorResult[Any]], Result]) -> Result:
        """Run a statement without parameters and read its result; both can be interrupted.

        Raises:
            RunError: the warehouse refused, a transaction conflicted, or the connection was lost.
        """

        def work() -> Result:
            try:
                self._send(f"set query_group to 'churn: {label}'")
                return read(self._send(sql))
            except ChurnError:
                raise
            except pa.ArrowException as error:
                raise RunError(f"the result of a statement cannot be read ({label}): {error}") from error
            except Exception as error:  # drivers raise errors of any class when a connection breaks
                known = isinstance(error, SQLAlchemyError | OSError)
                raise self.translated(error, label) from (None if known else error)

        return run_interruptible(
            work,
            label=label,
            cancel=lambda: self._warehouse.cancel(self.backend),
            every=self._warehouse.progress_seconds,
        )

    def _send(self, sql: str) -> CursorResult[Any]:
        # Without parameters a driver leaves percent signs alone.
        return self._connection.exec_driver_sql(sql, execution_options={"no_parameters": True})

    def translated(self, error: Exception, label: str, *, committing: bool = False) -> RunError:
        """Return an error of the driver or the network as a RunError."""
        return as_run_error(
            error, label, self._warehouse.secrets, backend=self.backend, committing=committing
        )


def _description(result: CursorResult[Any]) -> Sequence[Sequence[Any]]:
    return cast(Sequence[Sequence[Any]], result.cursor.description if result.cursor else ())


def remove_files(fs: Any, paths: Sequence[str]) -> None:
    """Remove files; log a warning for each that cannot be removed."""
    for path in paths:
        try:
            fs.rm_file(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            logger.warning("%s is left: it cannot be removed (%s)", path, error)
