"""Removal of kept tables whose definition no run uses any more: their weeks fall behind the newest ones."""

import re
from dataclasses import dataclass
from datetime import date
from functools import partial

from churn.core.calendar import WEEK, check_weeks, monday_of
from churn.core.names import identifier
from churn.features import store
from churn.features.aggregates import lifetime
from churn.features.aggregates.ledger import WEEKS
from churn.features.aggregates.tables import query, table_names
from churn.warehouse.base import Warehouse
from churn.warehouse.retries import retry_transaction

# Each definition has a ledger table; its latest date is how far its other tables reach.
LEDGERS = (WEEKS, lifetime.LEDGER, store.LEDGER)


@dataclass(frozen=True)
class OutdatedTables:
    """The kept tables of one definition.

    Attributes:
        tables: qualified names, the ledger first.
        reached: Monday of their last week.
    """

    tables: tuple[str, ...]
    reached: date


def prune(warehouse: Warehouse, schema: str, keep_weeks: int, *, dry_run: bool) -> list[OutdatedTables]:
    """Remove the kept tables of definitions that are more than ``keep_weeks`` behind the newest one.

    The tables of a definition are removed in one transaction, under the lock that runs take. If a product was
    paused for so long, its next run makes them again from raw activity.

    Args:
        warehouse: the warehouse.
        schema: schema of the kept tables.
        keep_weeks: how many weeks a definition may be behind.
        dry_run: whether to remove nothing.

    Returns:
        The tables that were, or would be, removed.

    Raises:
        UsageError: ``keep_weeks`` is not 1 to 5,200.
        RunError: the warehouse failed; each definition's tables are all there or all gone.
    """
    check_weeks("keep_weeks", keep_weeks, least=1)
    definitions = _definitions(warehouse, identifier(schema))
    newest = max((definition.reached for definition in definitions), default=date.max)
    outdated = [each for each in definitions if newest - each.reached > keep_weeks * WEEK]
    for definition in () if dry_run else outdated:
        retry_transaction(partial(_remove, warehouse, definition), "removing kept tables")
    return outdated


def _definitions(warehouse: Warehouse, schema: str) -> list[OutdatedTables]:
    """Return the definitions that have any week; one without belongs to a run that has just started."""
    existing = table_names(warehouse, schema)
    definitions = []
    for ledger in LEDGERS:
        for name in (name for name in existing if re.fullmatch(rf"{ledger.name}_[0-9a-f]+", name)):
            ending = name.removeprefix(ledger.name)
            others = (other for other in existing if other.endswith(ending) and other != name)
            tables = tuple(f"{schema}.{identifier(table)}" for table in (name, *others))
            reached = query(warehouse, warehouse, f"select max({ledger.key}) as reached from {tables[0]}", {})
            if reached[0]["reached"] is not None:
                definitions.append(OutdatedTables(tables, monday_of(reached[0]["reached"])))
    return definitions


def _remove(warehouse: Warehouse, outdated: OutdatedTables) -> None:
    with warehouse.transaction() as session:
        session.lock(outdated.tables[0])
        for table in reversed(outdated.tables):
            session.execute(f"drop table {table}")
