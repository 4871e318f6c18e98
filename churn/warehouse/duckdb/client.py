"""The embedded warehouse: DuckDB over Parquet files, nothing to install or start.

Source tables are views on ``DATA/tables/<schema>.<table>/*.parquet``; what a run makes lives in one
database file. DuckDB locks that file, so one process at a time runs on one output folder.
"""

import logging
import re
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import cache
from glob import escape
from itertools import count
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from churn.core.errors import RunError, SourceError
from churn.core.names import identifier
from churn.core.tempdirs import temporary_folder
from churn.warehouse.base import Dialect, Session, Values, Warehouse
from churn.warehouse.duckdb.opening import (
    DISK_ADVICE,
    Config,
    damage_advice,
    is_damaged,
    is_disk_fault,
    open_file,
)
from churn.warehouse.duckdb.rewriting import REPLACED, bytes_needed, remove_unfinished, rewrite
from churn.warehouse.duckdb.session import DuckDBSession
from churn.warehouse.duckdb.source_files import check_files
from churn.warehouse.duckdb.spill import remove_spills_of_the_dead, spill_folder
from churn.warehouse.parquet import Writer
from churn.warehouse.quoting import qualified
from churn.warehouse.templates import sql_root

logger = logging.getLogger(__name__)

_TABLE_FOLDER = re.compile(r"([a-z_][a-z0-9_]*)\.([a-z_][a-z0-9_]*)\Z")
# The comment of source views, by which the views of an earlier data folder are found and removed.
_SOURCE_MARK = "churn source table"
_BATCH_ROWS = 16_384
# DuckDB keeps written blocks in memory up to its limit. A transaction only moves rows: more is no faster.
_TRANSACTION_MEMORY = "256MB"
_LOG_SIZE = "1GB"
_BYTES = "parse_formatted_bytes('{}')"
_SET_UP = (
    # Global, because each statement runs on a cursor, which is its own connection.
    "set global TimeZone = 'UTC'",
    "set global integer_division = true",  # as Redshift divides
    "set enable_progress_bar = false",
    "set global parquet_metadata_cache = true",  # else each statement reads the footers of its files
)
_SCRATCH_NUMBERS = count()
# Files that are open in this process, by path, data folder and memory.
_open_files: dict[tuple[str, str, str], "DuckDBWarehouse"] = {}
_open_lock = threading.RLock()
_LOCK_SECONDS = 0.5


