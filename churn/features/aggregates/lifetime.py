"""Lifetime totals: what each user did with a product from their first week to each active week.

Each active week stores the user's running totals up to and including it, so whole-life features read the new
week only. Weeks are made in order, a chunk in each transaction. When a week is made again, so are the totals
of it and of all later weeks.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from functools import partial
from typing import Any

from churn.config.settings import Product
from churn.features.aggregates.ledger import HISTORY_START, Ledger
from churn.features.aggregates.tables import VersionedTables, digest, run
from churn.features.aggregates.weekly import WEEKS_AT_ONCE
from churn.features.product_filter import match_names, match_parameters
from churn.warehouse.base import Session, Warehouse
from churn.warehouse.retries import retry_transaction, run_ddl_once
from churn.warehouse.templates import Step, canonical_sql, create_table, insert, load_step

LIFETIME, LATEST = "user_life", "user_state"
LEDGER = Ledger(
    "life_weeks",
    key="week_start",
    version="build",
    columns={"week_start": "date not null", "build": "varchar(32) not null"},
)


def columns(names: Mapping[str, Any]) -> dict[str, str]:
    """Return the columns of both tables with their types; ``user_state`` holds each user's latest row."""
    return {
        "user_id": "varchar(255) not null",
        **dict.fromkeys(("week_start", "first_week", "first_date", "last_date", "back_week"), "date"),
        **dict.fromkeys(("active_weeks", "active_days", "events"), "bigint"),
        "value": names["lifetime_value_type"],
        **dict.fromkeys(("longest_gap", "gaps", "steps", "sum_steps", "sum_squared_steps"), "bigint"),
    }


def lifetime_tables(aggregates: VersionedTables, product: Product) -> VersionedTables:
    """Return the definition of a product's lifetime tables; products with the same filter share them."""
    values = match_parameters(product)
    unnamed = VersionedTables(aggregates.schema, "any", {}, values)
    unnamed = replace(unnamed, names=_names(aggregates, unnamed, product))
    texts = [canonical_sql(step, unnamed.names) for step in steps(unnamed)]
    definition = digest([columns(aggregates.names), LEDGER.columns, texts, sorted(values.items())])
    tables = VersionedTables(aggregates.schema, definition, {}, values)
    return replace(tables, names=_names(aggregates, tables, product))


def steps(tables: VersionedTables) -> tuple[Step, ...]:
    """Return the SQL steps of some weeks: the totals, then the latest row of each user."""
    return tuple(load_step(f"aggregates/{name}.sql", tables.names) for name in (LIFETIME, LATEST))


def _names(aggregates: VersionedTables, tables: VersionedTables, product: Product) -> dict[str, Any]:
    def table(name: str) -> str:
        return (tables if name in (LIFETIME, LATEST) else aggregates).table(name)

    value_type = aggregates.names["lifetime_value_type"]
    return {**match_names(product), "lifetime_value_type": value_type, "kept": table}


def update_lifetime(
    warehouse: Warehouse, tables: VersionedTables, versions: Mapping[date, str]
) -> tuple[date, ...]:
    """Make the totals of new weeks and of weeks after a changed one; return the Mondays that were made.

    Args:
        versions: the aggregated weeks up to some Sunday, from ``ledger.week_versions``.

    Raises:
        RunError: the warehouse refused. Weeks that were finished stay.
    """
    LEDGER.create(warehouse, tables)
    for name in (LIFETIME, LATEST):
        if not warehouse.columns(tables.table(name)):
            text = create_table(tables.table(name), columns(tables.names), warehouse.dialect)
            run_ddl_once(partial(warehouse.execute, text))
    first = _first_difference(LEDGER.versions(warehouse, tables), versions)
    weeks = [week for week in versions if first and week >= first]
    for index in range(0, len(weeks), WEEKS_AT_ONCE):
        chunk = {week: versions[week] for week in weeks[index : index + WEEKS_AT_ONCE]}
        # The first chunk also deletes weeks that are no longer aggregated: later totals would build on them.
        since = first if first and index == 0 else min(chunk)
        retry_transaction(partial(_attempt, warehouse, tables, since, chunk), "storing lifetime totals")
        warehouse.analyze(tables.table(LIFETIME), tables.table(LATEST))
    return tuple(weeks)


def _first_difference(stored: Mapping[date, str], versions: Mapping[date, str]) -> date | None:
    last = max(versions, default=None)
    weeks = sorted({*versions, *(week for week in stored if last and week <= last)})
    return next((week for week in weeks if stored.get(week) != versions.get(week)), None)


def _attempt(
    warehouse: Warehouse, tables: VersionedTables, since: date, versions: Mapping[date, str]
) -> None:
    """Replace the totals from a week on by those of the given weeks, in one transaction."""
    lifetime, latest = tables.table(LIFETIME), tables.table(LATEST)
    weeks = {"first_week": since, "last_week": max(versions)}
    with warehouse.transaction(computes=True) as session:
        session.lock(tables.table(LEDGER.name))
        stored = LEDGER.versions(warehouse, tables, session)
        if {week: version for week, version in stored.items() if since <= week <= max(versions)} == versions:
            return  # another run was quicker
        if any(week >= since for week in stored):
            LEDGER.delete(warehouse, session, tables, [LIFETIME], "week_start >= :first_week", weeks)
            session.execute(f"delete from {latest}")
            _insert(warehouse, session, tables, LATEST, {"first_week": HISTORY_START})
        _insert(warehouse, session, tables, LIFETIME, weeks)
        active = f"select user_id from {lifetime} where week_start >= :first_week"
        run(warehouse, session, f"delete from {latest} where user_id in ({active})", weeks)
        _insert(warehouse, session, tables, LATEST, weeks)
        LEDGER.add(warehouse, session, tables, [*versions.items()])


def _insert(
    warehouse: Warehouse, session: Session, tables: VersionedTables, name: str, weeks: Mapping[str, date]
) -> None:
    step = load_step(f"aggregates/{name}.sql", tables.names)
    values = {**tables.values, **weeks}
    added = insert(step, tables.names, values, tables.schema, tables.table(name), warehouse.dialect)
    session.execute(added.sql, added.parameters)
