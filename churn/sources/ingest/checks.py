"""Check a log before it is written: count every fault and name its first rows."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

from churn.core.errors import SourceError, UsageError
from churn.core.names import slug
from churn.core.values import DEFAULT_DECIMALS
from churn.sources.ingest.engine import FAULT, LINE, identifier
from churn.sources.ingest.log import NOT_TAKEN, Log, listed_faults
from churn.sources.ingest.rules import HIGHEST, Rule, blank_sql, number_sql, rules_of
from churn.sources.ingest.times import Clock
from churn.sources.ingest.values import Decimals, choose_decimals

MOST_PRODUCTS = 50
_EXAMPLES = 5


@dataclass(frozen=True)
class Checked:
    """Counts of a log without faults.

    Attributes:
        rows: number of rows.
        empty_values: number of rows with an empty value.
        decimals: with how many decimals the values are kept.
        noise: number of rows with a value that is noise of floats and counts as 0.
        bad: SQL of why a row is to be skipped, null for a row to keep; empty if none is.
        bad_rows: number of rows to skip, with the lines that the reader left out.
    """

    rows: int
    empty_values: int
    decimals: int
    noise: int
    bad: str = ""
    bad_rows: int = 0


def check_log(
    con: Any, log: Log, column_of: Mapping[str, str], clock: Clock, most_bad: float = 0.0
) -> Checked:
    """Check every row of a log.

    Args:
        con: a DuckDB connection.
        log: the log.
        wanted: contract column to the log's column.
        clock: how its times are read.
        most_bad: share of the rows, from 0 to 1, that may be skipped because they break a rule.

    Raises:
        SourceError: the log is empty, or more rows break a rule; the message lists every fault.
    """
    rules = rules_of(log, column_of, clock)
    user = column_of["user_id"]
    of_users = [rule for rule in rules if rule.column == user]
    others = [rule for rule in rules if rule.column != user]
    empty_value = blank_sql(log, column_of["value"]) if "value" in column_of else "false"
    row = con.execute(
        f"SELECT count(*), count(*) FILTER ({empty_value}), CAST(max({clock.sql}) AS VARCHAR)"
        f"{_counts(others, 'count(*)')} FROM {log.scan}"
    ).fetchone()
    rows, empty_values, latest, *found = row
    # The rules of ids are long patterns: each different id is matched once.
    grouped = ", ".join(map(identifier, [user] + [FAULT] * bool(log.numbered)))
    ids = con.execute(
        f"SELECT 0{_counts(of_users, 'sum(n)')} "
        f"FROM (SELECT {grouped}, count(*) AS n FROM {log.scan} GROUP BY ALL)"
    ).fetchone()[1:]
    faults = [*log.faults, *clock.faults]
    if not rows and not faults:
        raise SourceError(f"{log.label} holds no rows")
    counted = [
        *zip(of_users, ids[::2], ids[1::2], strict=True),
        *zip(others, found[::2], found[1::2], strict=True),
    ]
    broken: list[Rule] = []
    for rule, count, void in counted:
        if count and not void and _enough(con, log, rule):
            broken.append(rule)
            said = rule.says.format(
                count=f"{count:,} of {rows:,} rows", latest=latest, kinds=_kinds(con, log, rule)
            )
            faults.append(said + _examples(con, log, rule, masked=count == rows))
    bad, bad_rows = _bad(con, log, broken) if most_bad else ("", 0)
    total = int(rows) + len(log.rejected)
    skippable = not clock.faults and (not log.faults or bool(log.rejected))
    if skippable and 0 < bad_rows <= most_bad * total and bad_rows < total:
        return Checked(int(rows), int(empty_values), DEFAULT_DECIMALS, 0, bad, bad_rows)
    decimals = _decimals(con, log, column_of, clock, int(rows))
    faults += [decimals.fault] * bool(decimals.fault)
    if faults:
        listed = listed_faults(log.label, NOT_TAKEN, faults)
        if skippable and bad_rows:
            listed += (
                f"\n{bad_rows:,} of {total:,} rows ({bad_rows / total:.2%}) would be skipped: more than "
                f"--skip-bad-rows {100 * most_bad:g}% allows"
            )
        if log.numbered == "line":
            raise SourceError(listed)
        told = "Row 1 is the first event" + "; lines that cannot be read have no number" * bool(log.faults)
        raise SourceError(f"{listed}\n{told}.")
    return Checked(int(rows), int(empty_values), decimals.places, decimals.noise)


def _bad(con: Any, log: Log, broken: list[Rule]) -> tuple[str, int]:
    """Return SQL of why a row is skipped, and how many are, with the lines that the reader left out."""
    if not broken:
        return "CAST(NULL AS VARCHAR)", len(log.rejected)
    reasons = " ".join(f"WHEN {rule.broken} THEN {rule.reason}" for rule in broken)
    bad = f"CASE {reasons} END"
    (rows,) = con.execute(f"SELECT count(*) FILTER (({bad}) IS NOT NULL) FROM {log.scan}").fetchone()
    return bad, int(rows) + len(log.rejected)


def _decimals(con: Any, log: Log, column_of: Mapping[str, str], clock: Clock, rows: int) -> Decimals:
    """Return how the values are kept, with a finished message about what is wrong with them."""
    if "value" not in column_of or clock.faults or not rows:
        return Decimals(DEFAULT_DECIMALS)
    column = column_of["value"]
    number = number_sql(log, column)
    sound = f"CASE WHEN isfinite({number}) AND {number} >= 0 AND {number} < {HIGHEST} THEN {number} END"
    product = identifier(column_of["product"]) if "product" in column_of else "''"
    week_of_user = f"{identifier(column_of['user_id'])}, {product}, date_trunc('week', {clock.sql})"
    chosen = choose_decimals(con, log.scan, sound, week_of_user)
    if not chosen.lost:
        return chosen
    (lost,) = con.execute(f"SELECT count(*) FROM {log.scan} WHERE {chosen.lost}").fetchone()
    said = chosen.fault.format(count=f"{lost:,} of {rows:,} rows")
    return replace(chosen, fault=said + _examples(con, log, Rule(column, chosen.lost, chosen.fault)))


def _counts(rules: Sequence[Rule], rows: str) -> str:
    """Return SQL of two columns for each rule: how many rows break it, and whether one makes it void."""
    return "".join(
        f", {rows} FILTER ({rule.broken}), coalesce(bool_or({rule.unless}), false)" for rule in rules
    )


def _enough(con: Any, log: Log, rule: Rule) -> bool:
    if rule.least == 1:
        return True
    (values,) = con.execute(
        f"SELECT count(DISTINCT {identifier(rule.column)}) FILTER ({rule.broken}) FROM {log.scan}"
    ).fetchone()
    return int(values) >= rule.least


def _kinds(con: Any, log: Log, rule: Rule) -> str:
    """Return the kinds of faulty rows with their counts, the largest first."""
    if not rule.kinds:
        return ""
    rows = con.execute(
        f"SELECT {rule.kinds}, count(*) FROM {log.scan} WHERE {rule.broken} GROUP BY 1 ORDER BY 2 DESC, 1"
    ).fetchall()
    return ", ".join(f"{count:,} {kind}" for kind, count in rows)


def _examples(con: Any, log: Log, rule: Rule, *, masked: bool = False) -> str:
    """Return the first rows that break a rule, with their values; for ids one row without the id.

    Args:
        masked: show only the form of values: if all rows break a rule, the column may hold ids.
    """
    most = 1 if rule.personal else _EXAMPLES
    examples: list[str] = []
    number = identifier(LINE) if log.numbered else "row_number() OVER ()"
    for part in log.parts:
        rows = con.execute(
            f"SELECT n, CAST(v AS VARCHAR) FROM (SELECT {number} AS n, "
            f"{rule.shown or identifier(rule.column)} AS v, coalesce({rule.broken}, false) AS broken "
            f"FROM {part.scan}) WHERE broken LIMIT {most - len(examples)}"
        ).fetchall()
        where = f"{part.label} " * (len(log.parts) > 1) + (log.numbered or "row")
        masked = masked and not (rule.kinds or rule.shown)
        examples += [
            f"{where} {row}" + f" {_shown(value, masked=masked)}" * (not rule.personal) for row, value in rows
        ]
        if len(examples) == most:
            break
    column = f"column {rule.column!r}: " if rule.column else ""
    return f"; {column}{'such as ' * rule.personal}{', '.join(examples)}"


def _shown(value: str | None, *, masked: bool) -> str:
    if value is None:
        return "(null)"
    if masked:
        value = re.sub(r"[^\W\d_]", "a", re.sub(r"\d", "9", value))
    return f"({value[:40]!r})"


def product_names(con: Any, log: Log, column: str | None) -> dict[str, str]:
    """Return a name that is safe in SQL and paths for each product value.

    Args:
        con: a DuckDB connection.
        log: a log that passed its checks.
        column: its product column, or None.

    Returns:
        Product name to its value in the log.

    Raises:
        UsageError: there are more than 50 values.
        SourceError: two values would get the same name.
    """
    if column is None:
        return {}
    name = identifier(column)
    values = con.execute(
        f"SELECT CAST({name} AS VARCHAR), count(*) FROM {log.scan} GROUP BY ALL ORDER BY 2 DESC, 1 "
        f"LIMIT {MOST_PRODUCTS + 1}"
    ).fetchall()
    if len(values) > MOST_PRODUCTS:
        first = ", ".join(repr(value[:30]) for value, _ in values[:3])
        raise UsageError(
            f"{log.label}: column {column!r} holds more than {MOST_PRODUCTS} distinct products ({first}, "
            "...): that is probably the wrong column; a product is something a user can leave. Use it as "
            "category or item_id, or leave product out with --column product="
        )
    names: dict[str, str] = {}
    for value, _ in values:
        label = product_name(value)
        if label in names:
            raise SourceError(
                f"{log.label}: the products {names[label]!r} and {value!r} in column {column!r} would both "
                f"be named {label}: make them one value, or tell them apart by more than case and signs"
            )
        names[label] = value
    return names


def product_name(value: str) -> str:
    """Return a name that is safe in SQL and paths; a value without ASCII letters or digits gets a hash."""
    if not re.search("[A-Za-z0-9]", value):
        return f"product_{crc32(value.encode()):08x}"
    return slug(value)
