"""Turn your own event log into a data folder that every other command reads.

``ingest`` checks the whole log before it writes a row; if a check fails, nothing is written. DuckDB reads,
checks and sorts, and spills to disk, so a log may be larger than memory.

It writes, in the data folder: ``churn.toml``, ``ingested.json`` (which log it was) and
``tables/events.activity/part-*.parquet`` with user_id string, product string, occurred_at timestamp[us]
without a zone, value double (>= 0), category, item_id and device string or null. Rows are sorted by week,
then user, then time.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb

from churn.config.settings import CONFIG_FILE
from churn.core.calendar import sunday_on_or_before
from churn.core.errors import RunError, SourceError
from churn.core.private import private_files
from churn.core.values import DEFAULT_DECIMALS
from churn.sources.ingest.checks import check_log, product_names
from churn.sources.ingest.engine import can_scan, cannot_write, connect, first_lines
from churn.sources.ingest.extra import extra_columns
from churn.sources.ingest.folder import check_target, staging
from churn.sources.ingest.format_log import export_notes
from churn.sources.ingest.formats import FORMATS
from churn.sources.ingest.log import Log
from churn.sources.ingest.named import NAMED_SOURCES
from churn.sources.ingest.reading import Reading, open_source, record_source
from churn.sources.ingest.record import Record, digest, edited_settings
from churn.sources.ingest.settings import settings_text
from churn.sources.ingest.skipped import SKIPPED_FILE, without_bad_rows, write_skipped
from churn.sources.ingest.times import read_clock
from churn.sources.ingest.views import View
from churn.sources.ingest.write import Summary, summarise, write_activity

__all__ = ["FORMATS", "NAMED_SOURCES", "Ingested", "ingest"]

_log = logging.getLogger(__name__)
_MOST_LISTED = 5
_FEWEST_USERS = 3  # of which one can stand out


@dataclass(frozen=True)
class Ingested:
    """A summary of an ingested log.

    Attributes:
        source: the source as the caller named it.
        rows: number of events.
        users: distinct user ids.
        first: time of the first event.
        last: time of the last event.
        products: names of the products, the largest first, as ``--product`` takes them.
        path: the data folder.
        columns: pairs of contract column and the log's column it was read from.
        times: how times were interpreted, in words.
        duplicates: rows that equal an earlier row in every column; they are kept.
        adjusted: pairs of a change to the data and the number of changed rows.
        unused: the log's columns that were not read, in its order.
        warnings: sentences about what looks wrong in the data but was taken.
        spans: first and last time of each product, in the order of ``products``.
        value_decimals: with how many decimals values are kept and added up.
        features: pairs of a feature and the log's column that it is made from.
    """

    source: str
    rows: int
    users: int
    first: datetime
    last: datetime
    products: tuple[str, ...]
    path: Path
    columns: tuple[tuple[str, str], ...]
    times: str
    duplicates: int
    adjusted: tuple[tuple[str, int], ...]
    unused: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    spans: tuple[tuple[datetime, datetime], ...] = ()
    value_decimals: int = DEFAULT_DECIMALS
    features: tuple[tuple[str, str], ...] = ()

    @property
    def last_sunday(self) -> date:
        """The latest Sunday not after the last event: the latest possible as-of date."""
        return sunday_on_or_before(self.last.date())


@private_files()
def ingest(
    source: str | Path,
    into: str | Path,
    *,
    columns: Mapping[str, str],
    timezone: str | None = None,
    force: bool = False,
    format: str | None = None,
    events: Sequence[str] = (),
    identity: str | None = None,
    time_format: str | None = None,
    source_timezone: str | None = None,
    decimal: str = ".",
    skip_bad_rows: float = 0.0,
    keep_edits: bool = False,
    features: Sequence[str] = (),
) -> Ingested:
    """Read an event log, check it, and write it as a data folder.

    Example:
        >>> churn.ingest("events.parquet", "mydata", columns={"user_id": "uid", "occurred_at": "ts"})

    Args:
        source: a Parquet, CSV or JSON lines file (also packed), a folder or a glob of them, or the name of
            a real log from a package: ``grocery`` or ``cdnow`` (as a string; ``./grocery`` or a ``Path`` is
            always a file).
        into: the data folder to create. It is renamed into place when it is complete.
        columns: contract column (user_id, occurred_at, product, value, category, item_id, device) to the
            log's column, or a path into one (``properties.id``). A contract column that is not mapped is
            read from the log's column of exactly that name, if there is one; mapping it to an empty string
            leaves it out.
        timezone: IANA zone to which instants (times with a zone or an offset, Unix epochs) are converted.
            Default: UTC; for ``grocery`` the zone of its stores.
        force: replace an existing data folder. A different old ``churn.toml`` is kept beside the new one.
        format: name of an analytics tool whose export this is (a key of FORMATS), which says where ids, times
            and the rest are; ``columns`` then replaces single fields.
        events: with a format, names of the events that count; default: all that are activity of a person.
        identity: with a format, who counts: ``user`` (events with a user id), ``device`` (the id of the
            device or anonymous visitor), ``either`` (default: the user id or, without one, the other).
        time_format: how times are written, in strptime's codes ("%d/%m/%Y %H:%M").
        source_timezone: zone in which times without a zone were written; they become instants.
        decimal: the sign before decimals in ``value`` where it is text: "." or ",".
        skip_bad_rows: share of the rows, from 0 to 0.5, that may be skipped because they cannot be read or
            break a rule; ``skipped_rows.csv`` in the data folder lists them. Default: none may.
        keep_edits: with ``force``, keep a ``churn.toml`` that was edited since it was written; the new one
            then lies beside it as ``churn.toml.new``.
        features: more columns of the log that become features (docs/own-features.md): the mean of a number
            in 13 weeks, the last value of a text.

    Returns:
        A summary of the log.

    Raises:
        SourceError: the log is missing, unreadable, or breaks the contract; the message lists every fault
            with counts and the first rows.
        UsageError: an unknown column or zone, or a folder that is not empty.
        RunError: the data folder could not be written, for example because the disk is full.
    """
    into = Path(into)
    label = str(source)
    check_target(into, force=force)
    reading = Reading(
        timezone,
        source_timezone,
        time_format,
        decimal,
        format,
        tuple(events),
        identity,
        tuple(features),
        skip_bad_rows,
    )
    record = record_source(source, columns, reading)  # before it is read, so that a later change is seen
    log, column_of = open_source(source, label, columns, reading)
    try:
        with staging(into, force=force) as stage, connect(stage) as con:
            try:
                settings, summary = _build(con, log, column_of, stage, into, label, reading)
            except duckdb.OutOfMemoryException as error:
                raise RunError(f"memory or temporary space ran out: {first_lines(error)}") from error
            except (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException):
                raise  # a bug in our SQL
            except duckdb.IOException as error:
                if cannot_write(error, stage):
                    raise RunError(
                        f"the data folder could not be written; nothing has changed: {first_lines(error)}"
                    ) from error
                raise SourceError(_damaged(con, log, column_of)) from None
            except duckdb.Error:
                # The text of the error may quote rows.
                raise SourceError(_damaged(con, log, column_of)) from None
            edited = edited_settings(into) if keep_edits else None
            if edited is not None:
                (stage / f"{CONFIG_FILE}.new").write_text(settings, "utf-8")
            (stage / CONFIG_FILE).write_text(settings if edited is None else edited, "utf-8")
            replace(record, settings=digest(settings)).write(stage)
    except OSError as error:
        raise RunError(f"{into} could not be written: {error}; nothing in it has changed") from error
    _log.info("%s: %d events of %d users in %s", label, summary.rows, summary.users, into)
    return summary


def record_now(source: str | Path, columns: Mapping[str, str], **reading: Any) -> Record:
    """Return the record of a log as it is now, to compare with that of a data folder.

    Args:
        source: the log.
        columns: contract column to the log's column.
        reading: how to read it, as ``ingest`` takes it.

    Raises:
        SourceError: there is no such log.
    """
    return record_source(source, columns, Reading(**reading))


def _build(
    con: Any,
    log: Log,
    column_of: Mapping[str, str],
    stage: Path,
    into: Path,
    label: str,
    reading: Reading,
) -> tuple[str, Ingested]:
    """Check the log, write the table into the staging folder and describe it."""
    kept = {f"feature {column}": column for column in reading.features}
    local = log.localise(con, stage, {**column_of, **kept})
    notes = export_notes(con, local, reading.events) if isinstance(local, View) and local.kept else []
    clock = read_clock(
        con,
        local,
        column_of["occurred_at"],
        reading.timezone or log.timezone,
        given=reading.timezone is not None,
        time_format=reading.time_format,
        source_timezone=reading.source_timezone,
    )
    checked = check_log(con, local, column_of, clock, reading.skip_bad_rows)
    skipped = checked.bad_rows
    if skipped:
        write_skipped(con, local, checked.bad, stage)
        local = without_bad_rows(local, checked.bad)
        checked = check_log(con, local, column_of, clock)
    products = product_names(con, local, column_of.get("product"))
    _log.info("%s: %d rows checked", label, checked.rows)
    extras = extra_columns(con, local, reading.features)
    parts = write_activity(con, local, column_of, clock, stage, extras)
    for extra in extras:
        extra.write(stage)
    summary = summarise(con, parts)
    if summary.rows != checked.rows:
        raise SourceError(f"{label} changed while it was read: {checked.rows:,} rows, then {summary.rows:,}")
    unit = log.value_unit if "value" in column_of else "events"
    ordered = dict(sorted(products.items(), key=lambda item: (-summary.products[item[1]].rows, item[0])))
    if "product" not in column_of:
        ordered = {"main": ""}
    changes = {
        "empty value taken as 0": checked.empty_values,
        "value below 10^-12 of the usual one, counts as 0": checked.noise,
    }
    ingested = Ingested(
        source=label,
        rows=summary.rows,
        users=summary.users,
        first=summary.first,
        last=summary.last,
        products=tuple(ordered),
        path=into,
        columns=tuple((name, log.shown.get(name, column)) for name, column in column_of.items()),
        times=clock.words,
        duplicates=summary.duplicates,
        adjusted=(
            *((what, count) for what, count in changes.items() if count),
            *([(f"bad rows skipped, listed in {into / SKIPPED_FILE}", skipped)] if skipped else []),
            *notes,
        ),
        unused=tuple(name for name in log.columns if name not in (*column_of.values(), *reading.features)),
        warnings=_crowd(summary),
        spans=tuple(
            (summary.products[value or name].first, summary.products[value or name].last)
            for name, value in ordered.items()
        ),
        value_decimals=checked.decimals,
        features=tuple((extra.feature, extra.column) for extra in extras),
    )
    return settings_text(ingested.source, summary, ordered, unit, log.verb, checked.decimals), ingested


def _damaged(con: Any, log: Log, column_of: Mapping[str, str]) -> str:
    """Return which files' rows cannot be read."""
    damaged = [part.label for part in log.parts if part.scan and not can_scan(con, part.scan, column_of)]
    where = ", ".join(damaged[:_MOST_LISTED]) or log.label
    return (
        f"{where} cannot be read: the data inside are damaged or incomplete. Copy or write "
        f"{'them' if len(damaged) > 1 else 'it'} anew"
    )


def _crowd(summary: Summary) -> tuple[str, ...]:
    """Return a warning if one user id holds so many rows that it is hardly one person."""
    share = summary.most_rows / summary.rows
    if share < max(0.01, min(0.5, 20 / summary.users)) or summary.users < _FEWEST_USERS:
        return ()
    return (
        f"one user id holds {summary.most_rows:,} of {summary.rows:,} rows ({share:.0%}): is it a word for "
        "everybody unknown, a test or a bot? Remove its rows if so",
    )
