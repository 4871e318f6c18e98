"""Versioned changes of the published tables, which add and never take away.

Each file ``sql/publish/migrations/NNN_title.sql`` is one change, made in one transaction together with its
row in ``churn.schema_version``. What is there already, because the table is older than this record, is
recognised and left as it is.
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
        title: what it makes.
        statements: in the warehouse's dialect; none where everything is there already.
    """

    version: int
    title: str
    statements: tuple[str, ...]

    @property
    def sql(self) -> str:
        """The statements as text to be read."""
        return "\n\n".join(f"{statement};" for statement in self.statements) or "-- is there already"


def migrations(dialect: Dialect, id_column: str, folder: Path | None = None) -> tuple[Migration, ...]:
    """Return every migration, in order.

    Args:
        dialect: dialect of the statements.
        id_column: name of the user id column.
        folder: where the files are; by default those of the published tables.

    Raises:
        RunError: a migration would take something away.
        UsageError: the id column's name cannot be used.
    """
    if identifier(id_column) in datasets.REASONS.column_names[1:]:
        raise UsageError(f"id_column cannot be {id_column!r}: {REASONS} has another column of that name")
    return _ours(dialect, id_column) if folder is None else _read(dialect, id_column, folder)


@cache
def _ours(dialect: Dialect, id_column: str) -> tuple[Migration, ...]:
    return _read(dialect, id_column, sql_root() / "publish" / "migrations")


def _read(dialect: Dialect, id_column: str, folder: Path) -> tuple[Migration, ...]:
    names = {"schema": SCHEMA, "id_column": id_column}
    found = []
    for path in sorted(folder.glob("[0-9]*.sql")):
        version, _, title = path.stem.partition("_")
        parts = path.read_text("utf-8").split(";\n")
        statements = tuple(render(part, names, {}, SCHEMA, dialect).sql for part in parts)
        for statement in statements:
            _check_additive(path.name, statement, dialect)
        found.append(Migration(int(version), title.replace("_", " "), statements))
    return tuple(found)


def pending(warehouse: Warehouse, id_column: str) -> list[Migration]:
    """Return the migrations that the published tables lack, with only what has to be done.

    Raises:
        RunError: the tables have another id column.
    """
    _check_id_column(warehouse, id_column)
    done = _versions(warehouse) if warehouse.columns(VERSIONS) else set()
    lacking = [each for each in migrations(warehouse.dialect, id_column) if each.version not in done]
    return [_remaining(warehouse, migration) for migration in lacking]


def apply(warehouse: Warehouse, id_column: str, readers: str | None = None) -> list[Migration]:
    """Make the published tables what this release needs; safe to repeat, and for two at once.

    Args:
        id_column: name of the user id column.
        readers: a group that may read the published tables.

    Returns:
        What this call did: nothing that another did at the same time.

    Raises:
        RunError: the warehouse refused, or the tables have another id column; the migration that failed has
            changed nothing.
        UsageError: a name cannot be used.
    """
    granted = grants(warehouse, readers)
    done = []
    for migration in pending(warehouse, id_column):
        if migration.version == 0:
            _make_versions(warehouse, migration)
        if retry_transaction(partial(_apply, warehouse, migration), f"migration {migration.version}"):
            logger.info("migration %d (%s) is done", migration.version, migration.title)
            done.append(migration)
    for statement in granted:
        warehouse.execute(statement)
    return done


def ensure_current(warehouse: Warehouse, id_column: str, automatic: bool | None = None) -> None:
    """Make sure that the published tables are what this release needs.

    Args:
        id_column: name of the user id column.
        automatic: whether to migrate them; by default where this process has the warehouse to itself.

    Raises:
        RunError: they have to be migrated first, by somebody who has seen the SQL.
    """
    lacking = pending(warehouse, id_column)
    if not lacking:
        return
    if not (warehouse.exclusive if automatic is None else automatic):
        titles = ", ".join(f"{each.version} {each.title}" for each in lacking)
        raise RunError(
            f"the published tables have to be brought forward first ({titles}): run `churn migrate`,"
            " which shows its SQL before it asks"
        )
    apply(warehouse, id_column)


def grants(warehouse: Warehouse, readers: str | None) -> list[str]:
    """Return the statements that let a group read the published tables; none where there are no groups."""
    return warehouse.grants(SCHEMA, (SCORES, REASONS, PUBLISHED), readers) if readers is not None else []


def _apply(warehouse: Warehouse, migration: Migration) -> bool:
    """Do one migration in one transaction, unless it is done: return whether it was done here."""
    with warehouse.transaction() as session:
        session.lock(VERSIONS)
        if migration.version in _versions(session):
            return False
        for statement in _remaining(warehouse, migration).statements:
            session.execute(statement)
        row = {
            "version": migration.version,
            "title": migration.title,
            "now": datetime.now(UTC).replace(tzinfo=None),
        }
        text = f"insert into {VERSIONS} (version, title, applied_at) values (:version, :title, :now)"
        statement_ = render(text, {}, row, SCHEMA, warehouse.dialect)
        session.execute(statement_.sql, statement_.parameters)
    return True


def _make_versions(warehouse: Warehouse, migration: Migration) -> None:
    """Make the schema and the record of migrations, before which there is nothing to lock."""

    def make() -> None:
        for statement in _remaining(warehouse, migration).statements:
            warehouse.execute(statement)

    run_ddl_once(make)


def _versions(session: Session | Warehouse) -> set[int]:
    return set(session.fetch(f"select version from {VERSIONS}")["version"].to_pylist())


def _check_id_column(warehouse: Warehouse, id_column: str) -> None:
    found = list(warehouse.columns(SCORES))
    if found and id_column not in found:
        raise RunError(
            f"{SCORES} calls its id column {found[0]!r}, and the setting id_column says {id_column!r}: "
            "set it back, or rename the table's column first"
        )


def _remaining(warehouse: Warehouse, migration: Migration) -> Migration:
    """Return a migration without what is there: a schema, columns of a table older than the record.

    Asked first, as Redshift adds no column `if not exists`, and refuses to make a schema, even one that
    exists, to whoever may not make any.
    """
    kept = (each for each in migration.statements if not _is_there(warehouse, each))
    return replace(migration, statements=tuple(kept))


@lru_cache(256)
def _tree(statement: str, dialect: Dialect) -> exp.Expr:
    return sqlglot.parse_one(statement, read=dialect)


def _is_there(warehouse: Warehouse, statement: str) -> bool:
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
    """Refuse whatever could take away from a table that exists, or fail because of what it holds."""
    tree = _tree(statement, dialect)
    if isinstance(tree, exp.Create):
        fine = tree.kind in ("SCHEMA", "TABLE") and tree.args["exists"] and not tree.args.get("replace")
    elif isinstance(tree, exp.Alter):
        actions = tree.args["actions"]
        fine = len(actions) == 1 and isinstance(actions[0], exp.ColumnDef) and not actions[0].constraints
    else:
        fine = isinstance(tree, exp.Insert) and not tree.args.get("overwrite")
        fine = fine and tree.find(exp.Delete, exp.Update, exp.Drop, exp.Merge, exp.OnConflict) is None
    if not fine:
        raise RunError(
            f"{file} is no migration: each statement is a `create ... if not exists`, `alter table ... add"
            f" column` of one column that may be null, or an insert, and this one is not: {statement[:200]}"
        )
