"""Redshift statements with their values in them, and the two that PostgreSQL lacks: UNLOAD and COPY.

Values are written into the text as literals, whichever driver sends it: inside UNLOAD there can be no bound
parameters, and Redshift takes none in CREATE TABLE AS either. Redshift reads a backslash in a literal as an
escape, PostgreSQL does not. So no literal written here has one (it becomes ``CHR(92)``), and SQL text with
one is refused: what remains means the same to both, also within UNLOAD's outer quotes.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from churn.core.errors import RunError
from churn.core.names import identifier

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
    """Return a value as an SQL literal that Redshift and PostgreSQL read alike.

    Times with a zone are taken to UTC.

    Raises:
        RunError: no literal can be made of it: another type, text with a NUL, a number that is none.
    """
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        if value not in _WHOLE_NUMBERS:
            raise RunError("a number is too large for the warehouse: it takes 64 bits")
        # Bare, a negative one after a minus would begin a comment.
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


def bind(sql: str, parameters: Mapping[str, Any] | None = None) -> str:
    """Return a statement with its parameters, ``%(name)s``, as literals; not within its texts and comments.

    Raises:
        RunError: a parameter is missing, a value cannot be bound, or the text is more than one statement or
            has a backslash or an open quote in it.
    """
    values = dict(parameters or {})

    def write(found: re.Match[str]) -> str:
        if found["refused"]:
            raise RunError(
                f"a statement cannot be run ({label_of(sql)}): it has {found['refused']!r} at position "
                f"{found.start()}; write one statement, without backslashes, and end its texts and comments"
            )
        name = found["name"]
        if name is None:
            return found[0]
        if name not in values:
            raise RunError(f"the statement binds an unknown parameter: {name}")
        return literal(values[name])

    return _TOKEN.sub(write, sql)


def label_of(sql: str) -> str:
    """Return how a statement begins, in harmless characters: for labels, messages and progress."""
    text = re.sub(r"[^a-z0-9_.,()*=:/ -]", "", " ".join(sql.lower().split()))
    return text[:120].strip()


def qualified(table: str) -> str:
    """Return ``schema.table`` if both are identifiers."""
    schema, _, name = table.partition(".")
    return f"{identifier(schema)}.{identifier(name)}"
