"""Users' lives with a product, week by week: kept, so that whole-life features need the new week only.

The life of a week's active users is what it was at their last active week, and the week. Weeks are made in
order, a chunk in one transaction; when one is made again, so are the lives of it and of all later weeks.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from functools import partial
from typing import Any

from churn.config.settings import Product
from churn.features.aggregates import ledger
from churn.features.aggregates.tables import VersionedTables, analyze, digest, run
from churn.features.aggregates.weekly import WEEKS_AT_ONCE
from churn.features.product_filter import match_names, match_parameters
from churn.warehouse.base import Session, Warehouse
from churn.warehouse.retries import retry_transaction, run_ddl_once
from churn.warehouse.templates import Step, canonical_sql, create_table, insert, load_step

LIFETIME, LATEST, LEDGER = "user_life", "user_state", "life_weeks"
# Of both tables: the state is each user's latest life.
COLUMNS = {
    "user_id": "varchar(255) not null",
    **dict.fromkeys(("week_start", "first_week", "first_date", "last_date", "back_week"), "date"),
    **dict.fromkeys(("active_weeks", "active_days", "events"), "bigint"),
    "value": "decimal(38, 4)",
    **dict.fromkeys(("longest_gap", "gaps", "steps", "sum_steps", "sum_squared_steps"), "bigint"),
}
_LEDGER_COLUMNS = {"week_start": "date not null", "build": "varchar(32) not null"}


def lifetime_tables(aggregates: VersionedTables, product: Product) -> VersionedTables:
    """Return the definition of a product's lives; products that match the same activity share them."""
    values = match_parameters(product)
    unnamed = VersionedTables(aggregates.schema, "any", {}, values)
    unnamed = replace(unnamed, names=_names(aggregates, unnamed, product))
    texts = [canonical_sql(step, unnamed.names) for step in steps(unnamed)]
    made_of = digest([COLUMNS, _LEDGER_COLUMNS, texts, sorted(values.items())])
    lives = VersionedTables(aggregates.schema, made_of, {}, values)
    return replace(lives, names=_names(aggregates, lives, product))


def steps(lives: VersionedTables) -> tuple[Step, ...]:
    """Return what makes lives of some weeks, and then the state."""
    return tuple(load_step(f"kept/{name}.sql", lives.names) for name in (LIFETIME, LATEST))


def _names(aggregates: VersionedTables, lives: VersionedTables, product: Product) -> dict[str, Any]:
    def table(name: str) -> str:
        return (lives if name in (LIFETIME, LATEST) else aggregates).table(name)

    return {**match_names(product), "kept": table}


def update_lifetime(
    warehouse: Warehouse, lives: VersionedTables, builds: Mapping[date, str]
) -> tuple[date, ...]:
    """Make lives agree with the weeks that are kept; return the weeks that were made.

    Args:
        builds: the kept weeks up to some Sunday, in order, as ``ledger.builds`` returns them.

    Raises:
        RunError: the warehouse refused; weeks that were finished stay.
    """
    for name, columns in ((LEDGER, _LEDGER_COLUMNS), (LIFETIME, COLUMNS), (LATEST, COLUMNS)):
        if not warehouse.columns(lives.table(name)):
            text = create_table(lives.table(name), columns, warehouse.dialect)
            run_ddl_once(partial(warehouse.execute, text))
    first = _first_difference(_ledger(warehouse, lives), builds)
    weeks = [week for week in builds if first and week >= first]
    for index in range(0, len(weeks), WEEKS_AT_ONCE):
        chunk = {week: builds[week] for week in weeks[index : index + WEEKS_AT_ONCE]}
        # Weeks that are kept no more go with the first chunk: later lives would begin with them.
        since = first if first and index == 0 else min(chunk)
        retry_transaction(partial(_attempt, warehouse, lives, since, chunk), "keeping users' lives")
        analyze(warehouse, lives.table(LIFETIME), lives.table(LATEST))
    return tuple(weeks)


def _ledger(statements: Warehouse | Session, lives: VersionedTables) -> dict[date, str]:
    found = statements.fetch(f"select week_start, build from {lives.table(LEDGER)}").to_pylist()
    return {row["week_start"]: row["build"] for row in found}


def _first_difference(ledger_table: Mapping[date, str], builds: Mapping[date, str]) -> date | None:
    last = max(builds, default=None)
    weeks = sorted({*builds, *(week for week in ledger_table if last and week <= last)})
    return next((week for week in weeks if ledger_table.get(week) != builds.get(week)), None)


def _attempt(warehouse: Warehouse, lives: VersionedTables, since: date, builds: Mapping[date, str]) -> None:
    """Make lives of the weeks from one on, of which some may be kept no more, in one transaction."""
    life, state, ledger_table = (lives.table(name) for name in (LIFETIME, LATEST, LEDGER))
    weeks = {"first_week": since, "last_week": max(builds)}
    with warehouse.transaction(computes=True) as session:
        session.lock(ledger_table)
        there = _ledger(session, lives)
        if {week: build for week, build in there.items() if since <= week <= max(builds)} == builds:
            return  # another run was quicker
        if any(week >= since for week in there):
            for table in (life, ledger_table):
                run(warehouse, session, f"delete from {table} where week_start >= :first_week", weeks)
            session.execute(f"delete from {state}")
            _insert(warehouse, session, lives, LATEST, {"first_week": ledger.HISTORY_START})
        _insert(warehouse, session, lives, LIFETIME, weeks)
        run(
            warehouse,
            session,
            f"delete from {state}"
            f" where user_id in (select user_id from {life} where week_start >= :first_week)",
            weeks,
        )
        _insert(warehouse, session, lives, LATEST, weeks)
        for week, build in builds.items():
            run(
                warehouse,
                session,
                f"insert into {ledger_table} (week_start, build) values (:week, :build)",
                {"week": week, "build": build},
            )


def _insert(
    warehouse: Warehouse, session: Session, lives: VersionedTables, name: str, weeks: Mapping[str, date]
) -> None:
    step = load_step(f"kept/{name}.sql", lives.names)
    values = {**lives.values, **weeks}
    added = insert(step, lives.names, values, lives.schema, lives.table(name), warehouse.dialect)
    session.execute(added.sql, added.parameters)
