"""Ledgers: one row for each week or date whose rows are stored, with the version they were made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any
from uuid import uuid4

from churn.core.calendar import WEEK
from churn.features.aggregates.tables import VersionedTables, query, run, utc_now
from churn.warehouse.base import Session, Warehouse
from churn.warehouse.retries import run_ddl_once
from churn.warehouse.templates import create_table


@dataclass(frozen=True)
class Ledger:
    """The table that says which dates the tables beside it hold.

    A transaction that changes those tables locks the ledger first and changes both, so that each date is
    stored completely or not at all.

    Attributes:
        name: the table's name without its digest.
        key: the date column; one row for each date. The tables beside it have this column too.
        version: the text column that changes when a date's rows are made again.
        columns: SQL types by column name.
    """

    name: str
    key: str
    version: str
    columns: Mapping[str, str]

    def create(self, warehouse: Warehouse, tables: VersionedTables) -> None:
        """Create the table if it does not exist; another run may do so at the same time."""
        if not warehouse.columns(tables.table(self.name)):
            text = create_table(tables.table(self.name), self.columns, warehouse.dialect)
            run_ddl_once(partial(warehouse.execute, text))

    def read(
        self, warehouse: Warehouse, tables: VersionedTables, session: Session | None = None
    ) -> dict[date, dict[str, Any]]:
        """Return all rows by date, ascending."""
        text = f"select {', '.join(self.columns)} from {tables.table(self.name)}"
        rows = query(warehouse, session or warehouse, text, {})
        return {row[self.key]: row for row in sorted(rows, key=lambda row: row[self.key])}

    def versions(
        self, warehouse: Warehouse, tables: VersionedTables, session: Session | None = None
    ) -> dict[date, str]:
        """Return the version of each date, ascending."""
        rows = self.read(warehouse, tables, session)
        return {day: row[self.version] for day, row in rows.items()}

    def delete(
        self,
        warehouse: Warehouse,
        session: Session,
        tables: VersionedTables,
        beside: Sequence[str],
        condition: str,
        values: Mapping[str, Any],
    ) -> None:
        """Delete the rows that match a condition on the date, here and in the tables beside it."""
        for name in (self.name, *beside):
            run(warehouse, session, f"delete from {tables.table(name)} where {condition}", values)

    def add(
        self, warehouse: Warehouse, session: Session, tables: VersionedTables, rows: Sequence[Sequence[Any]]
    ) -> None:
        """Insert rows, each with the values of all columns in order. Delete their dates' rows first."""
        values = {f"v{i}_{j}": value for i, row in enumerate(rows) for j, value in enumerate(row)}
        listed = ", ".join(
            f"({', '.join(f':v{i}_{j}' for j in range(len(row)))})" for i, row in enumerate(rows)
        )
        text = f"insert into {tables.table(self.name)} ({', '.join(self.columns)}) values {listed}"
        run(warehouse, session, text, values)


WEEKS = Ledger(
    "weeks",
    key="week_start",
    version="build",
    columns={
        "week_start": "date not null",
        # Rows that the week was made from, and rows that the source had when they were last counted.
        "raw_rows": "bigint not null",
        "rows_there": "bigint not null",
        "build": "varchar(32) not null",
        "built_at": "timestamp not null",
    },
)
# Empty times often become 1970-01-01 or 1900-01-01, which is no activity.
HISTORY_START = date(1970, 1, 2)
# The ledger's date for raw rows whose own date is missing or impossible.
OUTSIDE = date(1, 1, 1)


def week_row(week: date, rows: int) -> tuple[Any, ...]:
    """Return the ledger's row for a week that was made from so many raw rows."""
    return week, rows, rows, uuid4().hex, utc_now()


def week_versions(
    warehouse: Warehouse, tables: VersionedTables, session: Session | None = None
) -> dict[date, str]:
    """Return the version of each stored week by its Monday, ascending."""
    versions = WEEKS.versions(warehouse, tables, session)
    return {week: version for week, version in versions.items() if week >= HISTORY_START - WEEK}


def record_row_counts(
    warehouse: Warehouse, tables: VersionedTables, counts: Mapping[date | None, int], outside: int
) -> None:
    """Write how many raw rows the source has now, so that they are counted again only after a change.

    Args:
        counts: raw rows by Monday.
        outside: raw rows whose date is missing or impossible.
    """
    table = tables.table(WEEKS.name)
    with warehouse.transaction() as session:
        session.lock(table)
        WEEKS.delete(warehouse, session, tables, (), "week_start = :outside", {"outside": OUTSIDE})
        WEEKS.add(warehouse, session, tables, [week_row(OUTSIDE, outside)])
        text = f"update {table} set rows_there = :rows where week_start = :week"
        for week, row in WEEKS.read(warehouse, tables, session).items():
            count = counts.get(week, 0)
            if week != OUTSIDE and count != row["rows_there"]:
                run(warehouse, session, text, {"week": week, "rows": count})
