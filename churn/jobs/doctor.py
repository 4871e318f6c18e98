"""Checks that everything the settings name can be reached and used, with the rights that a run needs.

The checks make a schema with one small table and a few small files, and remove them again. Results hold no
login, key or password.
"""

import logging
import operator
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass

import dask.config
import pyarrow as pa
from fsspec.core import url_to_fs

from churn.config.settings import Settings
from churn.config.store import like_a_bucket
from churn.core.errors import ChurnError, RunError
from churn.core.io_errors import storage_errors
from churn.dataset.run_schemas import drop_schema
from churn.lake.filesystem import address, is_local
from churn.lake.lake import Lake
from churn.lake.open import open_lake
from churn.outputs.migrations import pending
from churn.outputs.mlflow_client import connect, mlflow_errors, sqlite_file
from churn.scoring.cluster.client import open_client
from churn.scoring.cluster.size import PROCESSES_FROM, expected_threads, local_size, starts_processes
from churn.sources.availability import check_tables
from churn.warehouse.base import InUseError, Warehouse
from churn.warehouse.open import location, open_in_memory, open_warehouse

logger = logging.getLogger(__name__)

_ROWS = 2
_SCHEMA = pa.schema([pa.field("n", pa.int32())])
_TIMEOUT = 10  # seconds


@dataclass(frozen=True)
class ProbeResult:
    """The result of one check.

    Attributes:
        what: ``warehouse: write``, ``store``, ``MLflow`` and the like.
        ok: whether it passed.
        message: what was checked or, on failure, what was wrong and what to do; one line.
    """

    what: str
    ok: bool
    message: str


def run_checks(settings: Settings) -> Iterator[ProbeResult]:
    """Check everything that the settings name; yield each result as soon as it is known.

    If a part cannot be reached, its further checks are left out. A part that a run is using passes.
    """
    settings = _with_short_timeouts(settings)
    yield _try("store", lambda: _store(settings))
    yield from _warehouse(settings)
    yield _try("MLflow", lambda: _mlflow(settings))
    yield _try("scheduler", lambda: _scheduler(settings))


def _with_short_timeouts(settings: Settings) -> Settings:
    """Return the settings with fewer retries: a person waits for the result."""
    warehouse = settings.warehouse.model_copy(update={"retries": min(settings.warehouse.retries, 1)})
    store = settings.store.model_copy(update={"max_attempts": min(settings.store.max_attempts, 2)})
    return settings.model_copy(update={"warehouse": warehouse, "store": store})


def _try(what: str, action: Callable[[], str]) -> ProbeResult:
    try:
        return ProbeResult(what, True, action())
    except ChurnError as error:
        return ProbeResult(what, False, "; ".join(line.strip() for line in str(error).splitlines()))


def _store(settings: Settings) -> str:
    """Write, read, list and remove one file in the lake."""
    with _scratch(settings) as folder:
        fs, path = url_to_fs(folder)
        content = secrets.token_bytes(16)
        with storage_errors("trying the store", path):
            fs.pipe_file(f"{path}/try", content)
            if fs.cat_file(f"{path}/try") != content or len(fs.ls(path, detail=False)) != 1:
                raise RunError(
                    f"{path}: read other content than was written: does another program write there?"
                )
            fs.rm_file(f"{path}/try")
    message = f"wrote, read and removed a file at {open_lake(settings).root}"
    bucket = like_a_bucket(settings.store.lake or "")
    if bucket:
        message += f", a folder on this machine: if {bucket} is a bucket, write s3://{settings.store.lake}"
    return message


@contextmanager
def _scratch(settings: Settings) -> Iterator[str]:
    """Yield a new, empty folder outside the lake's runs, and remove it."""
    lake = open_lake(settings)
    _, root = url_to_fs(lake.root)
    path = f"{str(root).rstrip('/')}/.check/{secrets.token_hex(8)}"
    with storage_errors("trying the store", path):
        if is_local(lake.fs):
            lake.fs.makedirs(path)
    try:
        yield address(lake.fs, path)
    except BaseException:
        with suppress(ChurnError):  # report the first error
            _remove(lake, path)
        raise
    _remove(lake, path)


def _remove(lake: Lake, path: str) -> None:
    with storage_errors("removing the test files from the store", path):
        if lake.fs.exists(path):
            lake.fs.rm(path, recursive=True)
        if is_local(lake.fs):
            with suppress(OSError):  # another check is using the folder
                os.rmdir(os.path.dirname(path))


def _warehouse(settings: Settings) -> Iterator[ProbeResult]:
    with ExitStack() as stack:

        def reach() -> str:
            kind = settings.warehouse.kind
            where = location(settings)
            try:
                opened.append(stack.enter_context(closing(open_warehouse(settings))))
            except InUseError:
                opened.append(stack.enter_context(closing(open_in_memory(settings))))
                in_use.append(f"{where} is in use by a run")
                return f"{kind}: {in_use[0]}; the other checks run in memory"
            opened[0].fetch("select 1 as one")
            return f"{kind} at {where}"

        opened: list[Warehouse] = []
        in_use: list[str] = []
        reached = _try("warehouse", reach)
        yield reached
        if not reached.ok:
            return
        warehouse = opened[0]
        yield _try("warehouse: read", lambda: _sources(settings, warehouse))
        schema = f"churn_check_{secrets.token_hex(6)}"
        table = f"{schema}.tried"
        written = _try("warehouse: write", lambda: _write(warehouse, schema, table))
        stack.callback(_drop, warehouse, schema)
        yield written
        if written.ok:
            yield from _through_the_store(settings, warehouse, table)
        if in_use:
            yield ProbeResult("warehouse: published tables", True, f"not checked: {in_use[0]}")
        else:
            yield _try("warehouse: published tables", lambda: _published(settings, warehouse))


