"""The rules that the rows of a log must keep, as SQL conditions of rows that break them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from churn.sources.ingest.columns import is_number, is_text
from churn.sources.ingest.engine import FAULT, identifier, literal
from churn.sources.ingest.ids import (
    LONG_NUMBER,
    POINT_DIGITS,
    POINT_ZERO,
    ROUNDED_NUMBER,
    SCIENTIFIC,
    matches_sql,
    placeholder_sql,
)
from churn.sources.ingest.log import Log
from churn.sources.ingest.times import Clock

_DECIMALS = {
    ".": "a point before decimals; for a comma there is --decimal ,",
    ",": "a comma before decimals, as --decimal says; points only between thousands",
}
_EARLIEST = "1970-01-02"  # exports often turn an empty time into 1970-01-01
_LONGEST_ID = 250  # bytes; published tables on Redshift hold no longer ids
# Characters that Python's strip removes (DuckDB's trim removes only spaces), and line ends.
_UNFIT_ID = r"'^[\s\x{0b}\x{1c}-\x{1f}\x{85}\p{Z}]|[\s\x{0b}\x{1c}-\x{1f}\x{85}\p{Z}]$|[\n\r\x{00}]'"
# A number with a decimal comma, perhaps with points between thousands.
_COMMA_NUMBER = r"[+-]?(\d+|\d{1,3}(\.\d{3})+)(,\d*)?([eE][+-]?\d+)?"
HIGHEST = "1e10"  # sums of larger values could overflow: a run refuses them


@dataclass(frozen=True)
class Rule:
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

    @property
    def reason(self) -> str:
        """SQL of what is wrong with one row, without any of its values."""
        if self.shown:
            return f"'line ' || {self.shown}"
        text = self.says.replace(" ({kinds})", "").replace(", the latest {latest}", "")
        for before in ("{count} have ", "{count} are ", "{count} "):
            text = text.removeprefix(before)
        return literal(text.replace("{{", "{").replace("}}", "}"))


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


def rules_of(log: Log, column_of: Mapping[str, str], clock: Clock) -> list[Rule]:
    """Return the rules that the rows of a log must keep.

    Args:
        log: the log.
        column_of: contract column to the log's column.
        clock: how its times are read.
    """
    rules = _column_rules(log, column_of, clock)
    if log.numbered:
        rules = [_unreadable_line(), *(_of_readable(rule) for rule in rules)]
    return rules


def _column_rules(log: Log, column_of: Mapping[str, str], clock: Clock) -> list[Rule]:
    rules = [*_user_rules(log, column_of["user_id"]), *_time_rules(column_of["occurred_at"], clock)]
    if "product" in column_of:
        product = column_of["product"]
        rules.append(Rule(product, blank_sql(log, product), "{count} have no product"))
        if is_text(log.columns[product]):
            control = f"regexp_matches({identifier(product)}, '[[:cntrl:]]')"
            rules.append(Rule(product, control, "{count} have a product with control characters in its name"))
    if "value" in column_of:
        value = column_of["value"]
        number = number_sql(log, value)
        rules += [
            Rule(
                value,
                f"NOT {blank_sql(log, value)} AND ({number}) IS NULL",
                f"{{count}} have a value that is no number ({_DECIMALS[log.decimal]})",
            ),
            Rule(value, f"NOT isfinite({number})", "{count} have a value that is not finite"),
            Rule(
                value,
                f"isfinite({number}) AND {number} < 0",
                "{count} have a negative value: values must be >= 0",
            ),
            Rule(
                value,
                f"isfinite({number}) AND {number} >= {HIGHEST}",
                "{count} have a value of 10^10 or more, which no run takes: mend or remove them, or use a "
                "larger unit",
            ),
        ]
    return rules


def _user_rules(log: Log, column: str) -> list[Rule]:
    text = f"CAST({identifier(column)} AS VARCHAR)"
    placeholder = placeholder_sql(text)
    no_user = f"({placeholder}) IS NOT NULL"
    rules = [
        Rule(
            column,
            no_user,
            "{count} have no user id ({kinds}): such events would count as one person; remove them, or give "
            "them an id",
            kinds=placeholder,
        ),
        Rule(
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
        Rule(
            column,
            matches_sql(text, SCIENTIFIC),
            "{count} have a user id in scientific notation, such as 1.2E+15: a spreadsheet or a floating-"
            "point number has cut its digits off, so that different people share one; export ids as text",
            personal=True,
        ),
        Rule(
            column,
            matches_sql(text, POINT_ZERO),
            "{count} have a user id that ends in .0: it was a floating-point number, and 12.0 and 12 would "
            "be two people; export ids as text or integers",
            personal=True,
            unless=matches_sql(text, POINT_DIGITS),
        ),
        Rule(
            column,
            f"NOT ({no_user}) AND regexp_matches({text}, {_UNFIT_ID})",
            "{count} have a user id with spaces around it or a line break in it: readers of the scores could "
            "not find such people; trim it",
            personal=True,
        ),
        Rule(
            column,
            f"strlen({text}) > {_LONGEST_ID}",
            f"{{count}} have a user id of more than {_LONGEST_ID} bytes, which published tables could "
            "not take: use a shorter one, such as a hash of it",
            personal=True,
        ),
    ]


def _time_rules(column: str, clock: Clock) -> list[Rule]:
    missing = Rule(column, clock.empty, "{count} have no time")
    if clock.faults:
        return [missing]
    return [
        missing,
        Rule(
            column,
            f"NOT {clock.empty} AND ({clock.sql}) IS NULL",
            f"{{count}} have a time that cannot be read ({_braced(clock.wanted)})",
        ),
        Rule(
            column,
            f"({clock.sql}) < TIMESTAMP '{_EARLIEST}'",
            f"{{count}} are dated before {_EARLIEST} (an empty time?)",
        ),
        Rule(
            column,
            f"({clock.sql}) > TIMESTAMP '{clock.latest.isoformat(' ')}'",
            "{count} are dated in the future, the latest {latest}: an event log ends now",
        ),
    ]


def _braced(text: str) -> str:
    """Return a text that ``str.format`` gives back as it is."""
    return text.replace("{", "{{").replace("}", "}}")


def _unreadable_line() -> Rule:
    return Rule("", f"{identifier(FAULT)} IS NOT NULL", "{count} cannot be read", shown=identifier(FAULT))


def _of_readable(rule: Rule) -> Rule:
    return replace(rule, broken=f"{identifier(FAULT)} IS NULL AND ({rule.broken})")
