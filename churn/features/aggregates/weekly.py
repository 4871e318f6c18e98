"""Weekly aggregates: what users did, by week and product, so that each raw row of activity is read once.

All products and runs read their features from these tables, which lie in one schema. An update adds the new
weeks, a chunk in each transaction: a week is stored completely or not at all. A week is made from its own raw
rows alone, so it gives the same rows when it is made again, in any order or after a failure.

The tables' names end in a digest of their definition, so a changed definition makes new tables. Where raw
rows lie in files, the files read are recorded, and everything is made again if one of them changed.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import Any

from churn.config.settings import Settings
from churn.core.calendar import OBSERVATION_WEEKS, WEEK, monday_of
from churn.core.errors import ConfigError
from churn.core.names import identifier, slug
from churn.core.values import value_names
from churn.features.aggregates.ledger import (
    HISTORY_START,
    OUTSIDE,
    WEEKS,
    record_row_counts,
    week_row,
    week_versions,
)
from churn.features.aggregates.tables import VersionedTables, digest, query, run
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
)

logger = logging.getLogger(__name__)

AGGREGATES = ("week_facts", "user_week", "user_item_week", "week_users")  # in the order of their making
# The staging table holds raw rows of at most this many weeks.
WEEKS_AT_ONCE = OBSERVATION_WEEKS
_FILES = {"file": "varchar(1000) not null", "stamp": "varchar(100) not null"}


@dataclass(frozen=True)
class AggregateUpdate:
    """What an update of the aggregates did.

    Attributes:
        weeks: Mondays of the weeks that were made.
        raw_rows: raw rows that were read.
        outside: raw rows whose date is missing or impossible.
        warnings: sentences for people: rows that came late.
    """

    weeks: tuple[date, ...]
    raw_rows: int
    outside: int
    warnings: tuple[str, ...]


def steps(tables: VersionedTables) -> tuple[Step, ...]:
    """Return the SQL steps of some weeks: the staging table, then the aggregates in order."""
    return tuple(
        load_step(f"aggregates/{name}.sql", tables.in_templates) for name in ("week_activity", *AGGREGATES)
    )


def aggregate_tables(settings: Settings) -> VersionedTables:
    """Return the definition of the tables, which serve every product of the settings.

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
        **value_names(settings.value_decimals),
    }
    values = {
        **{f"category_{name}": f";{value.replace('; ', ';')};" for name, value in categories.items()},
        **{f"device_{name}": value for name, value in devices.items()},
    }
    mapping = load_step(f"sources/{settings.source}/activity.sql", {})
    unnamed = VersionedTables("any", "any", names, values)
    made = [canonical_sql(step, unnamed.in_templates) for step in steps(unnamed)]
    texts = [canonical_sql(mapping, {}), *made]
    definition = digest([settings.source, WEEKS.columns, texts, sorted(values.items())])
    return VersionedTables(settings.kept_schema, definition, names, values)


def _by_slug(settings: Settings, field: str) -> dict[str, str]:
    first_uses: dict[str, tuple[str, str]] = {}
    for product, definition in settings.products.items():
        for value in getattr(definition, field):
            first, other = first_uses.setdefault(slug(value), (value, product))
            if first != value:
                raise ConfigError(
                    f"products {other!r} and {product!r} have {field} that give the same feature name: "
                    f"{first!r} and {value!r} become {slug(value)!r}. Write them alike"
                )
    return {name: value for name, (value, _) in first_uses.items()}


def update_aggregates(
    warehouse: Warehouse, settings: Settings, schema: str, until: date, *, today: date, rebuild_weeks: int = 0
) -> AggregateUpdate:
    """Complete the aggregates up to a Sunday.

    Args:
        schema: a run's schema, which has the view ``activity`` and gets the staging tables.
        until: the Sunday.
        today: rows dated more than a day after it belong to no week.
        rebuild_weeks: how many of the latest weeks up to ``until`` to make again.

    Raises:
        RunError: the warehouse refused. Weeks that were finished stay.
    """
    tables = aggregate_tables(settings)
    _create_tables(warehouse, tables, schema)
    stamps = warehouse.stamps(activity_table(settings.source))
    _clear_if_files_changed(warehouse, tables, stamps)
    builder = _Builder(warehouse, tables, schema, stamps)
    stored = WEEKS.read(warehouse, tables)
    latest = monday_of(until - timedelta(days=6))
    if stored:
        weeks = {*_weeks(min((week for week in stored if week != OUTSIDE), default=latest), latest)}
        rebuild = {latest - index * WEEK for index in range(rebuild_weeks)}
        builder.build(sorted(weeks - stored.keys() | rebuild & weeks))
        stored = WEEKS.read(warehouse, tables)
        now = _source_rows(warehouse, settings.source, schema, max([latest, *stored]), today)
        if now == sum(row["rows_there"] for row in stored.values()):
            return _summary(builder, stored, latest)
    counts = _rows_by_week(warehouse, schema, {"history_start": HISTORY_START, "today": today})
    outside = counts.pop(None, 0)
    past = [week for week in counts if week is not None and week <= latest]
    if past:
        builder.build(sorted({*_weeks(min(past), latest)} - stored.keys()))
    record_row_counts(warehouse, tables, counts, outside)
    return _summary(builder, WEEKS.read(warehouse, tables), latest)