def _drop(warehouse: Warehouse, schema: str) -> None:
    try:
        drop_schema(warehouse, schema)
    except RunError as error:
        logger.warning("the schema %s may be left in the warehouse: %s", schema, error)


def _sources(settings: Settings, warehouse: Warehouse) -> str:
    sources = check_tables(warehouse, settings.source)
    missing = "; ".join(dict.fromkeys(sources.available.reasons.values()))
    return (
        f"the tables of source {settings.source} are as they should be ({', '.join(sources.views)})"
        f"{'; ' + missing if missing else ''}"
    )


def _write(warehouse: Warehouse, schema: str, table: str) -> str:
    """Make a schema and a table, as a run does."""
    warehouse.execute(f"create schema {schema}")
    warehouse.execute(f"create table {table} as select 0 as n union all select 1 as n")
    _expect(warehouse, table, _ROWS)
    return "made a schema and a table, and read it"


def _expect(warehouse: Warehouse, table: str, rows: int) -> None:
    count = int(warehouse.fetch(f"select count(*) as n from {table}")["n"][0].as_py())
    if count != rows:
        raise RunError(f"{table} has {count} rows, but {rows} were written: see the warehouse's log")


def _through_the_store(settings: Settings, warehouse: Warehouse, table: str) -> Iterator[ProbeResult]:
    """Unload the table into the lake and load it again."""
    files: list[tuple[str, int]] = []

    def unload(folder: str) -> str:
        files.extend(
            warehouse.unload(f"select n from {table}", None, folder, schema=_SCHEMA, rows_per_file=1000)
        )
        if sum(rows for _, rows in files) != _ROWS:
            raise RunError(f"{sum(rows for _, rows in files)} rows were unloaded instead of {_ROWS}")
        return f"unloaded a table to {open_lake(settings).root}"

    def copy() -> str:
        warehouse.load_parquet(table, [path for path, _ in files], _SCHEMA.names)
        _expect(warehouse, table, 2 * _ROWS)
        return "loaded it again"

    unloaded: ProbeResult | None = None
    try:
        with _scratch(settings) as folder:
            unloaded = _try("warehouse: unload", lambda: _stored("unloading", folder, lambda: unload(folder)))
            yield unloaded
            if unloaded.ok:
                yield _try("warehouse: copy", lambda: _stored("loading", folder, copy))
    except ChurnError as error:  # of the folder itself; report the first error only
        if unloaded is None or unloaded.ok:
            yield ProbeResult("warehouse: unload", False, str(error))


def _stored(doing: str, folder: str, action: Callable[[], str]) -> str:
    with storage_errors(doing, folder):
        return action()


def _published(settings: Settings, warehouse: Warehouse) -> str:
    migrations = pending(warehouse, settings.id_column)
    if migrations and not warehouse.exclusive:
        titles = ", ".join(migration.title for migration in migrations)
        raise RunError(f"{len(migrations)} migration(s) are pending ({titles}): run `churn migrate`")
    return "the next run makes them" if migrations else "they are up to date"


def _mlflow(settings: Settings) -> str:
    uri = settings.tracking_uri
    file = sqlite_file(uri)
    if file is not None and not file.exists():
        return f"{file} is made by the first run"
    with mlflow_errors(uri, "look for experiments"):
        experiments = connect(uri).search_experiments(max_results=1)
    where = str(file) if file is not None else "the server"
    return f"{where} answers" + ("" if experiments else "; it has no experiment yet")


def _scheduler(settings: Settings) -> str:
    """Reach the scheduler, and let one of its workers run a task."""
    cluster = settings.cluster
    if cluster.kind == "local" and not cluster.address:
        processes = f"{local_size(cluster)} worker process(es) on this machine"
        if starts_processes(cluster):
            return f"each run starts {processes}"
        threads = f"a run scores in {expected_threads(cluster)} thread(s)"
        if cluster.processes is False:
            return threads
        return (
            f"{threads}, or from {PROCESSES_FROM / 1e6:,.0f} million values (users x features) in {processes}"
        )
    if cluster.kind == "fargate":
        from churn.scoring.cluster.fargate import check_fargate  # AWS' libraries are slow to import

        return check_fargate(cluster)
    with (
        dask.config.set({"distributed.comm.timeouts.connect": f"{_TIMEOUT} s"}),
        open_client(cluster) as client,
    ):
        workers = len(client.scheduler_info(n_workers=-1)["workers"])
        answer = client.submit(operator.add, 1, 1, pure=False)
        try:
            answer.result(timeout=_TIMEOUT)
        except TimeoutError as error:
            others = {key for keys in client.processing().values() for key in keys} - {answer.key}
            if others:
                return f"{cluster.address} answers; its {workers} worker(s) are busy with a run"
            raise RunError(
                f"the scheduler at {cluster.address} has {workers} worker(s), and none answered within "
                f"{_TIMEOUT} s: start workers, or wait until they are free"
            ) from error
    return f"{cluster.address} answers, and so does one of its {workers} worker(s)"
