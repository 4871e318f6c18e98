"""The feature store: rows of past as-of dates, so that a run makes those of its own date only.

Training then sees what was known when each date was scored. A date's rows are stored completely or not at
all, and made again after a week that they were made from was. The tables' names end in a digest of their
definition, so features of two definitions never mix.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from churn.core.errors import RunError
from churn.core.names import identifier
from churn.features.aggregates.ledger import Ledger
from churn.features.aggregates.tables import VersionedTables, digest, query, utc_now
from churn.features.catalogue import Feature
from churn.features.checks import check_rows
from churn.features.cohorts import includes
from churn.warehouse.base import Session, Warehouse
from churn.warehouse.retries import retry_transaction
from churn.warehouse.templates import Step, canonical_sql, create_empty, insert

ROWS = "feature_rows"
LEDGER = Ledger(
    "feature_dates",
    key="as_of_date",
    version="made_from",
    columns={
        "as_of_date": "date not null",
        "users": "varchar(4000) not null",
        "made_from": "varchar(32) not null",
        "feature_rows": "bigint not null",
        "built_at": "timestamp not null",
    },
)


def feature_row_tables(
    schema: str,
    product: str,
    steps: Sequence[Step],
    names: Sequence[Mapping[str, Any]],
    values: Mapping[str, Any],
) -> VersionedTables:
    """Return the definition of the tables that store a product's feature rows.

    Args:
        schema: the schema of the tables.
        product: the product's name; each product has its own tables.
        steps: all SQL steps that make the rows, source views included.
        names: what the steps' templates may use, in each form that they may have; none may depend on the
            number of dates.
        values: what the steps may bind, without dates.
    """
    texts = [*dict.fromkeys(canonical_sql(step, form) for form in names for step in steps)]
    definition = digest([product, LEDGER.columns, texts, sorted(values.items())])
    return VersionedTables(schema, definition, {}, {})


def source_version(versions: Mapping[date, str], as_of: date) -> str:
    """Return a digest that changes when a week up to an as-of date is added or made again.

    Args:
        versions: the aggregated weeks, from ``ledger.week_versions``.
    """
    return digest([(week, version) for week, version in sorted(versions.items()) if week < as_of])


def reusable_dates(
    warehouse: Warehouse, tables: VersionedTables, versions: Mapping[date, str], wanted: Mapping[date, str]
) -> set[date]:
    """Return the dates whose stored rows are up to date and hold all wanted users.

    Args:
        versions: the aggregated weeks, from ``ledger.week_versions``.
        wanted: the users wanted at each date, as ``cohorts.encode_slots`` writes them.
    """
    if not warehouse.columns(tables.table(LEDGER.name)):
        return set()
    stored = LEDGER.read(warehouse, tables)
    return {
        day
        for day, users in wanted.items()
        if day in stored
        and includes(stored[day]["users"], users)
        and stored[day]["made_from"] == source_version(versions, day)
    }


def save_rows(
    warehouse: Warehouse,
    tables: VersionedTables,
    step: Step,
    names: Mapping[str, Any],
    values: Mapping[str, Any],
    schema: str,
    dates: Mapping[date, tuple[str, str]],
    oldest: date,
    features: Sequence[Feature],
) -> int:
    """Replace the stored rows of some dates, and create the view ``feature_rows`` in the run's schema.

    Args:
        step: the SQL step that makes the rows.
        names: what its template may use.
        values: what it may bind.
        schema: the run's schema.
        dates: for each date the users it has, as ``cohorts.encode_slots`` writes them, and its
            ``source_version``.
        oldest: rows of earlier dates are deleted, since no run trains on them any more.
        features: the features in the order of the columns.

    Returns:
        The number of rows stored for these dates.

    Raises:
        CheckError: a user has several rows for a date, or a feature is out of its range. Nothing has changed.
        RunError: the warehouse refused. Nothing has changed.
    """
    table = tables.table(ROWS)
    LEDGER.create(warehouse, tables)
    arguments = (step, names, values, schema, table, warehouse.dialect)

    def attempt() -> int:
        with warehouse.transaction(computes=True) as session:
            session.lock(tables.table(LEDGER.name))
            if not warehouse.columns(table):
                empty = create_empty(*arguments)
                session.execute(empty.sql, empty.parameters)
            days = {f"day_{index}": day for index, day in enumerate(dates)}
            outdated = f"as_of_date < :oldest or as_of_date in ({', '.join(f':{name}' for name in days)})"
            LEDGER.delete(warehouse, session, tables, [ROWS], outdated, {"oldest": oldest, **days})
            added = insert(*arguments)
            session.execute(added.sql, added.parameters)
            check_rows(warehouse, session, table, f"{identifier(schema)}.eligible", features, dates)
            counts = _count_rows(warehouse, session, table, min(dates))
            now = utc_now()
            rows = [(day, users, version, counts.get(day, 0), now) for day, (users, version) in dates.items()]
            LEDGER.add(warehouse, session, tables, rows)
            return sum(counts.get(day, 0) for day in dates)

    count = retry_transaction(attempt, "storing feature rows")
    warehouse.analyze(table)
    create_view(warehouse, tables, schema)
    return count


def _count_rows(warehouse: Warehouse, session: Session, table: str, first: date) -> dict[date, int]:
    text = f"select as_of_date, count(*) as n from {table} where as_of_date >= :first group by as_of_date"
    return {row["as_of_date"]: int(row["n"]) for row in query(warehouse, session, text, {"first": first})}


def check_still_there(warehouse: Warehouse, tables: VersionedTables, days: Iterable[date]) -> None:
    """Check, after the rows of some dates were read, that no other run deleted them meanwhile.

    Raises:
        RunError: a run of a later date deleted some.
    """
    missing = sorted(set(days) - LEDGER.read(warehouse, tables).keys())
    if missing:
        raise RunError(
            f"feature rows of {', '.join(map(str, missing))} were deleted while they were read, by a run of "
            "a later date that does not train on them. Run again: they are made again"
        )


def create_view(warehouse: Warehouse, tables: VersionedTables, schema: str) -> None:
    """Create the view ``feature_rows`` in a run's schema if it does not exist."""
    if not warehouse.columns(f"{schema}.{ROWS}"):
        listed = ", ".join(identifier(column) for column in warehouse.columns(tables.table(ROWS)))
        view = f"create view {identifier(schema)}.{ROWS} as select {listed} from {tables.table(ROWS)}"
        warehouse.execute(view + warehouse.view_suffix)
