"""Read a log's times: a timestamp, a date, ISO 8601 text, yyyymmdd or a Unix epoch.

*Wall times* have no zone and are used unchanged. *Instants* (with a zone or an offset, Unix epochs) are
converted to one zone's wall time, so that weeks start at its Monday midnight. A column that mixes the two, or
epochs of several units, is ambiguous and refused.
"""

import difflib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from churn.core.errors import SourceError, UsageError
from churn.sources.ingest.columns import is_number, is_text
from churn.sources.ingest.engine import identifier, literal
from churn.sources.ingest.log import Log

_DATE = r"\d{4}[-/]\d{1,2}[-/]\d{1,2}"
_TIME = r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?"
_WALL = rf"{_DATE}([T ]{_TIME})?"
_AWARE = rf"{_DATE}[T ]{_TIME} ?(Z|UTC|GMT|[+-]\d{{2}}(:?\d{{2}})?)"
_DAY = r"(19|20)\d{6}"
_EPOCH = r"\d{9,19}(\.\d+)?"

# Epoch units by magnitude, with wide gaps between them: 1973-03-03 to 2286-11-20, whatever the unit.
_UNITS = {
    "seconds": (1e8, 1e6),
    "milliseconds": (1e11, 1e3),
    "microseconds": (1e14, 1.0),
    "nanoseconds": (1e17, 1e-3),
}
_SPREAD = 100.0  # ratio of the largest to the smallest value of a unit

WANTED = (
    "wanted: a timestamp, ISO 8601 text (2026-06-28 21:00:00, with or without Z or +01:00), a date, "
    "yyyymmdd, or a Unix epoch after 1973 in seconds, milliseconds, microseconds or nanoseconds"
)
_UNREADABLE = "unreadable"

# The zone furthest ahead of UTC is 14 hours ahead, so a wall time may be that much later than now in UTC.
_FURTHEST_ZONE_HOURS = 14


@dataclass(frozen=True)
class Clock:
    """How to read a log's times.

    Attributes:
        column: the log's time column.
        sql: SQL expression of type TIMESTAMP, null if the time is empty or unreadable.
        empty: SQL condition that is true if there is no time.
        latest: the latest time that is not in the future.
        words: how times are read, in words.
    """

    column: str
    sql: str
    empty: str
    latest: datetime
    words: str


def read_clock(con: Any, log: Log, column: str, timezone: str, *, given: bool) -> Clock:
    """Return how to read a time column; the rows of text and number columns are inspected.

    Args:
        con: a DuckDB connection.
        log: the log.
        column: its time column.
        timezone: zone to which instants are converted.
        given: whether the caller named that zone.

    Raises:
        UsageError: the zone is unknown, or was named for times without a zone.
        SourceError: no time can be read, or the column mixes sorts of times.
    """
    _check_zone(con, timezone)
    kind, name = log.columns[column], identifier(column)
    if is_text(kind):
        empty = (
            f"({name} IS NULL OR trim({name}) IN ('', 'null', 'NULL', 'None', 'nan', 'NaN', 'NaT', 'N/A'))"
        )
        sort, sql = _read_text(con, log, column, empty)
    elif is_number(kind):
        empty = f"({name} IS NULL OR isnan(CAST({name} AS DOUBLE)))"
        sort, sql = _read_numbers(con, log, column, empty)
    else:
        empty = f"{name} IS NULL"
        aware = "TIME ZONE" in kind or "TZ" in kind
        if aware:
            sort, sql = (
                "instants",
                f"TRY_CAST(TRY_CAST({name} AS TIMESTAMPTZ) AS TIMESTAMP)",
            )  # session zone: UTC
        else:
            sort, sql = "dates" if kind == "DATE" else "wall times", f"TRY_CAST({name} AS TIMESTAMP)"
    if sort == _UNREADABLE:
        return Clock(column, sql, empty, _utc_now(), sort)
    if sort not in ("dates", "wall times"):
        local = _local(sql, timezone)
        now = con.execute(
            f"SELECT {_local('TIMESTAMP ' + literal(_utc_now().isoformat(' ')), timezone)}"
        ).fetchone()[0]
        return Clock(column, local, empty, now, f"{sort}, read as {timezone} time")
    if given:
        raise UsageError(
            f"{log.label}: the {sort} in {column!r} have no zone and are taken as they stand: leave "
            f"--timezone {timezone} out, or write the times with their offset (2026-06-28T21:00:00Z)"
        )
    latest = con.execute(
        f"SELECT TIMESTAMP {literal(_utc_now().isoformat(' '))} + INTERVAL {_FURTHEST_ZONE_HOURS} HOUR"
    ).fetchone()[0]
    return Clock(column, sql, empty, latest, f"{sort} without a zone, taken as they stand")


def _utc_now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _local(sql: str, timezone: str) -> str:
    return sql if timezone == "UTC" else f"timezone({literal(timezone)}, timezone('UTC', {sql}))"


