"""Which weeks are kept, made from how many raw rows: a ledger, one row a week."""

from collections.abc import Mapping
from datetime import date
from typing import NamedTuple
from uuid import uuid4

from churn.core.calendar import WEEK
from churn.features.aggregates.tables import VersionedTables, query, run, utc_now
from churn.warehouse.base import Session, Warehouse

LEDGER = "weeks"
# What an empty time often turns into, 1970-01-01 or 1900-01-01, is no activity.
HISTORY_START = date(1970, 1, 2)
# Rows of no week are counted under this one.
OUTSIDE = date(1, 1, 1)
# What is made from a week tells by `build` whether the week was made again since.
COLUMNS = {
    "week_start": "date not null",
    "raw_rows": "bigint not null",
    "rows_there": "bigint not null",
    "build": "varchar(32) not null",
    "built_at": "timestamp not null",
}


class Rows(NamedTuple):
    """A week's raw rows: of which it was made, and which were there when all were counted last."""

    read: int
    there: int


def ledger_of(
    warehouse: Warehouse, kept: VersionedTables, session: Session | None = None
) -> dict[date, Rows]:
    """Return the raw rows of each week that is kept."""
    text = f"select week_start, raw_rows, rows_there from {kept.table(LEDGER)}"
    found = query(warehouse, session or warehouse, text, {})
    return {row["week_start"]: Rows(int(row["raw_rows"]), int(row["rows_there"])) for row in found}


def record_row_counts(
    warehouse: Warehouse, kept: VersionedTables, found: Mapping[date | None, int], outside: int
) -> None:
    """Write how many raw rows there are, so that they are counted again only when there are more or fewer."""
    text = f"update {kept.table(LEDGER)} set rows_there = :rows where week_start = :week"
    with warehouse.transaction() as session:
        session.lock(kept.table(LEDGER))
        write_week(warehouse, session, kept, OUTSIDE, outside)
        for week, rows in ledger_of(warehouse, kept, session).items():
            there = found.get(week, 0)
            if week != OUTSIDE and there != rows.there:
                run(warehouse, session, text, {"week": week, "rows": there})


def write_week(warehouse: Warehouse, session: Session, kept: VersionedTables, week: date, rows: int) -> None:
    """Write that a week was made anew from so many raw rows."""
    weeks = kept.table(LEDGER)
    values = {"week": week, "rows": rows, "build": uuid4().hex, "now": utc_now()}
    run(warehouse, session, f"delete from {weeks} where week_start = :week", values)
    run(
        warehouse,
        session,
        f"insert into {weeks} (week_start, raw_rows, rows_there, build, built_at)"
        " values (:week, :rows, :rows, :build, :now)",
        values,
    )


def week_versions(
    warehouse: Warehouse, kept: VersionedTables, until: date, session: Session | None = None
) -> dict[date, str]:
    """Return the weeks kept up to a Sunday, in order, each with what tells it from itself made again."""
    text = f"select week_start, build from {kept.table(LEDGER)} where week_start between :first and :until"
    found = query(warehouse, session or warehouse, text, {"first": HISTORY_START - WEEK, "until": until})
    return {row["week_start"]: row["build"] for row in sorted(found, key=lambda row: row["week_start"])}
