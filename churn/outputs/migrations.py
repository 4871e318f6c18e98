"""Versioned changes of the published tables. A migration only adds.

Each file ``sql/publish/migrations/NNN_title.sql`` is one migration. One transaction applies it and writes its
row in ``churn.schema_version``. Tables may be older than that record: schemas and columns that exist already
are skipped.
"""

import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, lru_cache, partial
from pathlib import Path

import sqlglot
from sqlglot import exp

from churn.core import datasets
from churn.core.errors import RunError, UsageError
from churn.core.names import identifier
from churn.warehouse.base import Dialect, Session, Warehouse
from churn.warehouse.retries import retry_transaction, run_ddl_once
from churn.warehouse.templates import render, sql_root

logger = logging.getLogger(__name__)

SCHEMA = "churn"
SCORES, REASONS = datasets.SCORES.published_as, datasets.REASONS.published_as
PUBLISHED = f"{SCHEMA}.published"
VERSIONS = f"{SCHEMA}.schema_version"


@dataclass(frozen=True)
class Migration:
    """One change of the published tables.

    Attributes:
        version: its place in the order, from 0.
        title: what it adds.
        statements: SQL in the warehouse's dialect; empty if everything exists already.
    """

    version: int
    title: str
    statements: tuple[str, ...]

    @property
    def sql(self) -> str:
        """The statements as one text for people."""
        return "\n\n".join(f"{statement};" for statement in self.statements) or "-- exists already"


@cache
def migrations(dialect: Dialect, id_column: str, folder: Path | None = None) -> tuple[Migration, ...]:
    """Return every migration, in order.

    Args:
        folder: folder of the files; by default ``sql/publish/migrations``.

    Raises:
        RunError: a migration does more than add.
        UsageError: the id column's name cannot be used.
    """
    if identifier(id_column) in datasets.REASONS.column_names[1:]:
        raise UsageError(f"id_column cannot be {id_column!r}: {REASONS} has another column of that name")
    names = {"schema": SCHEMA, "id_column": id_column}
    loaded = []
    for path in sorted((folder or sql_root() / "publish" / "migrations").glob("[0-9]*.sql")):
        version, _, title = path.stem.partition("_")
        parts = path.read_text("utf-8").split(";\n")
        statements = tuple(render(part, names, {}, SCHEMA, dialect).sql for part in parts)
        for statement in statements:
            _check_additive(path.name, statement, dialect)
        loaded.append(Migration(int(version), title.replace("_", " "), statements))
    return tuple(loaded)


def pending(warehouse: Warehouse, id_column: str) -> list[Migration]:
    """Return the migrations that are still to be applied, with only the statements they need.

    Raises:
        RunError: the tables have another id column.
    """
    _check_id_column(warehouse, id_column)
    applied = _versions(warehouse) if warehouse.columns(VERSIONS) else set()
    lacking = [item for item in migrations(warehouse.dialect, id_column) if item.version not in applied]
    return [_remaining(warehouse, migration) for migration in lacking]


def apply(warehouse: Warehouse, id_column: str, readers: str | None = None) -> list[Migration]:
    """Apply the pending migrations. Safe to repeat and to run concurrently.

    Args:
        readers: a group that is granted the right to read the published tables.

    Returns:
        The migrations that this call applied, without those that another process applied meanwhile.

    Raises:
        RunError: the warehouse refused, or the tables have another id column. A migration that fails changes
            nothing.
        UsageError: a name cannot be used.
    """
    granted = grants(warehouse, readers)
    applied = []
    for migration in pending(warehouse, id_column):
        if migration.version == 0:
            _create_versions_table(warehouse, migration)
        if retry_transaction(partial(_apply, warehouse, migration), f"migration {migration.version}"):
            logger.info("migration %d (%s) is applied", migration.version, migration.title)
            applied.append(migration)
    for statement in granted:
        warehouse.execute(statement)
    return applied


def ensure_current(warehouse: Warehouse, id_column: str) -> None:
    """Apply pending migrations if this process has the warehouse to itself; else refuse to go on.

    Raises:
        RunError: migrations are pending, and somebody must read the SQL first.
    """
    lacking = pending(warehouse, id_column)
    if not lacking:
        return
    if not warehouse.exclusive:
        titles = ", ".join(f"{item.version} {item.title}" for item in lacking)
        raise RunError(
            f"the published tables need migrations first ({titles}): run `churn migrate`,"
            " which shows its SQL before it asks"
        )
    apply(warehouse, id_column)


