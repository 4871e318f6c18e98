"""Erase users from every run in the lake and from the warehouse.

``churn.jobs.erase.inventory`` lists where user ids are kept. Models, charts, sums by feature, logs and MLflow
hold none and stay. Source tables are not touched: erase there first, or a run that reads those weeks again
scores the same users again.

``churn.published`` is locked meanwhile: other erasures and publishers wait, readers never do. The lake is
erased before the warehouse, and checked again afterwards for runs that began meanwhile. At last the file of
the embedded warehouse is written anew, so that none of its bytes holds an erased id. A kill leaves some users
in some places; run the same command again to finish.
"""

import logging
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from churn.config.settings import Settings
from churn.core.errors import RunError, UsageError, passing_over
from churn.core.io_errors import storage_errors
from churn.core.names import identifier
from churn.core.tempdirs import remove_stale
from churn.dataset.run_schemas import drop_schema, leftover_schemas
from churn.features.aggregates.tables import names_by_schema
from churn.jobs.erase.inventory import KEPT_COLUMN, RUN_DATASETS, TABLES, is_kept
from churn.jobs.erase.run_files import check_unlisted, erase_from_run, erase_unfinished
from churn.jobs.prune import LEDGERS
from churn.jobs.weekly.sweep import is_dead
from churn.lake.lake import Lake
from churn.lake.open import open_lake
from churn.lake.run import Run
from churn.outputs import migrations
from churn.warehouse.base import Session, Warehouse
from churn.warehouse.retries import retry_transaction
from churn.warehouse.templates import render

logger = logging.getLogger(__name__)

_LONGEST_ID = 65_535  # bytes: Redshift's longest text
_BOUND_AT_ONCE = 500
_USERS = "erased_users"


@dataclass(frozen=True)
class Erased:
    """Rows of the given users in one place."""

    where: str  # the run, or the warehouse
    dataset: str  # the run's dataset, or the table
    rows: int  # removed, or to be removed in a dry run


def erase(settings: Settings, warehouse: Warehouse, users: Sequence[str], *, dry_run: bool) -> list[Erased]:
    """Erase users from every run in the lake and from the warehouse; return the places with their rows.

    An unknown id is no error. A dry run only counts.

    Raises:
        UsageError: there is no user, or an id is not valid.
        RunError: a run or the warehouse could not be read or written, or a run is unfinished; the message
            says which. Everything else is erased, unless the warehouse refused.
    """
    ids = _distinct(users)
    columns = _columns(settings, warehouse)
    record = migrations.PUBLISHED if warehouse.columns(migrations.PUBLISHED) and not dry_run else None
    lake = open_lake(settings)
    in_lake: dict[Erased, None] = {}  # over all attempts: a retry does not find what the first one erased
    seen: set[str] = set()
    failures: list[str] = []

    def attempt() -> list[Erased]:
        failures.clear()
        with warehouse.transaction() as session:
            if record is not None:
                session.lock(record)
            in_lake.update(dict.fromkeys(_erase_from_lake(lake, ids, seen, failures, dry_run=dry_run)))
            return _erase_from_tables(session, warehouse, columns, ids, record, dry_run=dry_run)

    in_tables = retry_transaction(attempt, "erasing users")
    if not dry_run:
        failures += remove_stale()
        _drop_leftovers(warehouse, failures)
        in_lake.update(dict.fromkeys(_look_again(lake, ids, seen, failures)))
        passing_over(failures, warehouse.rewrite)
    if failures:
        listed = "\n".join(f"  - {failure}" for failure in failures)
        raise RunError(f"users are erased from everything but what follows; mend it, and repeat:\n{listed}")
    return [*in_lake, *in_tables]


def has_lake(settings: Settings) -> bool:
    """Return whether the lake of the settings exists.

    Raises:
        RunError: the store refused.
    """
    lake = open_lake(settings)
    with storage_errors("looking for the lake", lake.root):
        return bool(lake.fs.exists(url_to_fs(lake.root)[1]))