class DuckDBWarehouse(Warehouse):
    """A DuckDB file that sees a data folder's Parquet files as its source tables."""

    dialect: Dialect = "duckdb"
    exclusive = True
    reads_remote_files = False
    unloads_in_order = True
    view_suffix = ""

    def __init__(self, database: Path | None, data: Path, *, memory: str = "4GB", threads: int = 0) -> None:
        """Open or create the database and define the source views.

        Args:
            database: the file; ``None`` keeps everything in memory (back-tests, rendering).
            data: folder with ``tables/``.
            memory: what DuckDB may use before it spills to disk.
            threads: 0 = all cores.

        Raises:
            InUseError: the file is in use by another process.
            RunError: it cannot be opened: damaged, not readable, or no DuckDB file.
            SourceError: the data folder holds no tables, or files that cannot be read.
        """
        config: Config = {
            "memory_limit": memory,
            # Most tables of a run are dropped again: with one checkpoint at the end, none is compressed.
            "checkpoint_threshold": _LOG_SIZE,
            "autoinstall_known_extensions": False,  # nothing is downloaded
            "autoload_known_extensions": False,
        }
        if threads:
            config["threads"] = threads
        self._memory, self._database = memory, database
        self._tables = data / "tables"
        self._key: tuple[str, str, str] | None = None
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._lock, self._transactions, self._users = threading.Lock(), 0, 1
        self._exits = ExitStack()
        if database:
            spill = spill_folder(database)
        else:  # by default all processes of a working directory would share one folder
            spill = self._exits.enter_context(temporary_folder()) / "spill"
        self._config = config | {"temp_directory": str(spill)}
        self._connection = self._open()

    def _open(self) -> duckdb.DuckDBPyConnection:
        """Open the database, and define functions and source views."""
        database = self._database
        if database is None:
            self._connection = duckdb.connect(":memory:", config=self._config)
        else:
            self._connection = open_file(database, self._config)
        try:
            if database is not None:
                remove_spills_of_the_dead(database)
                remove_unfinished(database)
            for statement in (*_SET_UP, *_functions()):
                self._connection.execute(statement)
            self._define_sources(self._tables)
        except BaseException as error:
            self.close()  # or the file would stay locked
            if database is not None and isinstance(error, duckdb.Error):
                first = str(error).splitlines()[0]
                if is_disk_fault(error):
                    raise RunError(f"{database} cannot be set up: {first}{DISK_ADVICE}") from error
                if is_damaged(error):
                    raise RunError(
                        f"{database} cannot be set up: {damage_advice(database)}. DuckDB says: {first}"
                    ) from error
            raise
        return self._connection

    def _define_sources(self, tables: Path) -> None:
        folders = sorted(folder for folder in tables.glob("*.*") if any(folder.glob("*.parquet")))
        if not folders:
            raise SourceError(f"{tables} holds no tables: make them with `churn simulate` or `churn ingest`")
        # Drop the views of the data folder that this database was opened with before.
        views = self._connection.execute(
            "select schema_name, view_name from duckdb_views() where comment = ?", [_SOURCE_MARK]
        ).fetchall()
        for schema, view in views:
            self._connection.execute(f'drop view "{schema}"."{view}"')
        for folder in folders:
            named = _TABLE_FOLDER.match(folder.name)
            if named is None:
                raise SourceError(f"{folder}: a table's folder is named <schema>.<table> in lower case")
            schema, table = named.groups()
            check_files(folder)
            pattern = f"{escape(str(folder.resolve()))}/*.parquet".replace("'", "''")
            self._connection.execute(f'create schema if not exists "{schema}"')
            try:
                self._connection.execute(
                    f'create or replace view "{schema}"."{table}" as'
                    f" select * from read_parquet('{pattern}', hive_partitioning = false)"
                )
            except duckdb.Error as error:
                if is_disk_fault(error):
                    raise
                raise SourceError(f"{folder} cannot be read: {str(error).splitlines()[0]}") from error
            self._connection.execute(f'comment on view "{schema}"."{table}" is \'{_SOURCE_MARK}\'')

    def _cursor(self) -> DuckDBSession:
        return DuckDBSession(self._connection.cursor(), self._database)

    def execute(self, sql: str, parameters: Values | None = None) -> int:
        """Run one statement; return the rows it changed."""
        return self._cursor().execute(sql, parameters)

    def fetch(self, sql: str, parameters: Values | None = None) -> pa.Table:
        """Run one query whose result is small."""
        return self._cursor().fetch(sql, parameters)

    def load_parquet(
        self, table: str, paths: Sequence[str], columns: Sequence[str], *, scratch: str | None = None
    ) -> int:
        """Append Parquet files to a table by column name."""
        return self._cursor().load_parquet(table, paths, columns)

    def rewrite(self) -> None:
        """Write the file anew, so that no deleted row can be read from its bytes."""
        if self._database is None:
            return
        rewrite(self._connection, self._database)
        self._connection.close()
        self._open()
        attached = self._connection.execute(
            "select 1 from duckdb_databases() where database_name = ?", [REPLACED]
        )
        if attached.fetchone() is not None:
            self.close()
            raise RunError(
                f"{self._database} was written anew, but this process still reads the old file: end it, and "
                "start again"
            )

    def rewrite_bytes(self) -> int:
        """Return the free bytes that ``rewrite`` needs beside the file."""
        return 0 if self._database is None else bytes_needed(self._connection)

    def view_on_files(self, name: str, paths: Sequence[str], columns: Sequence[str]) -> str:
        """Return the statement that makes a view on the columns of Parquet files."""
        listed = ", ".join(identifier(column) for column in columns)
        files = ", ".join("'" + escape(path).replace("'", "''") + "'" for path in paths)
        # Without hive_partitioning = false a folder named product=x would add a column.
        return (
            f"create view {qualified(name)} as"
            f" select {listed} from read_parquet([{files}], hive_partitioning = false)"
        )

    def columns(self, table: str) -> dict[str, str]:
        """Return column names and types of ``schema.table``."""
        schema, name = table.split(".")
        quoted = f'"{identifier(schema)}"."{identifier(name)}"'  # either may be a word of SQL
        # Not from the catalogue of columns, which lists the columns of every table each time.
        query = f"select column_name, lower(column_type) as data_type from (describe {quoted})"
        try:
            columns = self.fetch(query)
        except RunError as error:
            if not isinstance(error.__cause__, duckdb.CatalogException):
                raise
            if not self._exists(schema, name):
                return {}
            columns = self.fetch(
                query
            )  # made meanwhile; or a view that reads what is gone, which fails again
        return dict(zip(columns["column_name"].to_pylist(), columns["data_type"].to_pylist(), strict=True))

    def _exists(self, schema: str, name: str) -> bool:
        existing = "select 1 as one from duckdb_{kind}s() where schema_name = $schema and {kind}_name = $name"
        query = f"{existing.format(kind='table')} union all {existing.format(kind='view')}"
        return bool(self.fetch(query, {"schema": schema, "name": name}).num_rows)

    def row_count(self, table: str) -> int:
        """Return how many rows a source table has, from its files' footers."""
        return sum(pq.read_metadata(path).num_rows for path in self._files(table))

    def stamps(self, table: str) -> dict[str, str]:
        """Return a source table's files, each with its size and time of change."""
        stats = {path.name: path.stat() for path in self._files(table)}
        return {name: f"{stat.st_size}-{stat.st_mtime_ns}" for name, stat in stats.items()}

    def _files(self, table: str) -> list[Path]:
        return sorted((self._tables / table).glob("*.parquet"))

    @contextmanager
    def stream(
        self, sql: str, parameters: Values | None = None, *, batch_rows: int
    ) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
        """Run one query whose result is large."""
        cursor = self._connection.cursor()
        try:
            session = DuckDBSession(cursor, self._database)
            with session.refusals(sql):
                reader = session.query(sql, parameters).to_arrow_reader(batch_rows)

            def batches() -> Iterator[pa.RecordBatch]:
                while True:
                    with session.refusals(sql):
                        batch = next(reader, None)
                    if batch is None:
                        return
                    yield batch

            yield reader.schema, batches()
        finally:
            cursor.close()

    def unload(
        self, sql: str, parameters: Values | None, folder: str, *, schema: pa.Schema, rows_per_file: int
    ) -> list[tuple[str, int]]:
        """Write a query's rows to Parquet files, in the query's order, all but the last of one size."""
        writer = Writer(folder, schema, rows_per_file)
        try:
            with self.stream(sql, parameters, batch_rows=_BATCH_ROWS) as (_, batches):
                for batch in batches:
                    writer.write(pa.Table.from_batches([batch]).cast(schema))
            writer.close()
        except OSError as error:
            reason = error.strerror or error
            raise RunError(f"{folder} cannot be written: {reason}; free some space and run again") from error
        finally:
            writer.abandon()
        return writer.files

    @contextmanager
    def transaction(self, *, computes: bool = False) -> Iterator[Session]:
        """Commit the block's statements together; without ``computes``, within less memory."""
        with nullcontext() if computes else self._less_memory(), ExitStack() as held:
            session = DuckDBSession(
                self._connection.cursor(), self._database, _Holder(self._locks, held).hold
            )
            session.execute("begin transaction")
            try:
                yield session
            except BaseException:
                with suppress(RunError):  # a damaged database takes no further statement
                    session.execute("rollback")
                raise
            session.execute("commit")

    @contextmanager
    def scratch(self, schema: str) -> Iterator[str]:
        """Return a database in memory, whose tables are neither logged nor compressed, which saves time."""
        name = f"churn_scratch_{next(_SCRATCH_NUMBERS)}"  # unique among the threads' runs
        self.execute(f"attach ':memory:' as {name}")
        try:
            yield name
        finally:
            self.execute(f"detach {name}")

    @contextmanager
    def _less_memory(self) -> Iterator[None]:
        """Lower the memory limit while at least one transaction is open; the rest spills to disk."""
        with self._lock:
            self._transactions += 1
            if self._transactions == 1:
                smaller = f"least({_BYTES.format(self._memory)}, {_BYTES.format(_TRANSACTION_MEMORY)})"
                self._limit_memory(smaller)
        try:
            yield
        finally:
            with self._lock:
                self._transactions -= 1
                if self._transactions == 0:
                    self._limit_memory(_BYTES.format(self._memory))

    def _limit_memory(self, size: str) -> None:
        if self._database is None:
            return
        try:
            cursor = self._connection.cursor()
            row = cursor.execute(f"select {size}").fetchone()
            if row is not None:
                cursor.execute(f"set global memory_limit = '{row[0]}B'")
        except duckdb.Error as error:  # other threads' statements use more now
            logger.debug("the memory limit stays as it is: %s", str(error).splitlines()[0])

    @classmethod
    def shared(cls, database: Path, data: Path, *, memory: str) -> "DuckDBWarehouse":
        """Open a file, or return the warehouse that has it open in this process; each user closes it.

        Runs of several products side by side would else replace each other's source views.

        Raises:
            InUseError, RunError, SourceError: as for a new one.
        """
        key = (str(database.resolve()), str(data.resolve()), memory)
        with _open_lock:
            opened = _open_files.get(key)
            if opened is None:
                opened = _open_files[key] = cls(database, data, memory=memory)
                opened._key = key
            else:
                opened._users += 1
            return opened

    def close(self) -> None:
        """Close the database file and release its lock, unless somebody else of this process uses it."""
        with _open_lock:
            self._users -= 1
            if self._users > 0:
                return
            if self._key is not None:
                _open_files.pop(self._key, None)
        self._connection.close()
        self._exits.close()


class _Holder:
    """Holds tables for one transaction, until the end of its block."""

    def __init__(self, locks: defaultdict[str, threading.Lock], block: ExitStack) -> None:
        self._locks, self._block = locks, block
        self._held: set[str] = set()

    def hold(self, table: str) -> bool:
        """Wait for a table; return whether it was not held before."""
        if table in self._held:
            return False
        lock = self._locks[table]
        while not lock.acquire(timeout=_LOCK_SECONDS):
            pass  # an interrupt of this thread is noticed between two waits only
        self._block.callback(lock.release)
        self._held.add(table)
        return True


@cache
def _functions() -> tuple[str, ...]:
    """Redshift functions that DuckDB lacks, as macros."""
    text = (sql_root() / "duckdb" / "functions.sql").read_text("utf-8")
    return tuple(part for part in text.split(";\n") if part.strip())
