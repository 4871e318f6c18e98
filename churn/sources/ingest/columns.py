"""Match a log's columns with the contract's, and check their types."""

import difflib
import re
from collections.abc import Mapping

from churn.core.errors import SourceError, UsageError
from churn.sources.ingest.log import Log

REQUIRED = ("user_id", "occurred_at")
CONTRACT = ("user_id", "product", "occurred_at", "value", "category", "item_id", "device")

_INTEGER = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?\Z")
_FLOAT = re.compile(r"(FLOAT|DOUBLE)\Z")
_WHOLE_DECIMAL = re.compile(r"DECIMAL\(\d+,0\)\Z")
_NESTED = re.compile(
    r".*(\[\d*\]|\)\[\])\Z|(STRUCT|MAP|UNION|LIST|ARRAY|BLOB|BIT|INTERVAL|GEOMETRY|VARIANT)\b.*"
)
_TEXT = ("VARCHAR", "UUID", "JSON", '"NULL"')


def is_integer(kind: str) -> bool:
    """Return whether a DuckDB type is an integer."""
    return bool(_INTEGER.match(kind) or _WHOLE_DECIMAL.match(kind))


def is_number(kind: str) -> bool:
    """Return whether a DuckDB type is numeric."""
    return is_integer(kind) or bool(_FLOAT.match(kind)) or kind.startswith("DECIMAL(")


def is_text(kind: str) -> bool:
    """Return whether a DuckDB type is read as text."""
    return kind in _TEXT or kind.startswith("ENUM")


def is_nested(kind: str) -> bool:
    """Return whether a DuckDB type holds lists or records."""
    return bool(_NESTED.match(kind))


def check_names(given: Mapping[str, str]) -> None:
    """Raise a UsageError unless only columns of the contract are mapped."""
    unknown = sorted(set(given) - set(CONTRACT))
    if unknown:
        similar = difflib.get_close_matches(unknown[0], CONTRACT, n=1)
        hint = f" (did you mean {similar[0]}?)" if similar else ""
        raise UsageError(
            f"unknown column {', '.join(map(repr, unknown))}{hint}; known: {', '.join(CONTRACT)}"
        )


def resolve_columns(log: Log, given: Mapping[str, str]) -> dict[str, str]:
    """Match contract columns with the log's.

    Args:
        log: an open log.
        given: contract column to the log's column; an empty string leaves the contract column out.

    Returns:
        Contract column to the log's column, in the contract's order.

    Raises:
        UsageError: a contract column is unknown, or a required one is left out.
        SourceError: the log lacks a column or its type cannot be used; every fault is listed.
    """
    check_names(given)
    faults: list[str] = []
    chosen: dict[str, str] = {}
    for name in CONTRACT:
        wanted = given.get(name, name)
        if wanted in log.columns:
            chosen[name] = wanted
            fault = type_fault(name, wanted, log.columns[wanted])
            if wanted in log.repeated:
                fault = f"{name}: the header names a column twice: {wanted!r}; rename one of them"
            if fault:
                faults.append(fault)
        elif name in given and wanted:
            faults.append(f"no column {wanted!r} for {name}{_suggestion(wanted, log)}")
        elif name in REQUIRED:
            faults.append(f"no column for {name}: say which one with --column {name}=COLUMN")
    if faults:
        listed = ", ".join(f"{name} ({kind})" for name, kind in list(log.columns.items())[:60])
        more = ", ..." if len(log.columns) > 60 else ""
        lines = "\n".join(f"  - {fault}" for fault in faults)
        raise SourceError(f"{log.label} does not fit:\n{lines}\nIt has the columns: {listed}{more}")
    return chosen


def _suggestion(wanted: str, log: Log) -> str:
    lowered = {name.lower(): name for name in log.columns}
    similar = [lowered[match] for match in difflib.get_close_matches(wanted.lower(), lowered, n=3)]
    return f" (did you mean {' or '.join(map(repr, similar))}?)" if similar else ""


def type_fault(name: str, column: str, kind: str) -> str:
    """Return what is wrong with a column's type; empty if nothing is."""
    where = f"{name}: column {column!r} holds {kind}"
    instead = "" if name in REQUIRED else f"; leave it out with --column {name}="
    if name in ("user_id", "product"):
        if _FLOAT.match(kind) or (kind.startswith("DECIMAL(") and not is_integer(kind)):
            return (
                f"{where}, but ids are text or integers: floats lose digits "
                f"(pandas makes them of integers with gaps: write text or Int64){instead}"
            )
        good = is_integer(kind) or is_text(kind) or (name == "product" and kind == "BOOLEAN")
        return "" if good else f"{where}, but text or integers are wanted{instead}"
    if name == "occurred_at":
        timed = kind.startswith(("DATE", "TIMESTAMP")) and not _NESTED.match(kind)
        good = timed or is_number(kind) or is_text(kind)
        return "" if good else f"{where}, but a timestamp, a date, ISO 8601 text or a Unix epoch is wanted"
    if name == "value":
        good = is_number(kind) or is_text(kind)
        return "" if good else f"{where}, but a number is wanted{instead}"
    return f"{where}, but a plain value is wanted{instead}" if _NESTED.match(kind) else ""
