"""Feature rows of past as-of dates, kept: a run makes those of its date, and trains on what was known then.

A date's rows are there as a whole or not at all. They are made again when a week that they were made from
was, and a digest of their definition is in the tables' names, so that features of two never mix.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import partial
from typing import Any

from churn.core.errors import RunError
from churn.core.names import identifier
from churn.features.aggregates.tables import VersionedTables, analyze, digest, query, run, utc_now
from churn.features.catalogue import Feature
from churn.features.checks import check_rows
from churn.features.cohorts import includes
from churn.warehouse.base import Session, Warehouse
from churn.warehouse.retries import retry_transaction, run_ddl_once
from churn.warehouse.templates import Step, canonical_sql, create_empty, create_table, insert

ROWS, LEDGER = "feature_rows", "feature_dates"
_LEDGER_COLUMNS = {
    "as_of_date": "date not null",
    "users": "varchar(4000) not null",
    "made_from": "varchar(32) not null",
    "feature_rows": "bigint not null",
    "built_at": "timestamp not null",
}


def feature_row_tables(
    schema: str, product: str, steps: Sequence[Step], names: Mapping[str, Any], values: Mapping[str, Any]
) -> VersionedTables:
    """Return the definition of a product's feature rows.

    Args:
        schema: where they are kept.
        product: its name: rows of different products lie apart.
        steps: all that make them, source views too.
        names: what those steps' templates may use, for any number of dates.
        values: what they may bind, but for dates.
    """
    texts = [canonical_sql(step, names) for step in steps]
    return VersionedTables(schema, digest([product, _LEDGER_COLUMNS, texts, sorted(values.items())]), {}, {})


def source_version(builds: Mapping[date, str], as_of: date) -> str:
    """Return what tells whether a week up to an as-of date was made again, or one was added."""
    return digest([(week, build) for week, build in sorted(builds.items()) if week < as_of])


def reusable_dates(
    warehouse: Warehouse, rows: VersionedTables, builds: Mapping[date, str], wanted: Mapping[date, str]
) -> set[date]:
    """Return the dates whose rows can be used again.

    Args:
        builds: the kept weeks, as ``kept_weeks.builds`` returns them.
        wanted: dates, and which users are wanted at each, as ``cohorts.mask`` tells it.
    """
    if not warehouse.columns(rows.table(LEDGER)):
        return set()
    text = f"select as_of_date, users, made_from from {rows.table(LEDGER)}"
    found = {row["as_of_date"]: row for row in warehouse.fetch(text).to_pylist()}
    return {
        day
        for day, users in wanted.items()
        if day in found
        and includes(found[day]["users"], users)
        and found[day]["made_from"] == source_version(builds, day)
    }


def save_rows(
    warehouse: Warehouse,
    rows: VersionedTables,
    step: Step,
    names: Mapping[str, Any],
    values: Mapping[str, Any],
    schema: str,
    dates: Mapping[date, tuple[str, str]],
    oldest: date,
    features: Sequence[Feature],
) -> int:
    """Keep the rows of some dates in place of what was there, and show them in the run's schema as a view.

    Args:
        step: the query of the rows.
        schema: the run's.
        dates: which users are there, as ``cohorts.mask`` tells it, and what it was made from.
        oldest: rows of earlier dates, which nobody trains on any more, go.
        features: what the columns are.

    Returns:
        Rows kept.

    Raises:
        CheckError: a user and date has several rows, or a feature is out of its range. Nothing has changed.
    """
    table, ledger = rows.table(ROWS), rows.table(LEDGER)
    run_ddl_once(partial(warehouse.execute, create_table(ledger, _LEDGER_COLUMNS, warehouse.dialect)))
    asked = (step, names, values, schema, table, warehouse.dialect)

    def attempt() -> int:
        with warehouse.transaction(computes=True) as session:
            session.lock(ledger)
            if not warehouse.columns(table):
                made = create_empty(*asked)
                session.execute(made.sql, made.parameters)
            for name in (table, ledger):
                gone = f"delete from {name} where as_of_date < :oldest"
                run(warehouse, session, gone, {"oldest": oldest})
                for day in dates:
                    run(warehouse, session, f"delete from {name} where as_of_date = :day", {"day": day})
            added = insert(*asked)
            session.execute(added.sql, added.parameters)
            check_rows(warehouse, session, table, f"{identifier(schema)}.eligible", features, dates)
            return _write_dates(warehouse, session, rows, dates)

    count = retry_transaction(attempt, "keeping feature rows")
    analyze(warehouse, table)
    create_view(warehouse, rows, schema)
    return count


def _write_dates(
    warehouse: Warehouse, session: Session, rows: VersionedTables, dates: Mapping[date, tuple[str, str]]
) -> int:
    first = min(dates)
    text = "select as_of_date, count(*) as n from {{ table }} where as_of_date >= :first group by as_of_date"
    counted = query(warehouse, session, text.replace("{{ table }}", rows.table(ROWS)), {"first": first})
    counts = {row["as_of_date"]: int(row["n"]) for row in counted}
    for day, (users, origin) in dates.items():
        run(
            warehouse,
            session,
            f"insert into {rows.table(LEDGER)} (as_of_date, users, made_from, feature_rows, built_at)"
            " values (:day, :users, :origin, :rows, :now)",
            {"day": day, "users": users, "origin": origin, "rows": counts.get(day, 0), "now": utc_now()},
        )
    return sum(counts.get(day, 0) for day in dates)


def check_still_there(warehouse: Warehouse, rows: VersionedTables, days: Iterable[date]) -> None:
    """Check, after rows of some dates were read, that they were there meanwhile.

    Raises:
        RunError: a run of a later date has removed some.
    """
    there = warehouse.fetch(f"select as_of_date from {rows.table(LEDGER)}")["as_of_date"].to_pylist()
    gone = sorted(set(days) - set(there))
    if gone:
        raise RunError(
            f"feature rows of {', '.join(map(str, gone))} went while they were read: a run of a later date "
            "removed what it does not train on. Run again: they are made anew"
        )


def create_view(warehouse: Warehouse, rows: VersionedTables, schema: str) -> None:
    """Make the view ``feature_rows`` of a run's schema, if it is not there."""
    if not warehouse.columns(f"{schema}.{ROWS}"):
        columns: Iterable[str] = warehouse.columns(rows.table(ROWS))
        listed = ", ".join(identifier(column) for column in columns)
        late = " with no schema binding" if warehouse.dialect == "redshift" else ""
        warehouse.execute(
            f"create view {identifier(schema)}.{ROWS} as select {listed} from {rows.table(ROWS)}{late}"
        )
