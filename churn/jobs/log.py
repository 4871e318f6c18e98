"""From an event log to reports: ingest it if it is new or has changed, and choose the as-of date.

``prepare_log`` is what ``churn run LOG`` does before it runs; ``run_log`` does all of it without Prefect.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import duckdb

from churn.config.load import load_settings
from churn.config.settings import CONFIG_FILE
from churn.core.calendar import WEEK, last_complete_as_of, monday_of, sunday_on_or_before
from churn.core.errors import UsageError
from churn.jobs.weekly.finish import RunResult
from churn.jobs.weekly.job import run
from churn.sources.ingest import Ingested, ingest, record_now
from churn.sources.ingest.engine import literal
from churn.sources.ingest.record import read_record

_WEEKS = 8  # past weeks that the last one is compared with
_PARTIAL = 0.5  # of a usual Sunday's events: with fewer, the log is taken to end during that Sunday


@dataclass(frozen=True)
class PreparedLog:
    """A log that is ready to run.

    Attributes:
        data: its data folder.
        out: the folder to write into.
        as_of: the last Sunday with a complete week.
        why: why that is not the last Sunday that the log reaches; empty if it is.
        ingested: a summary of the log; None if the data folder was up to date.
    """

    data: Path
    out: Path
    as_of: date
    why: str
    ingested: Ingested | None


def prepare_log(
    source: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    data: str | Path | None = None,
    out: str | Path | None = None,
    **reading: Any,
) -> PreparedLog:
    """Ingest a log unless its data folder is up to date, and choose the as-of date.

    A log that has changed is ingested anew beside the old data folder, which it then replaces; if that fails,
    the old one stays. A ``churn.toml`` that was edited stays.

    Args:
        source: the log, as ``churn.ingest`` takes it.
        columns: contract column to the log's column, as ``churn.ingest`` takes them.
        data: the data folder. Default: ``<name of the log>-data`` beside ``out``.
        out: the folder to write into. Default: ``<name of the log>-out``.
        reading: how to read the log: the other options of ``churn.ingest``.

    Raises:
        UsageError: the data folder holds something else, or lies within the log.
        SourceError: the log is missing, unreadable, or breaks the contract.
    """
    name = log_name(source)
    into_out = Path(out) if out is not None else Path(f"{name}-out")
    into = Path(data) if data is not None else into_out.parent / f"{name}-data"
    _check_place(source, into)
    now = record_now(source, columns or {}, **reading)
    before = read_record(into)
    ingested = None
    if before is None or not before.same_log(now):
        if before is not None and before.source != now.source:
            raise UsageError(
                f"{into} was made from another log, {before.source}: name another folder with --data"
            )
        replace = before is not None
        ingested = ingest(source, into, columns=columns or {}, force=replace, keep_edits=replace, **reading)
    as_of, why = last_complete_sunday(into)
    return PreparedLog(into, into_out, as_of, why, ingested)


def run_log(
    source: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    products: Sequence[str] = (),
    as_of: date | None = None,
    data: str | Path | None = None,
    out: str | Path | None = None,
    force: bool = False,
    **reading: Any,
) -> list[RunResult]:
    """Ingest a log if needed, and run the weekly job for its products.

    Example:
        >>> churn.run_log("plays.csv", columns={"user_id": "uid", "occurred_at": "ts"})

    Args:
        source: the log, as ``churn.ingest`` takes it.
        columns: contract column to the log's column.
        products: names of products; default: every product of the data folder.
        as_of: Sunday on which features end; default: the last one with a complete week.
        data: the data folder. Default: ``<name of the log>-data`` beside ``out``.
        out: the folder to write into. Default: ``<name of the log>-out``.
        force: make new runs even if there are some already.
        reading: how to read the log: the other options of ``churn.ingest``.

    Returns:
        One result for each product.

    Raises:
        ChurnError: the log cannot be taken, or a run failed; runs of earlier products are committed.
    """
    log = prepare_log(source, columns=columns, data=data, out=out, **reading)
    settings = load_settings(log.data, log.out)
    return [
        run(settings, name, as_of or log.as_of, force=force) for name in products or list(settings.products)
    ]


def log_name(source: str | Path) -> str:
    """Return the name of a log for its folders.

    Example:
        >>> log_name("logs/plays.csv.gz"), log_name("logs/2026-*/*.parquet"), log_name("grocery")
        ('plays', 'logs', 'grocery')
    """
    parts = Path(source).expanduser().parts
    plain = [part for part in parts if not re.search(r"[*?\[]", part)]
    at = len(plain) if len(plain) < len(parts) else len(parts)
    last = Path(*parts[:at]).name if at else ""
    if at == len(parts):
        last = Path(source).expanduser().absolute().name if last in ("", ".", "..") else last
        path = Path(source).expanduser()
        last = last if path.is_dir() else last.split(".", 1)[0] or last
    return last or "log"


def _check_place(source: str | Path, into: Path) -> None:
    path = Path(source).expanduser()
    if not path.is_dir():
        return
    if (path / CONFIG_FILE).is_file():
        raise UsageError(f"{source} is a data folder, not a log: churn run --data {source}")
    if path.resolve() in (into.expanduser().resolve(), *into.expanduser().resolve().parents):
        raise UsageError(
            f"the data folder {into} would lie within the log {source}: name one outside of it with --data"
        )


def last_complete_sunday(data: Path) -> tuple[date, str]:
    """Return the last Sunday up to which an ingested log is complete, and why it is not a later one.

    A week is complete if the log goes on after it, or ends on its Sunday with at least half of the events of
    a usual Sunday, or ends on an earlier day after which there are usually no events in a week.

    Args:
        data: a data folder of an ingested log.
    """
    files = literal(str(data / "tables" / "events.activity" / "*.parquet"))
    with duckdb.connect() as con:
        rows = con.execute(
            f"SELECT CAST(occurred_at AS DATE) AS day, count(*) FROM read_parquet({files}) GROUP BY 1"
        ).fetchall()
    events = {day: int(count) for day, count in rows}
    last = max(events)
    sunday = monday_of(last) + timedelta(days=6)
    latest = last_complete_as_of(date.today())
    if sunday > latest:
        return min(latest, sunday_on_or_before(last)), ""
    past = [sunday - weeks * WEEK for weeks in range(1, _WEEKS + 1) if sunday - weeks * WEEK > min(events)]
    if last == sunday:
        usual = median(events.get(day, 0) for day in past) if past else 0
        if events[last] < _PARTIAL * usual:
            return sunday - WEEK, (
                f"the log seems to end during Sunday {sunday}, with {events[last]:,} events "
                f"(usually {usual:,.0f})"
            )
        return sunday, ""
    after = [
        events.get(day + timedelta(days=ahead), 0)
        for day in (last - weeks * WEEK for weeks in range(1, len(past) + 1))
        for ahead in range(1, (sunday - last).days + 1)
    ]
    if past and not any(after):
        return sunday, ""
    return sunday - WEEK, f"the log ends on {last}, in the middle of a week"
