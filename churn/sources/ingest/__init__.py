"""Turn a person's own event log into a data folder that every other command reads.

``ingest`` checks the whole log before it writes a row: either it is taken as a whole, or nothing changes.
Reading, checking and sorting are DuckDB's and spill to disk, so a log may be larger than memory.

What it writes, in ``DATA``: ``churn.toml`` and ``tables/events.activity/part-*.parquet`` with user_id string,
product string, occurred_at timestamp[us] without a zone, value double (>= 0), category, item_id and device
string or null. Rows are sorted by week, then user, then time.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb

from churn.config.settings import CONFIG_FILE
from churn.core.calendar import sunday_on_or_before
from churn.core.errors import ChurnError, RunError, SourceError
from churn.sources.ingest.checks import check_log, product_names
from churn.sources.ingest.columns import resolve_columns
from churn.sources.ingest.engine import connect, first_lines
from churn.sources.ingest.folder import check_target, staging
from churn.sources.ingest.log import Log, open_log
from churn.sources.ingest.named import NAMED_SOURCES, open_named
from churn.sources.ingest.settings import settings_text
from churn.sources.ingest.times import read_clock
from churn.sources.ingest.write import summarise, write_activity

__all__ = ["NAMED_SOURCES", "Ingested", "ingest"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ingested:
    """What came in.

    Attributes:
        source: the source as it was named.
        rows: events.
        users: distinct user ids.
        first: time of the first event.
        last: time of the last event.
        products: names of the products, the largest first, as ``--product`` takes them.
        path: the data folder.
        columns: pairs of contract column and the log's column it was read from.
        times: how times were understood, in words.
        duplicates: rows that equal an earlier row in every column; they are kept, since a log may hold them.
        adjusted: pairs of what was changed in the data and in how many rows.
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

    @property
    def last_sunday(self) -> date:
        """The last Sunday that is not after the last event: an as-of date that the log can serve."""
        return sunday_on_or_before(self.last.date())


def ingest(
    source: str | Path,
    into: str | Path,
    *,
    columns: Mapping[str, str],
    timezone: str | None = None,
    force: bool = False,
) -> Ingested:
    """Read an event log, check it, and write it as a data folder.

    Example:
        >>> churn.ingest("events.parquet", "mydata", columns={"user_id": "uid", "occurred_at": "ts"})

    Args:
        source: a Parquet file, a CSV file (``.csv``, ``.tsv``, ``.txt``, also with ``.gz``), a folder or a
            glob of either, or the name of a real log that comes with a package:
            ``grocery`` or ``cdnow`` (as a string; ``./grocery`` or a ``Path`` is always a file).
        into: the data folder to make. It appears by one rename, complete, or not at all.
        columns: contract column (user_id, occurred_at, product, value, category, item_id, device) to the
            log's column. A contract column that is not given is read from the log's column of exactly that
            name, if there is one; mapping it to an empty string leaves it out.
        timezone: the IANA zone whose wall time counts, for times that are instants (with a zone, an offset,
            or Unix epochs). Default: UTC, and for ``grocery`` its stores' zone.
        force: replace an existing data folder. A ``churn.toml`` that differs is kept beside the new one.

    Returns:
        What came in, counted.

    Raises:
        SourceError: the log is missing, unreadable, or breaks the contract; the message lists every fault,
            with counts and the first rows.
        UsageError: an argument cannot be used: an unknown column or zone, a folder that is in use.
        RunError: the data folder could not be written, for example on a full disk.
    """
    into = Path(into)
    label = str(source)
    check_target(into, force=force)
    named = NAMED_SOURCES.get(source) if isinstance(source, str) else None
    log = open_named(named, columns) if named else open_log(label)
    wanted = {name: name for name in log.columns} if named else resolve_columns(log, columns)
    try:
        with staging(into, force=force) as stage, connect(stage) as con:
            try:
                settings, done = _build(con, log, wanted, stage, into, label, timezone)
            except duckdb.OutOfMemoryException as error:
                raise RunError(f"memory or temporary space ran out: {first_lines(error)}") from error
            except duckdb.IOException as error:
                raise _classify(error, stage, label) from error
            except (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException):
                raise  # a statement of ours is wrong
            except duckdb.Error as error:
                raise SourceError(f"{label} cannot be read: {first_lines(error)}") from error
            (stage / CONFIG_FILE).write_text(settings, "utf-8")
    except OSError as error:
        raise RunError(f"{into} could not be written: {error}; nothing in it has changed") from error
    _log.info("%s: %d events of %d users in %s", label, done.rows, done.users, into)
    return done


def _build(
    con: Any, log: Log, wanted: Mapping[str, str], stage: Path, into: Path, label: str, timezone: str | None
) -> tuple[str, Ingested]:
    """Check the log, write the table into the staging folder and describe it."""
    local = log.localise(con, stage, wanted.values())
    clock = read_clock(
        con, local, wanted["occurred_at"], timezone or log.timezone, given=timezone is not None
    )
    checked = check_log(con, local, wanted, clock)
    products = product_names(con, local, wanted.get("product"))
    _log.info("%s: %d rows checked", label, checked.rows)
    parts = write_activity(con, local, wanted, clock, stage)
    summary = summarise(con, parts)
    if summary.rows != checked.rows:
        raise SourceError(f"{label} changed while it was read: {checked.rows:,} rows, then {summary.rows:,}")
    unit = log.value_unit if "value" in wanted else "events"
    ordered = dict(sorted(products.items(), key=lambda item: (-summary.products[item[1]].rows, item[0])))
    if "product" not in wanted:
        ordered = {"main": ""}
    done = Ingested(
        source=label,
        rows=summary.rows,
        users=summary.users,
        first=summary.first,
        last=summary.last,
        products=tuple(ordered),
        path=into,
        columns=tuple((name, log.shown.get(name, column)) for name, column in wanted.items()),
        times=clock.words,
        duplicates=summary.duplicates,
        adjusted=(("empty value taken as 0", checked.empty_values),) if checked.empty_values else (),
    )
    return settings_text(done.source, summary, ordered, unit, log.verb), done


def _classify(error: duckdb.Error, stage: Path, label: str) -> ChurnError:
    """Tell a file that cannot be written from a source that cannot be read."""
    text = str(error)
    if str(stage) in text or "space" in text.lower() or "could not write" in text.lower():
        return RunError(f"the data folder could not be written; nothing has changed: {first_lines(error)}")
    return SourceError(f"{label} cannot be read: {first_lines(error)}")