def _check_zone(con: Any, timezone: str) -> None:
    known = [row[0] for row in con.execute("SELECT name FROM pg_timezone_names()").fetchall()]
    if timezone not in known:
        ends = {name.rsplit("/", 1)[-1].lower(): name for name in known} | {
            name.lower(): name for name in known
        }
        similar = difflib.get_close_matches(timezone.lower(), ends, n=3)
        hint = (
            f"did you mean {' or '.join(ends[name] for name in similar)}?"
            if similar
            else "for example Europe/London"
        )
        raise UsageError(f"unknown time zone {timezone!r}: an IANA name is wanted, {hint}")


def _epoch(number: str, sort: str) -> str:
    if sort == _UNREADABLE:
        return "CAST(NULL AS TIMESTAMP)"
    unit = sort.removeprefix("Unix ")
    micros = f"CAST(round({number} * {_UNITS[unit][1]!r}) AS BIGINT)"
    return f"CASE WHEN {_in_unit(number, unit)} THEN make_timestamp({micros}) END"


def _in_unit(number: str, unit: str) -> str:
    low, _ = _UNITS[unit]
    return f"{number} >= {low!r} AND {number} < {low * _SPREAD!r}"


def _day(text: str) -> str:
    return f"CASE WHEN regexp_full_match({text}, '{_DAY}') THEN try_strptime({text}, '%Y%m%d') END"


def _whole(number: str) -> str:
    return f"CASE WHEN {number} = floor({number}) THEN CAST(TRY_CAST({number} AS BIGINT) AS VARCHAR) END"


def _read_text(con: Any, log: Log, column: str, empty: str) -> tuple[str, str]:
    text, number = "trim(t)", "TRY_CAST(trim(t) AS DOUBLE)"
    tests = {
        "wall": f"regexp_full_match({text}, '{_WALL}')",
        "dates": f"regexp_full_match({text}, '{_DATE}')",
        "aware": f"regexp_full_match({text}, '{_AWARE}')",
        "days": f"regexp_full_match({text}, '{_DAY}')",
        **{
            unit: f"regexp_full_match({text}, '{_EPOCH}') AND coalesce({_in_unit(number, unit)}, false)"
            for unit in _UNITS
        },
    }
    counts = _count(con, log, column, empty, tests)
    sorts = {
        "wall times": counts["wall"] + counts["days"],
        "instants": counts["aware"],
        **{f"Unix {unit}": counts[unit] for unit in _UNITS},
    }
    sort = _only(log, column, sorts)
    text = f"trim({identifier(column)})"
    if sort == "wall times":
        if counts["wall"] == counts["dates"]:
            sort = "dates"
        iso = f"CASE WHEN regexp_full_match({text}, '{_WALL}') THEN TRY_CAST({text} AS TIMESTAMP) END"
        return sort, f"coalesce({iso}, {_day(text)})" if counts["days"] else iso
    if sort == "instants":
        joined = f"replace(replace({text}, ' +', '+'), ' -', '-')"  # DuckDB wants no space before an offset
        instant = f"TRY_CAST(TRY_CAST({joined} AS TIMESTAMPTZ) AS TIMESTAMP)"
        return sort, f"CASE WHEN regexp_full_match({text}, '{_AWARE}') THEN {instant} END"
    return sort, _epoch(f"TRY_CAST({text} AS DOUBLE)", sort)


def _read_numbers(con: Any, log: Log, column: str, empty: str) -> tuple[str, str]:
    number, text = "CAST(t AS DOUBLE)", _whole("t")
    tests = {
        "days": f"{_day(text)} IS NOT NULL",
        **{unit: _in_unit(number, unit) for unit in _UNITS},
    }
    counts = _count(con, log, column, empty, tests)
    sorts = {"dates": counts["days"], **{f"Unix {unit}": counts[unit] for unit in _UNITS}}
    sort = _only(log, column, sorts)
    name = identifier(column)
    if sort == "dates":
        return sort, _day(_whole(name))
    return sort, _epoch(f"CAST({name} AS DOUBLE)", sort)


def _count(con: Any, log: Log, column: str, empty: str, tests: dict[str, str]) -> dict[str, int]:
    counts = ", ".join(f"count(*) FILTER ({test})" for test in tests.values())
    row = con.execute(
        f"SELECT {counts} FROM (SELECT {identifier(column)} AS t FROM {log.scan} WHERE NOT {empty})"
    ).fetchone()
    return dict(zip(tests, (int(count) for count in row), strict=True))


def _only(log: Log, column: str, sorts: dict[str, int]) -> str:
    """Return the only kind of time in a column."""
    present = {sort: count for sort, count in sorts.items() if count}
    if len(present) == 1:
        return next(iter(present))
    if present:
        listed = ", ".join(f"{count:,} {sort}" for sort, count in present.items())
        raise SourceError(
            f"{log.label}: the times in {column!r} mix {listed}: it cannot be known which hour or unit is "
            "meant; write all of them one way"
        )
    return _UNREADABLE  # check_log counts these rows