def grants(warehouse: Warehouse, readers: str | None) -> list[str]:
    """Return the grants that let a group read the published tables; none if ``readers`` is None."""
    return warehouse.grants(SCHEMA, (SCORES, REASONS, PUBLISHED), readers) if readers is not None else []


def _apply(warehouse: Warehouse, migration: Migration) -> bool:
    """Apply one migration in a transaction; return False if it was applied already."""
    with warehouse.transaction() as session:
        session.lock(VERSIONS)
        if migration.version in _versions(session):
            return False
        for statement in _remaining(warehouse, migration).statements:
            session.execute(statement)
        now = datetime.now(UTC).replace(tzinfo=None)
        row = {"version": migration.version, "title": migration.title, "now": now}
        text = f"insert into {VERSIONS} (version, title, applied_at) values (:version, :title, :now)"
        statement_ = render(text, {}, row, SCHEMA, warehouse.dialect)
        session.execute(statement_.sql, statement_.parameters)
    return True


def _create_versions_table(warehouse: Warehouse, migration: Migration) -> None:
    """Create the schema and the record of migrations, which the later migrations lock."""

    def create() -> None:
        for statement in _remaining(warehouse, migration).statements:
            warehouse.execute(statement)

    run_ddl_once(create)


def _versions(session: Session | Warehouse) -> set[int]:
    return set(session.fetch(f"select version from {VERSIONS}")["version"].to_pylist())


def _check_id_column(warehouse: Warehouse, id_column: str) -> None:
    columns = list(warehouse.columns(SCORES))
    if columns and id_column not in columns:
        raise RunError(
            f"{SCORES} calls its id column {columns[0]!r}, and the setting id_column says {id_column!r}: "
            "set it back, or rename the table's column first"
        )


def _remaining(warehouse: Warehouse, migration: Migration) -> Migration:
    """Return a migration without the schemas and columns that exist already.

    Redshift has no `add column if not exists`. It also refuses `create schema if not exists` of an existing
    schema to a user who may not create schemas.
    """
    needed = (statement for statement in migration.statements if not _exists(warehouse, statement))
    return replace(migration, statements=tuple(needed))


@lru_cache(256)
def _tree(statement: str, dialect: Dialect) -> exp.Expr:
    return sqlglot.parse_one(statement, read=dialect)


def _exists(warehouse: Warehouse, statement: str) -> bool:
    tree = _tree(statement, warehouse.dialect)
    if isinstance(tree, exp.Create) and tree.kind == "SCHEMA":
        text = "select count(*) as found from pg_catalog.pg_namespace where nspname = :name"
        query = render(text, {}, {"name": tree.this.db}, SCHEMA, warehouse.dialect)
        return bool(warehouse.fetch(query.sql, query.parameters)["found"][0].as_py())
    if isinstance(tree, exp.Alter):
        columns = warehouse.columns(f"{tree.this.db}.{tree.this.name}")
        return all(action.name in columns for action in tree.args["actions"])
    return False


def _check_additive(file: str, statement: str, dialect: Dialect) -> None:
    """Refuse a statement that could remove something or fail because of a table's rows."""
    tree = _tree(statement, dialect)
    if isinstance(tree, exp.Create):
        additive = tree.kind in ("SCHEMA", "TABLE") and tree.args["exists"] and not tree.args.get("replace")
    elif isinstance(tree, exp.Alter):
        actions = tree.args["actions"]
        additive = len(actions) == 1 and isinstance(actions[0], exp.ColumnDef) and not actions[0].constraints
    else:
        additive = isinstance(tree, exp.Insert) and not tree.args.get("overwrite")
        additive = additive and tree.find(exp.Delete, exp.Update, exp.Drop, exp.Merge, exp.OnConflict) is None
    if not additive:
        raise RunError(
            f"{file} is no migration: each statement is a `create ... if not exists`, `alter table ... add"
            f" column` of one column that may be null, or an insert, and this one is not: {statement[:200]}"
        )
