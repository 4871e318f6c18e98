"""Weekly aggregates that are kept, so that each raw row of activity is read once, whatever is run how often.

What users did, by week and product of the activity, lies in tables of one schema, which every product and run
reads its features from. Bringing them forward adds the weeks that are new, each chunk of weeks in one
transaction: a week is there as a whole or not at all. A week is made from its own raw rows alone, so that
weeks made again, in any order or after a failure give the same rows.

The tables' names end in a digest of their definition: a changed one makes new tables, and never mixes. Where
the raw rows lie in files, those that were read are remembered, and all is made again if one of them changed.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import partial
from typing import Any

from churn.config.settings import Settings
from churn.core.calendar import OBSERVATION_WEEKS, WEEK, monday_of
from churn.core.errors import ConfigError
from churn.core.names import identifier, slug
from churn.features.aggregates.ledger import (
    COLUMNS,
    HISTORY_START,
    LEDGER,
    OUTSIDE,
    Rows,
    ledger_of,
    record_row_counts,
    week_versions,
    write_week,
)
from churn.features.aggregates.tables import VersionedTables, analyze, digest, run
from churn.features.catalogue import DAYPARTS, WEEKDAYS
from churn.sources.availability import activity_table
from churn.warehouse.base import Session, Warehouse
from churn.warehouse.retries import retry_transaction, run_ddl_once
from churn.warehouse.templates import (
    Step,
    canonical_sql,
    create,
    create_empty,
    create_table,
    insert,
    load_step,
    render,
)

logger = logging.getLogger(__name__)

AGGREGATES = ("week_facts", "user_week", "user_item_week")
# Raw rows of so many weeks lie in a staging table at once.
WEEKS_AT_ONCE = OBSERVATION_WEEKS
_FILES = {"file": "varchar(1000) not null", "stamp": "varchar(100) not null"}


@dataclass(frozen=True)
class AggregateUpdate:
    """What bringing the aggregates forward came to.

    Attributes:
        weeks: Mondays of the weeks that were made.
        raw_rows: rows of raw activity that were read.
        outside: rows of raw activity whose date cannot be.
        warnings: sentences for people: rows that came late, weeks without any.
    """

    weeks: tuple[date, ...]
    raw_rows: int
    outside: int
    warnings: tuple[str, ...]


def steps(kept: VersionedTables) -> tuple[Step, ...]:
    """Return what is made for some weeks: the staging table, and the aggregates in order."""
    return tuple(load_step(f"kept/{name}.sql", kept.names) for name in ("week_activity", *AGGREGATES))


def aggregate_tables(settings: Settings) -> VersionedTables:
    """Return the definition of the kept tables: they serve every product of the settings.

    Raises:
        ConfigError: two products give one feature name to different categories or devices.
    """
    categories = _by_slug(settings, "categories")
    devices = _by_slug(settings, "devices")
    names: dict[str, Any] = {
        "categories": sorted(categories),
        "devices": sorted(devices),
        "dayparts": DAYPARTS,
        "weekdays": WEEKDAYS,
    }
    values = {
        **{f"category_{name}": f";{value.replace('; ', ';')};" for name, value in categories.items()},
        **{f"device_{name}": value for name, value in devices.items()},
    }
    mapping = load_step(f"sources/{settings.source}/activity.sql", {})
    kept = VersionedTables(settings.kept_schema, "", names, values)
    texts = [canonical_sql(mapping, {}), *(canonical_sql(step, names) for step in steps(kept))]
    return replace(kept, digest=digest([settings.source, COLUMNS, texts, sorted(values.items())]))


def _by_slug(settings: Settings, field: str) -> dict[str, str]:
    found: dict[str, tuple[str, str]] = {}
    for product, definition in settings.products.items():
        for value in getattr(definition, field):
            first, other = found.setdefault(slug(value), (value, product))
            if first != value:
                raise ConfigError(
                    f"products {other!r} and {product!r} have {field} that give the same feature name: "
                    f"{first!r} and {value!r} become {slug(value)!r}. Write them alike"
                )
    return {name: value for name, (value, _) in found.items()}


def update_aggregates(
    warehouse: Warehouse,
    settings: Settings,
    schema: str,
    until: date,
    *,
    today: date,
    rebuild_weeks: int = 0,
) -> AggregateUpdate:
    """Make the kept aggregates complete up to a Sunday.

    Args:
        schema: a run's schema, where the view ``activity`` is, and where staging tables are made.
        until: the last day.
        today: rows dated after the day after it are of no week.
        rebuild_weeks: make so many of the latest weeks up to ``until`` again.

    Raises:
        RunError: the warehouse refused; weeks that were finished stay.
    """
    kept = aggregate_tables(settings)
    _make_tables(warehouse, kept, schema)
    stamps = warehouse.stamps(activity_table(settings.source))
    _forget_if_changed(warehouse, kept, stamps)
    built = _Builder(warehouse, kept, schema, stamps)
    ledger = ledger_of(warehouse, kept)
    days = {"history_start": HISTORY_START, "today": today}
    latest = monday_of(until - timedelta(days=6))
    again = {latest - index * WEEK for index in range(rebuild_weeks)}
    if ledger:
        first = min((week for week in ledger if week != OUTSIDE), default=latest)
        built.make(sorted({*_weeks(first, latest)} - ledger.keys() | again & {*_weeks(first, latest)}))
        ledger = ledger_of(warehouse, kept)
        there = _rows_there(warehouse, settings.source, schema, ledger, latest, today)
        if there == sum(rows.there for rows in ledger.values()):
            return _told(built, ledger, latest)
    found = _count_weeks(warehouse, schema, days)
    outside = found.pop(None, 0)
    past = {week: rows for week, rows in found.items() if week is not None and week <= latest}
    if past:
        built.make(sorted({*_weeks(min(past), latest)} - ledger.keys()))
    record_row_counts(warehouse, kept, found, outside)
    return _told(built, ledger_of(warehouse, kept), latest)


def _weeks(first: date, last: date) -> Iterator[date]:
    while first <= last:
        yield first
        first += WEEK


def _rows_there(
    warehouse: Warehouse, source: str, schema: str, ledger: Mapping[date, Rows], latest: date, today: date
) -> int:
    """Return how many raw rows there are, without those after the last week that is kept."""
    last = max([latest, *ledger]) + timedelta(days=6)
    text = (
        "select count(*) as later from {{ ref('activity') }}"
        " where activity_date between cast(:last as date) + 1 and cast(:today as date) + 1"
    )
    statement = render(text, {}, {"last": last, "today": today}, schema, warehouse.dialect)
    later = warehouse.fetch(statement.sql, statement.parameters)["later"][0].as_py()
    return warehouse.row_count(activity_table(source)) - int(later)


def _count_weeks(warehouse: Warehouse, schema: str, days: Mapping[str, date]) -> dict[date | None, int]:
    text = load_step("kept/weeks_found.sql", {}).text
    statement = render(text, {}, days, schema, warehouse.dialect)
    found = warehouse.fetch(statement.sql, statement.parameters).to_pylist()
    return {row["week_start"]: int(row["raw_rows"]) for row in found}


def _told(built: "_Builder", ledger: Mapping[date, Rows], latest: date) -> AggregateUpdate:
    weeks = {week: rows for week, rows in ledger.items() if week != OUTSIDE and week <= latest}
    late = {week: rows.there - rows.read for week, rows in weeks.items() if rows.there != rows.read}
    warnings = []
    if late:
        more, fewer = (sum(rows for rows in late.values() if rows * sign > 0) for sign in (1, -1))
        counts = [f"{more:,} came late"] * bool(more) + [f"{-fewer:,} are gone"] * bool(fewer)
        oldest = (latest - min(late)).days // 7 + 1
        warnings.append(
            f"of the rows of {len(late)} past week{'s' * (len(late) > 1)}, the oldest from {min(late)}, "
            f"{' and '.join(counts)} since those were read: --rebuild-weeks {oldest} reads them again"
        )
    empty = sorted(week for week, rows in weeks.items() if not rows.read)
    if empty:
        listed = ", ".join(f"{week}" for week in empty[:5]) + (", ..." if len(empty) > 5 else "")
        warnings.append(
            f"{len(empty)} week{'s have' if len(empty) > 1 else ' has'} no activity at all (of {listed}): "
            "everybody counts as away then; load what is missing"
        )
    outside = ledger[OUTSIDE].there if OUTSIDE in ledger else 0
    return AggregateUpdate(tuple(built.weeks), built.raw_rows, outside, tuple(warnings))


def invalidate_faulty_weeks(warehouse: Warehouse, settings: Settings) -> None:
    """Let weeks with rows that break the source contract be read again, once those are mended."""
    if warehouse.stamps(activity_table(settings.source)):
        return  # they lie in files, and once a file is changed everything is made anew
    kept = aggregate_tables(settings)
    found = warehouse.fetch(
        f"select distinct week_start from {kept.table('week_facts')}"
        " where null_users > 0 or negative_values > 0 or huge_values > 0"
    )
    with warehouse.transaction() as session:
        session.lock(kept.table(LEDGER))
        for week in found["week_start"].to_pylist():
            # What was made of it goes as well: once its rows are gone, there may be no such week any more.
            for name in (LEDGER, *AGGREGATES):
                gone = f"delete from {kept.table(name)} where week_start = :week"
                run(warehouse, session, gone, {"week": week})


def _make_tables(warehouse: Warehouse, kept: VersionedTables, schema: str) -> None:
    """Make the kept tables that are not there: two runs may begin with that at once.

    Schema and ledger are made first, as before them there is nothing to lock; the rest behind the ledger's
    lock, in one transaction with ``files`` last: where that is, all are.
    """
    weeks, files = kept.table(LEDGER), kept.table("files")
    if warehouse.columns(files):
        return
    run_ddl_once(partial(warehouse.execute, f"create schema if not exists {identifier(kept.schema)}"))
    run_ddl_once(partial(warehouse.execute, create_table(weeks, COLUMNS, warehouse.dialect)))

    def attempt() -> None:
        with warehouse.transaction() as session:
            session.lock(weeks)
            if warehouse.columns(files):
                return  # another run was quicker
            staging, *aggregates = steps(kept)
            no_days = {"first_day": HISTORY_START, "last_day": HISTORY_START}
            for step in (staging, *aggregates):
                table = f"{schema}.{staging.name}" if step is staging else kept.table(step.name)
                values = {**kept.values, **no_days}
                empty = create_empty(step, kept.names, values, schema, table, warehouse.dialect)
                session.execute(empty.sql, empty.parameters)
            session.execute(f"drop table {schema}.{staging.name}")
            session.execute(create_table(files, _FILES, warehouse.dialect))

    retry_transaction(attempt, "making the tables of weekly aggregates")


def _forget_if_changed(warehouse: Warehouse, kept: VersionedTables, stamps: Mapping[str, str]) -> None:
    """Empty the kept tables if a file that they were made from is not as it was."""
    read = warehouse.fetch(f"select file, stamp from {kept.table('files')}").to_pylist()
    changed = sorted(row["file"] for row in read if stamps.get(row["file"]) != row["stamp"])
    if not changed:
        return
    logger.info("weekly aggregates are made anew: %s was changed since they were made", changed[0])
    with warehouse.transaction() as session:
        for name in (LEDGER, "files", *AGGREGATES):
            session.execute(f"delete from {kept.table(name)}")


class _Builder:
    """Makes weeks, and remembers what it has made."""

    def __init__(
        self, warehouse: Warehouse, kept: VersionedTables, schema: str, stamps: Mapping[str, str]
    ) -> None:
        self.warehouse, self.kept, self.schema, self.stamps = warehouse, kept, schema, stamps
        # What was there when it was settled which weeks to make.
        self.seen = week_versions(warehouse, kept, date.max)
        self.weeks: list[date] = []
        self.raw_rows = 0

    def make(self, weeks: Sequence[date]) -> None:
        """Make weeks, given in order; those that follow on one another share a scan of the raw rows."""
        chunk: list[date] = []
        for week in weeks:
            if chunk and (week - chunk[-1] != WEEK or len(chunk) == WEEKS_AT_ONCE):
                self._make_chunk(chunk)
                chunk = []
            chunk.append(week)
        if chunk:
            self._make_chunk(chunk)

    def _make_chunk(self, weeks: Sequence[date]) -> None:
        rows = retry_transaction(lambda: self._attempt(weeks), "aggregating weeks")
        analyze(self.warehouse, *(self.kept.table(name) for name in AGGREGATES))
        self.weeks.extend(weeks)
        self.raw_rows += rows
        logger.debug("weekly aggregates of %s to %s: %s raw rows", weeks[0], weeks[-1], f"{rows:,}")

    def _attempt(self, weeks: Sequence[date]) -> int:
        """Stage the weeks' raw rows, and make of them, in one transaction, what is kept.

        They are staged before it begins: DuckDB reads what is not committed yet with one thread.
        """
        warehouse, kept, dialect = self.warehouse, self.kept, self.warehouse.dialect
        days = {"first_day": weeks[0], "last_day": weeks[-1] + timedelta(days=6)}
        staging, *_ = steps(kept)
        with warehouse.scratch(self.schema) as place:
            made = create(staging, kept.names, {**kept.values, **days}, self.schema, dialect, into=place)
            warehouse.execute(f"drop table if exists {place}.{staging.name}")  # of a broken attempt
            warehouse.execute(made.sql, made.parameters)
            with warehouse.transaction(computes=True) as session:
                session.lock(kept.table(LEDGER))
                there = week_versions(warehouse, kept, days["last_day"], session)
                # By another run; weeks that were forgotten since, as their file was changed, are made.
                made_since = all(week in there and there[week] != self.seen.get(week) for week in weeks)
                rows = {} if made_since else self._keep(session, place, weeks, days)
            warehouse.execute(f"drop table {place}.{staging.name}")
        return sum(rows.values())

    def _keep(
        self, session: Session, place: str, weeks: Sequence[date], days: Mapping[str, date]
    ) -> Mapping[date, int]:
        warehouse, kept = self.warehouse, self.kept
        staging, *aggregates = steps(kept)
        for step in aggregates:
            table = kept.table(step.name)
            run(
                warehouse,
                session,
                f"delete from {table} where week_start between :first_day and :last_day",
                days,
            )
            added = insert(step, kept.names, kept.values, place, table, warehouse.dialect)
            session.execute(added.sql, added.parameters)
        counted = session.fetch(
            f"select week_start, count(*) as raw_rows from {place}.{staging.name} group by week_start"
        ).to_pylist()
        rows = {row["week_start"]: int(row["raw_rows"]) for row in counted}
        for week in weeks:
            write_week(warehouse, session, kept, week, rows.get(week, 0))
        self._write_files(session)
        return rows

    def _write_files(self, session: Session) -> None:
        if not self.stamps:
            return
        files = self.kept.table("files")
        session.execute(f"delete from {files}")
        for file, stamp in self.stamps.items():
            run(
                self.warehouse,
                session,
                f"insert into {files} (file, stamp) values (:file, :stamp)",
                {"file": file, "stamp": stamp},
            )
