"""The statements UNLOAD and COPY."""

import re
from collections.abc import Sequence

from churn.config.warehouse import KMS_KEY, ROLE
from churn.core.errors import RunError
from churn.core.names import identifier
from churn.warehouse.quoting import bind, qualified

_S3_URL = re.compile(
    r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/(?!\.{1,2}(?:/|\Z))"
    r"(?:[A-Za-z0-9_=+@.:-]+/(?!\.{1,2}(?:/|\Z)))*[A-Za-z0-9_=+@.:-]*",
    re.ASCII,
)
# What Redshift accepts as MAXFILESIZE, in MB.
SMALLEST_FILE, LARGEST_FILE = 5, 6200


def unload_statement(
    query: str, destination: str, iam_role: str, *, max_file_size_mb: int, kms_key: str | None = None
) -> str:
    """Return the statement that writes a query's rows to Parquet files, then a manifest.

    Args:
        query: one query without parameters (see ``bind``).
        destination: ``s3://bucket/prefix`` of every file; no such file may exist.
        iam_role: ARN of the role that Redshift writes with, or ``default``.

    Raises:
        RunError: a part cannot be quoted safely, or Redshift would refuse it.
    """
    query = bind(query)  # refuses more than one statement, backslashes and open quotes
    if not SMALLEST_FILE <= max_file_size_mb <= LARGEST_FILE:
        raise RunError(f"files can have {SMALLEST_FILE} to {LARGEST_FILE} MB, not {max_file_size_mb}")
    if kms_key is not None and not KMS_KEY.fullmatch(kms_key):
        raise RunError("the KMS key must be an id or an ARN")
    lines = [
        f"UNLOAD ('{query.replace(chr(39), chr(39) * 2)}')",
        f"TO '{s3_url(destination)}'",
        f"IAM_ROLE {_role(iam_role)}",
        "FORMAT AS PARQUET",
        "MANIFEST VERBOSE",
        *([f"KMS_KEY_ID '{kms_key}' ENCRYPTED"] if kms_key else []),
        "PARALLEL ON",
        f"MAXFILESIZE AS {max_file_size_mb:d} MB",
    ]
    return "\n".join(lines)


def copy_statement(table: str, columns: Sequence[str], manifest_url: str, iam_role: str) -> str:
    """Return the statement that appends a manifest's Parquet files, with these columns in order, to a table.

    Raises:
        RunError: the URL or the role is not valid.
        UsageError: a name is not valid.
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


def s3_url(url: str) -> str:
    """Return an S3 URL that is safe within a statement.

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
