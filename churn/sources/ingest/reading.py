"""How a log is to be read: the options of ``ingest``, and the log that they open."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from churn.core.errors import UsageError
from churn.sources.ingest.columns import resolve_columns
from churn.sources.ingest.extra import check_extra_columns
from churn.sources.ingest.find import log_files, open_log
from churn.sources.ingest.format_log import export_files, open_format
from churn.sources.ingest.log import Log
from churn.sources.ingest.named import NAMED_SOURCES, open_named
from churn.sources.ingest.record import Record, record_of
from churn.sources.ingest.views import with_paths

_MOST_BAD = 0.5


@dataclass(frozen=True)
class Reading:
    """How a log is to be read; ``churn.sources.ingest.ingest`` describes each option."""

    timezone: str | None = None
    source_timezone: str | None = None
    time_format: str | None = None
    decimal: str = "."
    format: str | None = None
    events: Sequence[str] = ()
    identity: str | None = None
    features: Sequence[str] = ()
    skip_bad_rows: float = 0.0


def record_source(source: str | Path, columns: Mapping[str, str], reading: Reading) -> Record:
    """Return the record of a log's files as they are now, and of how the log is read.

    Raises:
        SourceError: there is no such log.
    """
    files: list[Path] = []
    if not isinstance(source, str) or source not in NAMED_SOURCES:
        files = export_files(str(source)) if reading.format else log_files(str(source))
    return record_of(str(source), files, columns, asdict(reading))


def open_source(
    source: object, label: str, columns: Mapping[str, str], reading: Reading
) -> tuple[Log, dict[str, str]]:
    """Open a log and match its columns with the contract's.

    Args:
        source: the source as the caller named it; a text may be the name of a log from a package.
        label: the same as text.
        columns: contract column to the log's column or a path into one.
        reading: how to read it.

    Returns:
        The log, and contract column to the log's column.

    Raises:
        UsageError: options that do not go together, or an unknown format, column or name.
        SourceError: the log is missing or unreadable, or lacks a column.
    """
    if reading.decimal not in (".", ","):
        raise UsageError(f"unknown decimal sign {reading.decimal!r}; known: a point (.) and a comma (,)")
    if not 0 <= reading.skip_bad_rows <= _MOST_BAD:
        raise UsageError(f"--skip-bad-rows is from 0% to {_MOST_BAD:.0%}: a log with more should be mended")
    named = NAMED_SOURCES.get(source) if isinstance(source, str) else None
    if reading.format is None and (reading.events or reading.identity):
        raise UsageError("--event and --identity need --format: only a format says where events and ids are")
    if reading.features and (named or reading.format):
        raise UsageError("--feature names columns of a log of your own: --format and named logs have none")
    if named and reading.format:
        raise UsageError(f"{label} is a log of its own: leave --format {reading.format} out")
    if named:
        log = open_named(named, columns)
        return log, {name: name for name in log.columns}
    if reading.format:
        log = open_format(
            label,
            reading.format,
            columns=columns,
            events=reading.events,
            identity=reading.identity or "either",
        )
        return replace(log, decimal=reading.decimal), {name: name for name in log.columns}
    log = with_paths(open_log(label), [*columns.values(), *reading.features])
    resolved = resolve_columns(log, columns)
    check_extra_columns(log, reading.features, resolved)
    return replace(log, decimal=reading.decimal), resolved
