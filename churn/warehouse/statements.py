r"""Redshift statements with their values in them, and the two that PostgreSQL lacks: UNLOAD and COPY.

Values are written into the text as literals, whichever driver sends it: inside UNLOAD there can be no bound
parameters, and Redshift takes none in CREATE TABLE AS either. Redshift reads a backslash in a literal as an
escape, PostgreSQL does not. So no literal written here has one (it becomes ``CHR(92)``), and SQL text with
one is refused: what remains means the same to both, also within UNLOAD's outer quotes.
"""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from churn.config import identifier
from churn.config_warehouse import KMS_KEY, ROLE
from churn.errors import RunError

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
_S3_URL = re.compile(
    r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/(?!\.{1,2}(?:/|\Z))"
    r"(?:[A-Za-z0-9_=+@.:-]+/(?!\.{1,2}(?:/|\Z)))*[A-Za-z0-9_=+@.:-]*",
    re.ASCII,
)
_WHOLE_NUMBERS = range(-(2**63), 2**63)
# What Redshift accepts as MAXFILESIZE, in MB.
SMALLEST_FILE, LARGEST_FILE = 5, 6200


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


def unload_statement(
    query: str,
    destination: str,
    iam_role: str,
    *,
    max_file_size_mb: int,
    partition_by: Sequence[str] = (),
    kms_key: str | None = None,
) -> str:
    """Return the statement that writes a query's rows to Parquet files, and a manifest when they are there.

    Args:
        query: one query, with its values in it (``bind``).
        destination: ``s3://bucket/prefix`` that every file's name begins with; nothing may be there yet.
        iam_role: ARN of the role that Redshift writes with, or ``default``.
        max_file_size_mb: size of the largest file, in MB.
        partition_by: columns that make folders of their own.
        kms_key: key that the files are encrypted with.

    Raises:
        RunError: a part could not be quoted safely, or Redshift would refuse it.
        UsageError: a column's name is none.
    """
    query = bind(query)  # which refuses more than one statement, backslashes and open quotes
    if not SMALLEST_FILE <= max_file_size_mb <= LARGEST_FILE:
        raise RunError(f"files can have {SMALLEST_FILE} to {LARGEST_FILE} MB, not {max_file_size_mb}")
    folders = ", ".join(identifier(name) for name in partition_by)
    if kms_key is not None and not KMS_KEY.fullmatch(kms_key):
        raise RunError("the KMS key must be an id or an ARN")
    lines = [
        f"UNLOAD ('{query.replace(chr(39), chr(39) * 2)}')",
        f"TO '{s3_url(destination)}'",
        f"IAM_ROLE {_role(iam_role)}",
        "FORMAT AS PARQUET",
        *([f"PARTITION BY ({folders})"] if folders else []),
        "MANIFEST VERBOSE",
        *([f"KMS_KEY_ID '{kms_key}' ENCRYPTED"] if kms_key else []),
        "PARALLEL ON",
        f"MAXFILESIZE AS {max_file_size_mb:d} MB",
    ]
    return "\n".join(lines)


def copy_statement(table: str, columns: Sequence[str], manifest_url: str, iam_role: str) -> str:
    """Return the statement that appends a manifest's Parquet files to a table.

    Args:
        table: ``schema.table``.
        columns: the table's columns that the files hold, in the files' order.
        manifest_url: S3 URL of the manifest.
        iam_role: ARN of the role that Redshift reads with, or ``default``.

    Raises:
        RunError: the URL or the role is none.
        UsageError: a name is none.
    """
    listed = ", ".join(identifier(column) for column in columns)
    return "\n".join(
        [
            f"COPY {qualified(table)} ({listed})",
            f"FROM '{s3_url(manifest_url)}'",
            f"IAM_ROLE {_role(iam_role)}",
            "FORMAT AS PARQUET",
            "MANIFEST",
        ]
    )


def grant_statement(table: str, group: str) -> str:
    """Return the statement that lets a group read a table."""
    return f"GRANT SELECT ON {qualified(table)} TO GROUP {identifier(group)}"


def s3_url(url: str) -> str:
    """Return an S3 URL if it can stand in a statement.

    Raises:
        RunError: it has other than letters, digits and ``_=+@.:-/``, or a path segment ``.`` or ``..``.
    """
    if not _S3_URL.fullmatch(url):
        raise RunError(
            f"{url[:200]!r} cannot be used: Redshift needs s3://bucket/path, with letters, digits and _=+@.:-"
            " in its path"
        )
    return url


def _role(role: str) -> str:
    if not ROLE.fullmatch(role):
        raise RunError("the warehouse's iam_role must be 'default' or the ARN of an IAM role")
    return role if role == "default" else f"'{role}'"