def count_found(settings: Settings, warehouse: Warehouse, users: Sequence[str]) -> int:
    """Return how many of the users have a row anywhere; call it before ``erase``.

    Raises:
        UsageError: there is no user, or what cannot be a user id.
        RunError: the store or the warehouse refused.
    """
    ids = _distinct(users)
    missing = _missing_from_tables(warehouse, _columns(settings, warehouse), ids)
    lake = open_lake(settings)
    with storage_errors("reading the lake", lake.root):
        files = lake.fs.find(url_to_fs(lake.root)[1])
        # Newest first: it holds most users, and those found are not looked for again.
        for path in sorted(files, reverse=True):
            folder, _, name = path.rpartition("/")
            column = RUN_DATASETS.get(folder.rpartition("/")[2])
            if not missing:
                break
            if column is not None and name.endswith(".parquet"):
                missing -= _users_in(lake.fs, path, column, missing)
    return len(ids) - len(missing)


def _missing_from_tables(warehouse: Warehouse, columns: Mapping[str, str], ids: pa.Array) -> set[str]:
    """Return the users that no table has."""
    missing = set(ids.to_pylist())

    def look() -> None:
        with warehouse.transaction() as session:
            _bind_users(session, warehouse, ids)
            for table, column in columns.items():
                chosen = f"from {table} where {_is_erased(column)}"
                found = session.fetch(f'select distinct "{identifier(column)}" as found {chosen}')
                missing.difference_update(found["found"].to_pylist())
            session.execute(f"drop table {_USERS}")

    if columns:
        retry_transaction(look, "looking for users")
    return missing


def _users_in(fs: AbstractFileSystem, path: str, column: str, users: Collection[str]) -> set[str]:
    """Return the users that a Parquet file has; none if it is damaged, which ``erase`` reports."""
    wanted = pa.array(sorted(users), pa.string())
    try:
        with fs.open(path, "rb") as source, pq.ParquetFile(source, pre_buffer=False) as file:
            groups = (
                file.read_row_group(index, columns=[column])[column].cast(pa.string())
                for index in range(file.num_row_groups)
            )
            kept = (group.filter(pc.is_in(group, value_set=wanted)) for group in groups)
            return {user for group in kept for user in group.to_pylist()}
    except (pa.ArrowInvalid, pa.ArrowKeyError, KeyError, FileNotFoundError) as error:
        logger.debug("%s is passed over while users are looked for: %s", path, error)
        return set()


def _distinct(users: Sequence[str]) -> pa.Array:
    ids = sorted(set(users))
    if not ids:
        raise UsageError("there is no user to erase: give at least one id")
    for number, user in enumerate(users, start=1):
        if not user.strip() or any("\ud800" <= letter <= "\udfff" for letter in user):
            raise UsageError(
                f"user {number} of {len(users):,} cannot be a user id: it is blank, or half of a character"
            )
    return pa.array(ids, pa.string())


# --- lake ---


def _erase_from_lake(
    lake: Lake, ids: pa.Array, seen: set[str], failures: list[str], *, dry_run: bool
) -> list[Erased]:
    """Erase from every run, also after a failure; add the folders of committed runs to ``seen``."""
    # Unfinished runs first: one that is committed meanwhile is then among the committed runs.
    found = _erase_unfinished(lake, ids, failures, dry_run=dry_run)
    runs = lake.runs(failures=failures)
    for run in runs:
        seen.add(run.base)
        rows = passing_over(failures, partial(erase_from_run, run, ids, dry_run=dry_run)) or {}
        found += [Erased(_name(run), dataset, count) for dataset, count in rows.items()]
    passing_over(failures, partial(check_unlisted, lake.fs, _root(lake), runs, ids, failures))
    return found


def _erase_unfinished(lake: Lake, ids: pa.Array, failures: list[str], *, dry_run: bool) -> list[Erased]:
    found = (
        passing_over(failures, partial(erase_unfinished, lake.fs, _root(lake), ids, dry_run=dry_run)) or {}
    )
    return [Erased(name, "all of it", count) for name, count in found.items()]


def _root(lake: Lake) -> str:
    return str(url_to_fs(lake.root)[1]).rstrip("/")


def _look_again(lake: Lake, ids: pa.Array, seen: Container[str], failures: list[str]) -> list[Erased]:
    """Report runs that began meanwhile: they may have read the users before the deletion.

    Call it after the deletion is committed. A run is claimed before it reads: a later one reads none of them.
    """
    late: list[str] = []
    found = _erase_unfinished(lake, ids, late, dry_run=False)
    # After the unfinished runs: one of them may be committed meanwhile.
    for run in lake.runs(failures=late):
        if run.base in seen:
            continue
        rows = passing_over(late, partial(erase_from_run, run, ids, dry_run=True))
        if rows:
            late.append(f"{_name(run)}: it was committed meanwhile: erase again")
    failures += [each for each in late if each not in failures]  # each message once
    return found


