"""Read a log's times: a timestamp, a date, ISO 8601 text, yyyymmdd or a Unix epoch.

*Wall times* have no zone and are used unchanged. *Instants* (with a zone or an offset, Unix epochs) are
converted to one zone's wall time, so that weeks start at its Monday midnight. A column that mixes the two, or
epochs of several units, is ambiguous and refused.
"""

import difflib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb

from churn.core.errors import UsageError
from churn.sources.ingest.coded_times import (
    AMBIGUOUS_DIGITS,
    CODED,
    TICKS,
    coded_sql,
    coded_tests,
    take_codings,
    ticks_tests,
)
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
_RANGES = {unit: (low, low * _SPREAD) for unit, (low, _) in _UNITS.items()}

WANTED = (
    "wanted: a timestamp, ISO 8601 text (2026-06-28 21:00:00, with or without Z or +01:00), a date, "
    "yyyymmdd with or without HHMMSS, or a Unix epoch after 1973 in seconds, milliseconds, microseconds or "
    "nanoseconds"
)
_UNREADABLE = "unreadable"
_CODE = re.compile(r"%-?[A-Za-z%]")
_NO_TIME = "CAST(NULL AS TIMESTAMP)"

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
        faults: why the column cannot be read, in words; then ``sql`` is null.
        wanted: what times should look like, in words.
    """

    column: str
    sql: str
    empty: str
    latest: datetime
    words: str
    faults: tuple[str, ...] = ()
    wanted: str = WANTED


class _Ambiguous(Exception):
    """The times of a column could mean different moments; the message says why."""


def read_clock(
    con: Any,
    log: Log,
    column: str,
    timezone: str,
    *,
    given: bool,
    time_format: str | None = None,
    source_timezone: str | None = None,
) -> Clock:
    """Return how to read a time column; the rows of text and number columns are inspected.

    Args:
        con: a DuckDB connection.
        log: the log.
        column: its time column.
        timezone: zone to which instants are converted.
        given: whether the caller named that zone.
        time_format: how times are written, in strptime's codes; None: the kinds of WANTED are recognised.
        source_timezone: zone in which times without a zone were written; None: they are taken as they stand.

    Raises:
        UsageError: a zone or the format is unknown, or was named for times that it does not suit.
    """
    _check_zone(con, timezone)
    wanted = WANTED
    kind, name = log.columns[column], identifier(column)
    if is_text(kind):
        empty = (
            f"({name} IS NULL OR trim({name}) IN ('', 'null', 'NULL', 'None', 'nan', 'NaN', 'NaT', 'N/A'))"
        )
        try:
            if time_format is None:
                sort, sql = _read_text(con, log, column, empty)
            else:
                sort, sql = _read_format(con, name, time_format)
                wanted = f"wanted: text as in --time-format {time_format!r}"
        except _Ambiguous as fault:
            return Clock(column, _NO_TIME, empty, _utc_now(), _UNREADABLE, (str(fault),))
    elif is_number(kind):
        empty = f"({name} IS NULL OR isnan(CAST({name} AS DOUBLE)))"
        try:
            if time_format is None:
                sort, sql = _read_numbers(con, log, column, empty)
            else:
                sort, sql = _read_format(con, _whole(name), time_format)
                wanted = f"wanted: digits as in --time-format {time_format!r}"
        except _Ambiguous as fault:
            return Clock(column, _NO_TIME, empty, _utc_now(), _UNREADABLE, (str(fault),))
    elif time_format is not None:
        raise UsageError(
            f"{log.label}: column {column!r} holds {kind}, but --time-format is for text and digits: "
            "leave it out"
        )
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
    sort, sql = _written_in(con, log, column, (sort, sql), source_timezone)
    if sort not in ("dates", "wall times"):
        local = _local(sql, timezone)
        now = con.execute(
            f"SELECT {_local('TIMESTAMP ' + literal(_utc_now().isoformat(' ')), timezone)}"
        ).fetchone()[0]
        return Clock(column, local, empty, now, f"{sort}, read as {timezone} time", wanted=wanted)
    if given:
        named = ", or say with --source-timezone (UTC?) in which zone they were written" * (sort != "dates")
        raise UsageError(
            f"{log.label}: the {sort} in {column!r} have no zone and are taken as they stand: leave "
            f"--timezone {timezone} out{named}"
        )
    latest = con.execute(
        f"SELECT TIMESTAMP {literal(_utc_now().isoformat(' '))} + INTERVAL {_FURTHEST_ZONE_HOURS} HOUR"
    ).fetchone()[0]
    return Clock(column, sql, empty, latest, f"{sort} without a zone, taken as they stand", wanted=wanted)


def _written_in(
    con: Any, log: Log, column: str, read: tuple[str, str], source_timezone: str | None
) -> tuple[str, str]:
    """Return the kind and SQL of times; those without a zone become instants if their zone is known."""
    sort, sql = read
    zone = source_timezone or log.source_timezone
    if sort == "wall times" and zone:
        _check_zone(con, zone)
        return f"{zone} times", f"CAST(timezone({literal(zone)}, {sql}) AS TIMESTAMP)"
    if source_timezone:
        why = "have no hour" if sort == "dates" else "have a zone of their own"
        raise UsageError(
            f"{log.label}: the {sort} in {column!r} {why}: leave --source-timezone {source_timezone} out"
        )
    return read


def _read_format(con: Any, name: str, time_format: str) -> tuple[str, str]:
    """Return the kind and SQL of times in a format of strptime."""
    sql = f"try_strptime(trim({name}), {literal(time_format)})"
    try:
        (kind,) = con.execute(f"SELECT typeof(try_strptime('', {literal(time_format)}))").fetchone()
    except duckdb.Error as error:
        raise UsageError(
            f"--time-format {time_format!r} is not understood: use strptime's codes, such as "
            "'%d/%m/%Y %H:%M:%S'; %z reads an offset, %p AM and PM"
        ) from error
    codes = {code.replace("-", "") for code in _CODE.findall(time_format)}
    if not codes & {"%Y", "%y", "%G", "%g", "%c", "%x"}:
        raise UsageError(f"--time-format {time_format!r} has no year: times of different years would mix")
    if kind == "TIMESTAMP WITH TIME ZONE":
        return "instants", f"CAST({sql} AS TIMESTAMP)"
    hours = {"%H", "%I", "%c", "%X", "%T"}
    return ("wall times" if codes & hours else "dates"), f"CAST({sql} AS TIMESTAMP)"


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
        return _NO_TIME
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
        **coded_tests(text),
        **ticks_tests(number),
    }
    counts = _count(con, log, column, empty, tests)
    codings = take_codings(counts, _RANGES)
    wall = {"wall times": ("wall", "days", *(f"coded {digits}" for digits in codings))}
    sort = _only(con, log, column, empty, tests, counts, {**wall, "instants": ("aware",)})
    text = f"trim({identifier(column)})"
    if sort == "wall times":
        if not codings and counts["wall"] == counts["dates"]:
            sort = "dates"
        iso = f"CASE WHEN regexp_full_match({text}, '{_WALL}') THEN TRY_CAST({text} AS TIMESTAMP) END"
        return (
            sort,
            f"coalesce({', '.join([iso, _day(text), *(coded_sql(text, digits) for digits in codings)])})",
        )
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
        **coded_tests(text),
        **ticks_tests(number),
    }
    counts = _count(con, log, column, empty, tests)
    codings = take_codings(counts, _RANGES)
    wall = {"dates": ("days",), "wall times": tuple(f"coded {digits}" for digits in codings)}
    sort = _only(con, log, column, empty, tests, counts, wall)
    name = identifier(column)
    if sort == "dates":
        return sort, _day(_whole(name))
    if sort == "wall times":
        return sort, f"coalesce({', '.join(coded_sql(_whole(name), digits) for digits in codings)})"
    return sort, _epoch(f"CAST({name} AS DOUBLE)", sort)


def _count(con: Any, log: Log, column: str, empty: str, tests: dict[str, str]) -> dict[str, int]:
    counts = ", ".join(f"count(*) FILTER ({test})" for test in tests.values())
    row = con.execute(
        f"SELECT {counts} FROM (SELECT {identifier(column)} AS t FROM {log.scan} WHERE NOT {empty})"
    ).fetchone()
    return dict(zip(tests, (int(count) for count in row), strict=True))


def _only(
    con: Any,
    log: Log,
    column: str,
    empty: str,
    tests: dict[str, str],
    counts: dict[str, int],
    others: dict[str, tuple[str, ...]],
) -> str:
    """Return the only sort of times in a column.

    Args:
        tests: SQL condition over ``t`` by name.
        counts: rows that meet each.
        others: sorts besides Unix epochs, with the tests that count for them.

    Raises:
        _Ambiguous: there are several, or the numbers count from another year than 1970.
    """
    sorts = {**others, **{f"Unix {unit}": (unit,) for unit in _UNITS}}
    if counts[f"coded {AMBIGUOUS_DIGITS}"] * 2 > counts[f"of {AMBIGUOUS_DIGITS}"]:
        coded = f"coded {AMBIGUOUS_DIGITS}"
        raise _Ambiguous(
            f"the times in {column!r} are digits like yyyymmddHHMM in {counts[coded]:,} rows"
            f"{_first_row(con, log, column, empty, [tests[coded]])}; as a Unix epoch they would be of 1976: "
            f"say how they are meant, with --time-format {CODED[AMBIGUOUS_DIGITS]}"
        )
    sizes = {sort: sum(counts[test] for test in of) for sort, of in sorts.items()}
    present = {sort: size for sort, size in sizes.items() if size > 0}
    for name in TICKS:
        if counts[name] and counts[name] == present.get("Unix nanoseconds"):
            raise _Ambiguous(
                f"the times in {column!r} look like {name}, which as Unix nanoseconds would be of another "
                "century: write them as ISO 8601"
            )
    if len(present) == 1:
        return next(iter(present))
    if present:
        listed = ", ".join(
            f"{size:,} {sort}{_first_row(con, log, column, empty, [tests[test] for test in sorts[sort]])}"
            for sort, size in present.items()
        )
        raise _Ambiguous(
            f"the times in {column!r} mix {listed}: it cannot be known which hour or unit is meant; write "
            "all of them one way"
        )
    return _UNREADABLE  # check_log counts these rows


def _first_row(con: Any, log: Log, column: str, empty: str, tests: list[str]) -> str:
    """Return where the first row is that meets one of some tests, in brackets."""
    for part in log.parts:
        (row,) = con.execute(
            f"SELECT min(n) FILTER (NOT {empty} AND ({' OR '.join(tests)})) FROM (SELECT *, "
            f"{identifier(column)} AS t, row_number() OVER () AS n FROM {part.scan})"
        ).fetchone()
        if row is not None:
            return f" (such as {part.label} row {row})" if len(log.parts) > 1 else f" (such as row {row})"
    return ""
