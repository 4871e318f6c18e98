"""Kept tables of definitions that no run uses any more: known by the weeks they have reached, and removed."""

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

# Each definition has one of these; its latest date says how far the tables beside it have come.
LEDGERS = (WEEKS, lifetime.LEDGER, store.LEDGER)


@dataclass(frozen=True)
class OutdatedTables:
    """The kept tables of one definition.

    Attributes:
        tables: qualified names, the ledger first.
        reached: Monday of the last week that they have.
    """

    tables: tuple[str, ...]
    reached: date


def prune(warehouse: Warehouse, schema: str, keep_weeks: int, *, dry_run: bool) -> list[OutdatedTables]:
    """Remove the kept tables of definitions that have fallen weeks behind the one that is furthest.

    Each definition's go in one transaction, behind the lock that runs take. A product that was paused for so
    long has its tables made from raw activity again.

    Args:
        schema: where tables are kept.
        keep_weeks: how many weeks a definition may be behind.
        dry_run: whether to tell only what would be removed.

    Returns:
        What was, or would be, removed.

    Raises:
        UsageError: fewer than one week, or more than a hundred years of them.
        RunError: the warehouse refused; each definition's tables are there as a whole or not at all.
    """
    check_weeks("keep_weeks", keep_weeks, least=1)
    found = _definitions(warehouse, identifier(schema))
    furthest = max((each.reached for each in found), default=date.max)
    old = [each for each in found if furthest - each.reached > keep_weeks * WEEK]
    for each in () if dry_run else old:
        retry_transaction(partial(_remove, warehouse, each), "removing kept tables")
    return old


def _definitions(warehouse: Warehouse, schema: str) -> list[OutdatedTables]:
    """Return the definitions that have reached any week; another is that of a run that has just begun."""
    there = table_names(warehouse, schema)
    found = []
    for ledger in LEDGERS:
        for name in (name for name in there if re.fullmatch(rf"{ledger.name}_[0-9a-f]+", name)):
            ending = name.removeprefix(ledger.name)
            others = (other for other in there if other.endswith(ending) and other != name)
            tables = tuple(f"{schema}.{identifier(each)}" for each in (name, *others))
            reached = query(warehouse, warehouse, f"select max({ledger.key}) as reached from {tables[0]}", {})
            if reached[0]["reached"] is not None:
                found.append(OutdatedTables(tables, monday_of(reached[0]["reached"])))
    return found


def _remove(warehouse: Warehouse, old: OutdatedTables) -> None:
    with warehouse.transaction() as session:
        session.lock(old.tables[0])
        for table in reversed(old.tables):
            session.execute(f"drop table {table}")