def _weeks(first: date, last: date) -> Iterator[date]:
    while first <= last:
        yield first
        first += WEEK


def _source_rows(warehouse: Warehouse, source: str, schema: str, last_week: date, today: date) -> int:
    """Return how many raw rows the source has, without those dated after a week."""
    text = (
        "select count(*) as later from {{ ref('activity') }}"
        " where activity_date between cast(:last as date) + 1 and cast(:today as date) + 1"
    )
    days = {"last": last_week + timedelta(days=6), "today": today}
    (row,) = query(warehouse, warehouse, text, days, schema=schema)
    return warehouse.row_count(activity_table(source)) - int(row["later"])


def _rows_by_week(warehouse: Warehouse, schema: str, days: Mapping[str, date]) -> dict[date | None, int]:
    """Return the source's raw rows by Monday; None holds those whose date is missing or impossible."""
    text = load_step("aggregates/weeks_found.sql", {}).text
    rows = query(warehouse, warehouse, text, days, schema=schema)
    return {row["week_start"]: int(row["raw_rows"]) for row in rows}


def _summary(builder: "_Builder", stored: Mapping[date, Mapping[str, Any]], latest: date) -> AggregateUpdate:
    weeks = {week: row for week, row in stored.items() if week != OUTSIDE and week <= latest}
    changes = {week: row["rows_there"] - row["raw_rows"] for week, row in weeks.items()}
    late = {week: rows for week, rows in changes.items() if rows}
    warnings = []
    if late:
        more, fewer = (sum(rows for rows in late.values() if rows * sign > 0) for sign in (1, -1))
        counts = [f"{more:,} came late"] * bool(more) + [f"{-fewer:,} are gone"] * bool(fewer)
        oldest = (latest - min(late)).days // 7 + 1
        warnings.append(
            f"rows of {len(late)} past week{'s' * (len(late) > 1)}, the oldest from {min(late)}, changed "
            f"after they were read: {' and '.join(counts)}. --rebuild-weeks {oldest} reads them again"
        )
    outside = int(stored[OUTSIDE]["rows_there"]) if OUTSIDE in stored else 0
    return AggregateUpdate(tuple(builder.weeks), builder.raw_rows, outside, tuple(warnings))


def invalidate_faulty_weeks(warehouse: Warehouse, settings: Settings) -> None:
    """Delete weeks with rows that break the source contract, so that they are read again once mended."""
    if warehouse.stamps(activity_table(settings.source)):
        return  # a mended file is a changed file, and then everything is made again
    tables = aggregate_tables(settings)
    faulty = warehouse.fetch(
        f"select week_start from {tables.table('week_facts')}"
        " where null_users > 0 or long_users > 0 or negative_values > 0 or huge_values > 0"
        f" union select week_start from {tables.table('user_week')}"
        f" where value >= {tables.names['highest_sum']}"
    )
    with warehouse.transaction() as session:
        session.lock(tables.table(WEEKS.name))
        for week in faulty["week_start"].to_pylist():
            # The aggregates too: if all rows of the week are removed, it is not made again.
            WEEKS.delete(warehouse, session, tables, AGGREGATES, "week_start = :week", {"week": week})


def _create_tables(warehouse: Warehouse, tables: VersionedTables, schema: str) -> None:
    """Create the tables if they do not exist; two runs may do so at the same time.

    The ledger comes first, since it is what runs lock. The others are created under its lock in one
    transaction, ``files`` last: if that exists, all do.
    """
    files = tables.table("files")
    if warehouse.columns(files):
        return
    run_ddl_once(partial(warehouse.execute, f"create schema if not exists {identifier(tables.schema)}"))
    WEEKS.create(warehouse, tables)

    def attempt() -> None:
        with warehouse.transaction() as session:
            session.lock(tables.table(WEEKS.name))
            if warehouse.columns(files):
                return  # another run was quicker
            staging, *aggregates = steps(tables)
            values = {**tables.values, "first_day": HISTORY_START, "last_day": HISTORY_START}
            for step in (staging, *aggregates):
                table = f"{schema}.{staging.name}" if step is staging else tables.table(step.name)
                empty = create_empty(step, tables.in_templates, values, schema, table, warehouse.dialect)
                session.execute(empty.sql, empty.parameters)
            session.execute(f"drop table {schema}.{staging.name}")
            session.execute(create_table(files, _FILES, warehouse.dialect))

    retry_transaction(attempt, "creating the tables of weekly aggregates")


