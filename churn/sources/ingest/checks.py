"""Check a log before it is written: count every fault and name its first rows."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

from churn.core.errors import SourceError, UsageError
from churn.core.names import slug
from churn.core.values import DEFAULT_DECIMALS
from churn.sources.ingest.columns import is_number, is_text
from churn.sources.ingest.engine import FAULT, LINE, identifier
from churn.sources.ingest.ids import (
    LONG_NUMBER,
    POINT_DIGITS,
    POINT_ZERO,
    ROUNDED_NUMBER,
    SCIENTIFIC,
    matches_sql,
    placeholder_sql,
)
from churn.sources.ingest.log import NOT_TAKEN, Log, listed_faults
from churn.sources.ingest.times import Clock
from churn.sources.ingest.values import choose_decimals

MOST_PRODUCTS = 50
_EXAMPLES = 5
_DECIMALS = {
    ".": "a point before decimals; for a comma there is --decimal ,",
    ",": "a comma before decimals, as --decimal says; points only between thousands",
}
_EARLIEST = "1970-01-02"  # exports often turn an empty time into 1970-01-01
_LONGEST_ID = 250  # characters; `churn erase` accepts no longer ids
# Characters that Python's strip removes (DuckDB's trim removes only spaces), and line ends.
_UNFIT_ID = r"'^[\s\x{0b}\x{1c}-\x{1f}\x{85}\p{Z}]|[\s\x{0b}\x{1c}-\x{1f}\x{85}\p{Z}]$|[\n\r\x{00}]'"
# A number with a decimal comma, perhaps with points between thousands.
_COMMA_NUMBER = r"[+-]?(\d+|\d{1,3}(\.\d{3})+)(,\d*)?([eE][+-]?\d+)?"
_HIGHEST = "1e10"  # sums of larger values could overflow: a run refuses them


@dataclass(frozen=True)
class Checked:
    """Counts of a log without faults.

    Attributes:
        rows: number of rows.
        empty_values: number of rows with an empty value.
        decimals: with how many decimals the values are kept.
    """

    rows: int
    empty_values: int
    decimals: int


@dataclass(frozen=True)
class _Rule:
    """A rule that rows may break.

    Attributes:
        column: the log's column.
        broken: SQL condition of faulty rows.
        says: the message, formatted with the count.
        personal: whether the column's values must not be shown.
        unless: SQL condition that makes the rule void if any row meets it.
        least: distinct values that must break the rule; fewer are taken for chance.
        kinds: SQL of a faulty row's kind; the message lists the kinds with their counts.
        shown: SQL to show for a faulty row in place of the column.
    """

    column: str
    broken: str
    says: str
    personal: bool = False
    unless: str = "false"
    least: int = 1
    kinds: str = ""
    shown: str = ""


def number_sql(log: Log, column: str) -> str:
    """Return SQL for a column as DOUBLE, null if it is empty or not a number."""
    name = identifier(column)
    if is_number(log.columns[column]):
        return f"CAST({name} AS DOUBLE)"
    if log.decimal == ".":
        return f"TRY_CAST({name} AS DOUBLE)"
    plain = f"replace(replace(trim({name}), '.', ''), ',', '.')"
    return (
        f"CASE WHEN regexp_full_match(trim({name}), '{_COMMA_NUMBER}') THEN TRY_CAST({plain} AS DOUBLE) END"
    )


def blank_sql(log: Log, column: str) -> str:
    """Return an SQL condition that is true if a column is null or blank text."""
    name = identifier(column)
    return f"({name} IS NULL OR trim({name}) = '')" if is_text(log.columns[column]) else f"{name} IS NULL"


def check_log(con: Any, log: Log, column_of: Mapping[str, str], clock: Clock) -> Checked:
    """Check every row of a log in one scan.

    Args:
        con: a DuckDB connection.
        log: the log.
        wanted: contract column to the log's column.
        clock: how its times are read.

    Raises:
        SourceError: the log is empty, or rows break a rule; the message lists every fault.
    """
    rules = _rules(log, column_of, clock)
    if log.numbered:
        rules = [_unreadable_line(), *(_of_readable(rule) for rule in rules)]
    counts = "".join(
        f", count(*) FILTER ({rule.broken}), coalesce(bool_or({rule.unless}), false)" for rule in rules
    )
    empty_value = blank_sql(log, column_of["value"]) if "value" in column_of else "false"
    row = con.execute(
        f"SELECT count(*), count(*) FILTER ({empty_value}), CAST(max({clock.sql}) AS VARCHAR){counts} "
        f"FROM {log.scan}"
    ).fetchone()
    rows, empty_values, latest, *found = row
    faults = [*log.faults, *clock.faults]
    if not rows and not faults:
        raise SourceError(f"{log.label} holds no rows")
    for rule, count, void in zip(rules, found[::2], found[1::2], strict=True):
        if count and not void and _enough(con, log, rule):
            said = rule.says.format(
                count=f"{count:,} of {rows:,} rows", latest=latest, kinds=_kinds(con, log, rule)
            )
            faults.append(said + _examples(con, log, rule))
    decimals, fault = _decimals(con, log, column_of, clock, int(rows))
    faults += [fault] * bool(fault)
    if faults:
        listed = listed_faults(log.label, NOT_TAKEN, faults)
        if log.numbered == "line":
            raise SourceError(listed)
        told = "Row 1 is the first event" + ", without lines that cannot be read." * bool(log.faults)
        raise SourceError(f"{listed}\n{told.rstrip('.')}.")
    return Checked(int(rows), int(empty_values), decimals)


def _decimals(con: Any, log: Log, column_of: Mapping[str, str], clock: Clock, rows: int) -> tuple[int, str]:
    """Return with how many decimals the values are kept, and what is wrong with them."""
    if "value" not in column_of or clock.faults or not rows:
        return DEFAULT_DECIMALS, ""
    column = column_of["value"]
    number = number_sql(log, column)
    sound = f"CASE WHEN isfinite({number}) AND {number} >= 0 AND {number} < {_HIGHEST} THEN {number} END"
    product = identifier(column_of["product"]) if "product" in column_of else "''"
    week_of_user = f"{identifier(column_of['user_id'])}, {product}, date_trunc('week', {clock.sql})"
    chosen = choose_decimals(con, log.scan, sound, week_of_user)
    if not chosen.lost:
        return chosen.places, chosen.fault
    (lost,) = con.execute(f"SELECT count(*) FROM {log.scan} WHERE {chosen.lost}").fetchone()
    said = chosen.fault.format(count=f"{lost:,} of {rows:,} rows")
    return chosen.places, said + _examples(con, log, _Rule(column, chosen.lost, chosen.fault))


def _enough(con: Any, log: Log, rule: _Rule) -> bool:
    if rule.least == 1:
        return True
    (values,) = con.execute(
        f"SELECT count(DISTINCT {identifier(rule.column)}) FILTER ({rule.broken}) FROM {log.scan}"
    ).fetchone()
    return int(values) >= rule.least


def _kinds(con: Any, log: Log, rule: _Rule) -> str:
    """Return the kinds of faulty rows with their counts, the largest first."""
    if not rule.kinds:
        return ""
    rows = con.execute(
        f"SELECT {rule.kinds}, count(*) FROM {log.scan} WHERE {rule.broken} GROUP BY 1 ORDER BY 2 DESC, 1"
    ).fetchall()
    return ", ".join(f"{count:,} {kind}" for kind, count in rows)


def _braced(text: str) -> str:
    """Return a text that ``str.format`` gives back as it is."""
    return text.replace("{", "{{").replace("}", "}}")


def _unreadable_line() -> _Rule:
    return _Rule("", f"{identifier(FAULT)} IS NOT NULL", "{count} cannot be read", shown=identifier(FAULT))


def _of_readable(rule: _Rule) -> _Rule:
    return replace(rule, broken=f"{identifier(FAULT)} IS NULL AND ({rule.broken})")


def _rules(log: Log, column_of: Mapping[str, str], clock: Clock) -> list[_Rule]:
    rules = [*_user_rules(log, column_of["user_id"]), *_time_rules(column_of["occurred_at"], clock)]
    if "product" in column_of:
        product = column_of["product"]
        rules.append(_Rule(product, blank_sql(log, product), "{count} have no product"))
        if is_text(log.columns[product]):
            control = f"regexp_matches({identifier(product)}, '[[:cntrl:]]')"
            rules.append(
                _Rule(product, control, "{count} have a product with control characters in its name")
            )
    if "value" in column_of:
        value = column_of["value"]
        number = number_sql(log, value)
        rules += [
            _Rule(
                value,
                f"NOT {blank_sql(log, value)} AND ({number}) IS NULL",
                f"{{count}} have a value that is no number ({_DECIMALS[log.decimal]})",
            ),
            _Rule(value, f"NOT isfinite({number})", "{count} have a value that is not finite"),
            _Rule(
                value,
                f"isfinite({number}) AND {number} < 0",
                "{count} have a negative value: values must be >= 0",
            ),
            _Rule(
                value,
                f"isfinite({number}) AND {number} >= {_HIGHEST}",
                "{count} have a value of 10^10 or more, which no run takes: mend or remove them, or use a "
                "larger unit",
            ),
        ]
    return rules


def _user_rules(log: Log, column: str) -> list[_Rule]:
    text = f"CAST({identifier(column)} AS VARCHAR)"
    placeholder = placeholder_sql(text)
    no_user = f"({placeholder}) IS NOT NULL"
    rules = [
        _Rule(
            column,
            no_user,
            "{count} have no user id ({kinds}): such events would count as one person; remove them, or give "
            "them an id",
            kinds=placeholder,
        ),
        _Rule(
            column,
            f"{matches_sql(text, LONG_NUMBER)} AND {matches_sql(text, ROUNDED_NUMBER)}",
            "{count} have a user id of 16 or more digits that ends in 000, as all such ids do: a spreadsheet "
            "or a floating-point number has rounded them, so that different people share one; export ids as "
            "text",
            personal=True,
            unless=f"{matches_sql(text, LONG_NUMBER)} AND NOT {matches_sql(text, ROUNDED_NUMBER)}",
            least=5,
        ),
    ]
    if not is_text(log.columns[column]):
        return rules
    return [
        *rules,
        _Rule(
            column,
            matches_sql(text, SCIENTIFIC),
            "{count} have a user id in scientific notation, such as 1.2E+15: a spreadsheet or a floating-"
            "point number has cut its digits off, so that different people share one; export ids as text",
            personal=True,
        ),
        _Rule(
            column,
            matches_sql(text, POINT_ZERO),
            "{count} have a user id that ends in .0: it was a floating-point number, and 12.0 and 12 would "
            "be two people; export ids as text or integers",
            personal=True,
            unless=matches_sql(text, POINT_DIGITS),
        ),
        _Rule(
            column,
            f"NOT ({no_user}) AND regexp_matches({text}, {_UNFIT_ID})",
            "{count} have a user id with spaces around it or a line break in it: `churn erase` could not "
            "find such people; trim it",
            personal=True,
        ),
        _Rule(
            column,
            f"length({text}) > {_LONGEST_ID}",
            f"{{count}} have a user id of more than {_LONGEST_ID} characters, which `churn erase` could "
            "not take: use a shorter one, such as a hash of it",
            personal=True,
        ),
    ]


def _time_rules(column: str, clock: Clock) -> list[_Rule]:
    missing = _Rule(column, clock.empty, "{count} have no time")
    if clock.faults:
        return [missing]
    return [
        missing,
        _Rule(
            column,
            f"NOT {clock.empty} AND ({clock.sql}) IS NULL",
            f"{{count}} have a time that cannot be read ({_braced(clock.wanted)})",
        ),
        _Rule(
            column,
            f"({clock.sql}) < TIMESTAMP '{_EARLIEST}'",
            f"{{count}} are dated before {_EARLIEST} (an empty time?)",
        ),
        _Rule(
            column,
            f"({clock.sql}) > TIMESTAMP '{clock.latest.isoformat(' ')}'",
            "{count} are dated in the future, the latest {latest}: an event log ends now",
        ),
    ]


def _examples(con: Any, log: Log, rule: _Rule) -> str:
    """Return the first rows that break a rule, with their values; for ids one row without the id."""
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
        examples += [f"{where} {row}" + f" {_shown(value)}" * (not rule.personal) for row, value in rows]
        if len(examples) == most:
            break
    column = f"column {rule.column!r}: " if rule.column else ""
    return f"; {column}{'such as ' * rule.personal}{', '.join(examples)}"


def _shown(value: str | None) -> str:
    return "(null)" if value is None else f"({value[:40]!r})"


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
