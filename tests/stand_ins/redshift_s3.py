"""What UNLOAD and COPY of the stand-in for Redshift share: types, and their hand in S3."""

import io
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import pyarrow as pa
from botocore.exceptions import ClientError

from tests.stand_ins.pgwire import Column
from tests.stand_ins.redshift_sql import RefusalError

TEXTS = {25: "character varying", 1043: "character varying", 1042: "character"}
# PostgreSQL's type numbers, with Redshift's names and the Arrow types that UNLOAD gives.
TYPES: Mapping[int, tuple[str, pa.DataType]] = {
    16: ("boolean", pa.bool_()),
    21: ("smallint", pa.int16()),
    23: ("integer", pa.int32()),
    20: ("bigint", pa.int64()),
    700: ("real", pa.float32()),
    701: ("double precision", pa.float64()),
    1082: ("date", pa.date32()),
    1114: ("timestamp without time zone", pa.timestamp("us")),
}


class S3(Protocol):
    """What the stand-in's own hand in S3 needs: a boto3 client and an s3fs file system."""

    client: Any
    filesystem: Any


class Session(Protocol):
    """A session with the server in which a statement is carried out."""

    def columns(self, sql: str) -> list[Column]:
        """Return a query's columns."""

    def copy_out(self, sql: str) -> io.RawIOBase:
        """Return what COPY TO STDOUT gives."""

    def copy_in(self, sql: str, chunks: Iterator[bytes]) -> int:
        """Send COPY FROM STDIN its rows; return how many there were."""

    def check(self) -> None:
        """Raise if the server's session has been ended."""

    def at(self, point: str) -> None:
        """Let a test step in."""


def element(column: Column) -> dict[str, Any]:
    """Describe a column as a verbose manifest does."""
    if column.oid in TEXTS:
        kind: dict[str, Any] = {"base": TEXTS[column.oid], "max_length": column.length or 65535}
    elif column.oid == 1700:
        kind = {"base": "numeric", "precision": column.precision, "scale": column.scale}
    else:
        kind = {"base": TYPES[column.oid][0]}
    return {"name": column.name, "type": kind}


def keys(s3: S3, bucket: str, prefix: str) -> list[str]:
    """Return the keys under a prefix."""
    try:
        pages = s3.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [found["Key"] for page in pages for found in page.get("Contents", [])]
    except ClientError as error:
        raise s3_refusal(error) from error


def s3_refusal(error: ClientError) -> RefusalError:
    """Say what S3 said as Redshift passes it on."""
    said, code = error.response["Error"].get("Message", ""), error.response["Error"].get("Code", "")
    status = error.response["ResponseMetadata"].get("HTTPStatusCode", 0)
    return RefusalError(f"S3ServiceException:{said},Status {status},Error {code}")