def _name(run: Run) -> str:
    manifest = run.manifest
    return f"{manifest.product}, week of {manifest.target_week_start}, run {manifest.run_id}"


# --- warehouse ---


def _columns(settings: Settings, warehouse: Warehouse) -> dict[str, str]:
    """Return the published tables that are there, and the column of each that holds the user id."""
    column = settings.id_column
    published = {table: existing for table in TABLES if (existing := warehouse.columns(table))}
    for table, existing in published.items():
        if column not in existing:
            raise RunError(
                f"{table} has no column {column!r}, which the setting id_column names: set it to the table's"
            )
    return dict.fromkeys(published, column) | dict.fromkeys(_kept_tables(settings, warehouse), KEPT_COLUMN)


def _kept_tables(settings: Settings, warehouse: Warehouse) -> list[str]:
    """Return the kept tables of users, of every definition and also in schemas used before.

    In another schema a table counts only if the ledger of its definition is beside it.
    """
    return [
        f"{schema}.{name}"
        for schema, names in names_by_schema(warehouse).items()
        for name in names
        if is_kept(name) and (schema == settings.kept_schema or _has_ledger(name, names))
    ]


def _has_ledger(table: str, beside: Container[str]) -> bool:
    ending = table.rpartition("_")[2]
    return any(f"{ledger.name}_{ending}" in beside for ledger in LEDGERS)


def _drop_leftovers(warehouse: Warehouse, failures: list[str]) -> None:
    """Drop the tables of dead runs of every product; report those that a run may still use."""
    for schema in passing_over(failures, partial(leftover_schemas, warehouse)) or []:
        if is_dead(warehouse, schema):
            passing_over(failures, partial(drop_schema, warehouse, schema))
        else:
            failures.append(
                f"schema {schema} of the warehouse: a run that goes on, or that was killed less than 48 "
                "hours ago, has its tables there: erase again when it has ended, or when they are over"
            )


def _erase_from_tables(
    session: Session,
    warehouse: Warehouse,
    columns: Mapping[str, str],
    ids: pa.Array,
    record: str | None,
    *,
    dry_run: bool,
) -> list[Erased]:
    """Count and delete the users' rows in the tables; lower the totals in ``churn.published``."""
    if not columns:
        return []
    found = []
    _bind_users(session, warehouse, ids)
    for table, column in columns.items():
        chosen = f"from {table} where {_is_erased(column)}"
        # churn.published counts the rows of published tables only.
        key = "product, target_week_start_date" if table in TABLES else "1"
        by_week = session.fetch(f"select {key}, count(*) as gone {chosen} group by {key}").to_pylist()
        if not by_week:
            continue
        found.append(Erased("warehouse", table, sum(int(row["gone"]) for row in by_week)))
        if dry_run:
            continue
        session.execute(f"delete {chosen}")
        for row in by_week if record is not None and table in TABLES else []:
            text = (
                f"update {record} set {TABLES[table]} = {TABLES[table]} - :gone"
                " where product = :product and target_week_start_date = :target_week_start_date"
            )
            _run(session, warehouse, text, row)
    session.execute(f"drop table {_USERS}")
    return found


def _is_erased(column: str) -> str:
    """Return the SQL condition that an id is exactly one of the erased ones.

    Redshift ignores trailing blanks where it compares texts: without the dot "u1 " would be u1 there.
    """
    name = f'"{identifier(column)}"'
    exactly = f"{name} || '.' in (select user_id || '.' from {_USERS})"
    return f"{name} in (select user_id from {_USERS}) and {exactly}"


def _bind_users(session: Session, warehouse: Warehouse, ids: pa.Array) -> None:
    """Put the ids into a temporary table, as bound values, some at a time."""
    session.execute(f"create temporary table {_USERS} (user_id varchar({_LONGEST_ID}) not null)")
    for start in range(0, len(ids), _BOUND_AT_ONCE):
        values = {f"user_{n}": user for n, user in enumerate(ids[start : start + _BOUND_AT_ONCE].to_pylist())}
        rows = ", ".join(f"(:{name})" for name in values)
        text = f"insert into {_USERS} (user_id) values {rows}"
        _run(session, warehouse, text, values)


def _run(session: Session, warehouse: Warehouse, text: str, values: Mapping[str, Any]) -> None:
    statement = render(text, {}, values, migrations.SCHEMA, warehouse.dialect)
    session.execute(statement.sql, statement.parameters)