def _clear_if_files_changed(warehouse: Warehouse, tables: VersionedTables, stamps: Mapping[str, str]) -> None:
    """Empty the tables if a file that they were made from has changed."""
    read = warehouse.fetch(f"select file, stamp from {tables.table('files')}").to_pylist()
    changed = sorted(row["file"] for row in read if stamps.get(row["file"]) != row["stamp"])
    if not changed:
        return
    logger.info("weekly aggregates are made again: %s changed after they were made", changed[0])
    with warehouse.transaction() as session:
        session.lock(tables.table(WEEKS.name))
        for name in (WEEKS.name, "files", *AGGREGATES):
            session.execute(f"delete from {tables.table(name)}")


class _Builder:
    """Makes weeks, and counts what it made."""

    def __init__(
        self, warehouse: Warehouse, tables: VersionedTables, schema: str, stamps: Mapping[str, str]
    ) -> None:
        self.warehouse, self.tables, self.schema, self.stamps = warehouse, tables, schema, stamps
        # The versions on which the caller decides which weeks to make.
        self.versions = week_versions(warehouse, tables)
        self.weeks: list[date] = []
        self.raw_rows = 0

    def build(self, weeks: Sequence[date]) -> None:
        """Make weeks, given in order; up to 13 consecutive ones share a scan of the raw rows."""
        chunk: list[date] = []
        for week in weeks:
            if chunk and (week - chunk[-1] != WEEK or len(chunk) == WEEKS_AT_ONCE):
                self._build_chunk(chunk)
                chunk = []
            chunk.append(week)
        if chunk:
            self._build_chunk(chunk)

    def _build_chunk(self, weeks: Sequence[date]) -> None:
        rows = retry_transaction(lambda: self._attempt(weeks), "aggregating weeks")
        self.warehouse.analyze(*(self.tables.table(name) for name in AGGREGATES))
        self.weeks.extend(weeks)
        self.raw_rows += rows
        logger.debug("weekly aggregates of %s to %s: %s raw rows", weeks[0], weeks[-1], f"{rows:,}")

    def _attempt(self, weeks: Sequence[date]) -> int:
        """Stage the weeks' raw rows, then write the weeks in one transaction; return the raw rows.

        Rows are staged before the transaction, since DuckDB reads uncommitted rows with one thread only.
        """
        warehouse, tables, dialect = self.warehouse, self.tables, self.warehouse.dialect
        days = {"first_day": weeks[0], "last_day": weeks[-1] + timedelta(days=6)}
        staging, *_ = steps(tables)
        with warehouse.scratch(self.schema) as place:
            values = {**tables.values, **days}
            create_staging = create(staging, tables.in_templates, values, self.schema, dialect, into=place)
            warehouse.execute(f"drop table if exists {place}.{staging.name}")  # of a broken attempt
            warehouse.execute(create_staging.sql, create_staging.parameters)
            with warehouse.transaction(computes=True) as session:
                session.lock(tables.table(WEEKS.name))
                now = week_versions(warehouse, tables, session)
                # Weeks that another run deleted meanwhile, as their file changed, are made here.
                made_by_another = all(week in now and now[week] != self.versions.get(week) for week in weeks)
                rows = 0 if made_by_another else self._write(session, place, weeks, days)
            warehouse.execute(f"drop table {place}.{staging.name}")
        return rows

    def _write(self, session: Session, place: str, weeks: Sequence[date], days: Mapping[str, date]) -> int:
        warehouse, tables = self.warehouse, self.tables
        between = "week_start between :first_day and :last_day"
        WEEKS.delete(warehouse, session, tables, AGGREGATES, between, days)
        staging, *aggregates = steps(tables)
        values = {**tables.values, **days}
        for step in aggregates:
            table = tables.table(step.name)
            added = insert(step, tables.in_templates, values, place, table, warehouse.dialect)
            session.execute(added.sql, added.parameters)
        counted = session.fetch(
            f"select week_start, count(*) as raw_rows from {place}.{staging.name} group by week_start"
        ).to_pylist()
        rows = {row["week_start"]: int(row["raw_rows"]) for row in counted}
        WEEKS.add(warehouse, session, tables, [week_row(week, rows.get(week, 0)) for week in weeks])
        self._write_files(session)
        return sum(rows.values())

    def _write_files(self, session: Session) -> None:
        if not self.stamps:
            return
        files = self.tables.table("files")
        session.execute(f"delete from {files}")
        text = f"insert into {files} (file, stamp) values (:file, :stamp)"
        for file, stamp in self.stamps.items():
            run(self.warehouse, session, text, {"file": file, "stamp": stamp})
