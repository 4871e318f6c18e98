"""Write values into Redshift statements as literals.

Redshift binds no parameters in UNLOAD and CREATE TABLE AS. It reads a backslash in a literal as an escape,
which PostgreSQL does not. So a literal written here has none (it becomes ``CHR(92)``), and SQL text with one
is refused: what remains means the same to both, also within UNLOAD's outer quotes.
"""

import math
import re
from datetime import UTC, date, datetime
from typing import Any

from churn.core.errors import RunError
from churn.core.names import identifier
from churn.warehouse.base import Values

_TOKEN = re.compile(
    r"""
      '(?:[^'\\\0]|'')*'                    # a string
    | "(?:[^"\\\0]|"")*"                    # a quoted name
    | --[^\n]*                              # a comment
    | /\*(?:(?!/\*|\*/).)*\*/               # another, with none inside
    | %\((?P<name>\w+)\)s                   # a parameter
    | (?P<refused> ['"\\;\0] | /\* | \*/ )
    """,
    re.VERBOSE | re.DOTALL,
)
_WHOLE_NUMBERS = range(-(2**63), 2**63)


def literal(value: Any) -> str:
    """Return a value as an SQL literal that Redshift and PostgreSQL read alike; times become UTC.

    Raises:
        RunError: it is of another type, not finite, too large, or text with a NUL or half a surrogate pair.
    """
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        if value not in _WHOLE_NUMBERS:
            raise RunError("a number is too large for the warehouse: it takes 64 bits")
        # Without parentheses, a negative number after a minus would begin a comment.
        return str(int(value)) if value >= 0 else f"({int(value)})"
    if isinstance(value, float):
        if not math.isfinite(value):
            raise RunError(f"{value} is no number that a statement can bind")
        return f"CAST('{float(value)!r}' AS DOUBLE PRECISION)"
    if isinstance(value, datetime):
        naive = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        return f"TIMESTAMP '{naive.isoformat(sep=' ')}'"
    if isinstance(value, date):
        return f"DATE '{value.isoformat()}'"
    if isinstance(value, str):
        return _text(value)
    raise RunError(f"a statement can bind text, numbers, dates, times and truth values, not {type(value)}")


def _text(value: str) -> str:
    if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise RunError("text with a NUL or half a surrogate pair cannot be bound: mend the value")
    parts = ["'" + part.replace("'", "''") + "'" for part in value.split("\\")]
    return parts[0] if len(parts) == 1 else f"({' || CHR(92) || '.join(parts)})"


def bind(sql: str, parameters: Values | None = None) -> str:
    """Return a statement with its parameters, ``%(name)s``, as literals, except in strings and comments.

    Raises:
        RunError: a parameter is missing, a value cannot be bound, or the text is more than one statement or
            has a backslash or an open quote in it.
    """
    values = parameters or {}

    def write(token: re.Match[str]) -> str:
        if token["refused"]:
            raise RunError(
                f"a statement cannot be run ({label_of(sql)}): it has {token['refused']!r} at position "
                f"{token.start()}; write one statement, without backslashes, and end its texts and comments"
            )
        name = token["name"]
        if name is None:
            return token[0]
        if name not in values:
            raise RunError(f"the statement binds an unknown parameter: {name}")
        return literal(values[name])

    return _TOKEN.sub(write, sql)


def label_of(sql: str) -> str:
    """Return the start of a statement, in harmless characters, for labels and messages."""
    text = re.sub(r"[^a-z0-9_.,()*=:/ -]", "", " ".join(sql.lower().split()))
    return text[:120].strip()


def qualified(table: str) -> str:
    """Return ``schema.table`` if both are identifiers."""
    schema, _, name = table.partition(".")
    return f"{identifier(schema)}.{identifier(name)}"
