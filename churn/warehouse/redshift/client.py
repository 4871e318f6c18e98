"""The Redshift warehouse: statements that survive lost connections, UNLOAD and COPY through S3.

Every statement is a transaction whose commit is sent separately. If the connection breaks before the commit,
nothing was changed, and the statement is run again; a break during the commit is an error. UNLOAD writes
outside transactions: after a break, its manifest, which is written last, shows whether it finished.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, TypeVar, cast
from uuid import uuid4

import fsspec.core
import pyarrow as pa
from sqlalchemy import Connection, Engine
from tenacity import RetryCallState, RetryError, retry_if_exception, retry_if_result

from churn.config.warehouse import WarehouseSettings
from churn.core.errors import RunError
from churn.core.names import identifier
from churn.core.redaction import mask_secrets
from churn.warehouse.base import Dialect, LostConnectionError, SerialisationError, Values, Warehouse
from churn.warehouse.parquet import checked_files, read_manifest
from churn.warehouse.quoting import bind, label_of, qualified
from churn.warehouse.redshift.connect import connect, make_engine, pause, retrying
from churn.warehouse.redshift.session import RedshiftSession, remove_files
from churn.warehouse.redshift.unload_copy import LARGEST_FILE, SMALLEST_FILE, unload_statement
from churn.warehouse.retries import error_of

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
_TEXT_BYTES = 24
_LONGEST_FETCH = 1_000  # a cluster of one node refuses more
_LONGEST_LOOK = 15.0  # seconds between checks for a manifest


def _width(type_: pa.DataType) -> int:
    """Return about how many bytes a value takes in a file."""
    return _TEXT_BYTES if pa.types.is_string(type_) else max(1, type_.bit_width // 8)


class RedshiftWarehouse(Warehouse):
    """A Redshift cluster or workgroup."""

    dialect: Dialect = "redshift"
    exclusive = False
    reads_remote_files = True
    unloads_in_order = False
    view_suffix = " with no schema binding"

    def __init__(self, settings: WarehouseSettings, *, progress_seconds: float = 60.0) -> None:
        """Connect to nothing yet; a long statement logs its progress at this interval."""
        self.settings = settings
        self._once = settings.model_copy(update={"retries": 0})
        self.progress_seconds = progress_seconds
        self.secrets: set[str] = set()  # passwords, which no message may show
        self.engine: Engine = make_engine(settings, self.secrets)

    def execute(self, sql: str, parameters: Values | None = None) -> int:
        """Run one statement; return the rows it changed."""
        return self._until_done(lambda session: session.execute(sql, parameters))

    def fetch(self, sql: str, parameters: Values | None = None) -> pa.Table:
        """Run one query whose result is small."""
        return self._until_done(lambda session: session.fetch(sql, parameters), reading=True)

    def load_parquet(
        self, table: str, paths: Sequence[str], columns: Sequence[str], *, scratch: str | None = None
    ) -> int:
        """Append Parquet files on S3; return the rows loaded."""
        return self._until_done(lambda session: session.load_parquet(table, paths, columns, scratch=scratch))

    def analyze(self, *tables: str) -> None:
        """Renew the planner's statistics; Redshift skips a table with few changed rows."""
        for table in tables:
            self.execute(f"analyze {table}")

    def grants(self, schema: str, tables: Sequence[str], group: str) -> list[str]:
        """Return the statements that let a group read tables."""
        grantee = f'group "{identifier(group)}"'
        return [
            f"grant usage on schema {schema} to {grantee}",
            *(f"grant select on table {table} to {grantee}" for table in tables),
        ]

    def columns(self, table: str) -> dict[str, str]:
        """Return column names and types of ``schema.table``."""
        schema, name = qualified(table).split(".")
        # Unlike information_schema, svv_columns has external tables and late-binding views.
        columns = self.fetch(
            "select column_name, data_type from svv_columns"
            " where table_schema = %(schema)s and table_name = %(name)s order by ordinal_position",
            {"schema": schema, "name": name},
        )
        return dict(zip(columns["column_name"].to_pylist(), columns["data_type"].to_pylist(), strict=True))

    def row_count(self, table: str) -> int:
        """Return how many rows a table has; Redshift counts them without reading any column."""
        return int(self.fetch(f"select count(*) as total from {qualified(table)}")["total"][0].as_py())

    @contextmanager
    def stream(
        self, sql: str, parameters: Values | None = None, *, batch_rows: int
    ) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
        """Run one query through a server cursor, at most 1,000 rows at once."""
        batch_rows = min(batch_rows, _LONGEST_FETCH)
        with self.transaction() as session:
            session.execute(f"declare churn_rows cursor for {sql}", parameters)
            schema, first = session.fetch_part(batch_rows, None)

            def batches() -> Iterator[pa.RecordBatch]:
                batch = first
                while batch.num_rows:
                    yield batch
                    _, batch = session.fetch_part(batch_rows, schema)

            yield schema, batches()

    @contextmanager
    def transaction(self, *, computes: bool = False) -> Iterator[RedshiftSession]:
        """Commit the block's statements together, or none of them.

        Raises:
            SerialisationError: another transaction conflicted; the block may be run again.
            LostConnectionError: the block may be run again if ``unchanged``.
        """
        connection = connect(self.engine, self.settings, self.secrets)
        session = RedshiftSession(self, connection)
        try:
            yield session
            try:
                connection.commit()
            except Exception as error:
                raise session.translated(error, "commit", committing=True) from None
        finally:
            self._give_back(connection)

    def _give_back(self, connection: Connection) -> None:
        """Roll back, and return the connection to the pool unless it is broken."""
        try:
            connection.rollback()
        except Exception as error:
            logger.debug("rolling back: %s", mask_secrets(str(error), self.secrets))
            connection.invalidate()
        connection.close()

    def _until_done(self, work: Callable[[RedshiftSession], Result], *, reading: bool = False) -> Result:
        """Run a transaction of one statement; retry if that cannot change anything twice."""

        def attempt() -> Result:
            with self.transaction() as session:
                return work(session)

        def changes_nothing_twice(error: BaseException) -> bool:
            if isinstance(error, LostConnectionError):
                return reading or error.unchanged
            return isinstance(error, SerialisationError)

        def prepare(state: RetryCallState) -> None:
            error = error_of(state)
            logger.warning("%s; running it again", error)
            if isinstance(error, LostConnectionError):
                self.terminate(error.backend)  # its process may hold locks that are needed now

        retry = retry_if_exception(changes_nothing_twice)
        return retrying(self.settings, retry=retry, before_sleep=prepare)(attempt)

    def cancel(self, backend: int | None) -> None:
        """Ask the server to cancel the statement of one of its processes."""
        self._aside("pg_cancel_backend", backend)

    def terminate(self, backend: int | None) -> None:
        """Ask the server to end one of its processes, which may still work for a lost connection."""
        self._aside("pg_terminate_backend", backend)

    def _aside(self, function: str, backend: int | None) -> None:
        if backend is None:
            return
        try:
            connection = connect(self.engine, self._once, self.secrets)
            try:
                connection.exec_driver_sql(f"select {function}({backend:d})").close()
                connection.commit()
            finally:
                self._give_back(connection)
        except Exception as error:  # the caller raises the error that led here
            logger.warning("%s(%d) failed: %s", function, backend, mask_secrets(str(error), self.secrets))

    def unload(
        self, sql: str, parameters: Values | None, folder: str, *, schema: pa.Schema, rows_per_file: int
    ) -> list[tuple[str, int]]:
        """Write a query's rows to Parquet files on S3 by UNLOAD, in no order, and check them.

        Each attempt has its own prefix, so that files of a failed attempt are never read.
        """
        query = bind(sql, parameters)
        megabytes = rows_per_file * sum(map(_width, schema.types)) // 1_000_000
        size = min(max(megabytes, SMALLEST_FILE), LARGEST_FILE)

        def attempt() -> list[tuple[str, int]] | None:
            prefix = f"{folder.rstrip('/')}/{uuid4().hex[:12]}_"
            role, key = self.settings.iam_role or "", self.settings.kms_key
            statement = unload_statement(query, prefix, role, max_file_size_mb=size, kms_key=key)
            files = None
            try:
                ended, manifest = self._unload_once(statement, prefix)
                if manifest is not None:
                    files = checked_files(manifest, prefix, schema)
                elif ended:
                    files = self._without_manifest(query, prefix)
            finally:
                if files is None:
                    self._sweep(prefix)
            return files

        policy = retrying(
            self.settings,
            retry=retry_if_result(lambda files: files is None),
            before_sleep=lambda _: logger.warning("an UNLOAD lost its connection; running it again"),
        )
        try:
            return cast(list[tuple[str, int]], policy(attempt))
        except RetryError:
            raise RunError(
                f"UNLOAD to {folder} failed {self.settings.retries + 1} times as its connection broke"
            ) from None

    def _unload_once(self, statement: str, prefix: str) -> tuple[bool, dict[str, Any] | None]:
        """Run an UNLOAD; return whether it is known to have ended, and its manifest, if it wrote one."""
        try:
            with self.transaction() as session:
                session.run(label_of(f"unload to {prefix}"), statement, lambda _: None)
        except LostConnectionError as lost:
            logger.warning("%s; looking at what it wrote", lost)
            return False, self._await_manifest(f"{prefix}manifest", lost.backend)
        return True, read_manifest(f"{prefix}manifest")

    def _without_manifest(self, query: str, prefix: str) -> list[tuple[str, int]]:
        """Return no files if the query has no rows: Redshift writes nothing then, not even a manifest."""
        rows = self.fetch(f"select count(*) as n from (\n{query}\n) as unloaded")["n"][0].as_py()
        if rows:
            raise RunError(
                f"UNLOAD wrote no manifest to {prefix}manifest, though its query has {rows:,} rows: check"
                " the rights of its role on the bucket, and run again"
            )
        return []

    def _await_manifest(self, url: str, backend: int | None) -> dict[str, Any] | None:
        """Wait for an UNLOAD whose connection was lost, while the server still works on it."""
        deadline = time.monotonic() + self.settings.unload_grace
        for attempt in count():
            working = self._is_working(backend)
            manifest = read_manifest(url)  # after the process: it may end in between
            if manifest is not None or not working or time.monotonic() >= deadline:
                break
            time.sleep(min(_LONGEST_LOOK, pause(self.settings, attempt)))
        if manifest is None:
            self.terminate(backend)
        return manifest

    def _is_working(self, backend: int | None) -> bool:
        if backend is None:
            return False
        query = "select count(*) as sessions from stv_sessions where process = %(backend)s"
        try:
            sessions = self.fetch(query, {"backend": backend})
        except RunError as error:
            logger.warning("cannot find out whether session %d still works: %s", backend, error)
            return True
        return bool(sessions["sessions"][0].as_py())

    def _sweep(self, prefix: str) -> None:
        """Remove the files of a failed attempt."""
        try:
            fs, path = fsspec.core.url_to_fs(prefix)
            fs.invalidate_cache()
            folder, _, start = path.rpartition("/")
            stale = fs.find(folder, prefix=start)
        except Exception as error:
            logger.warning("%s may be left: %s", prefix, error)
            return
        remove_files(fs, stale)

    @contextmanager
    def scratch(self, schema: str) -> Iterator[str]:
        """Return the run's schema; the next run drops tables that a killed run leaves there."""
        yield schema

    def close(self) -> None:
        """Release every connection."""
        self.engine.dispose()
