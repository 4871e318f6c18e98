"""COPY carried out: from Parquet files in S3 to a table, through a PostgreSQL connection."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
from botocore.exceptions import ClientError

from tests.stand_ins.pgwire import Column
from tests.stand_ins.redshift_s3 import S3, TEXTS, Session, element, keys, s3_refusal
from tests.stand_ins.redshift_sql import Copy, RefusalError

_ROWS = 65_536


def copy(statement: Copy, session: Session, s3: S3) -> int:
    """Carry out a COPY; return its rows."""
    listed = ", ".join(f'"{name}"' for name in statement.columns)
    columns = session.columns(f"select {listed or '*'} from {statement.table}")
    files = _listed(statement, s3) if statement.manifest else _found(statement, s3)
    session.at("copy:started")
    with ExitStack() as stack:
        opened = []
        for url in files:
            file = stack.enter_context(s3.filesystem.open(url, "rb"))
            try:
                parquet = pq.ParquetFile(file)
            except pa.ArrowInvalid as error:
                raise _scan_error(f"File '{url}' has an invalid Parquet format: {error}") from error
            _check_columns(url, parquet, columns)
            opened.append((url, parquet))
        rows = session.copy_in(
            f"copy {statement.table} {f'({listed})' if listed else ''} from stdin (format csv)",
            (chunk for url, parquet in opened for chunk in _csv(url, parquet, columns)),
        )
    session.at("copy:loaded")
    return rows


def _listed(statement: Copy, s3: S3) -> list[str]:
    """Read a manifest; its files, each there with the length that it says."""
    try:
        text = s3.client.get_object(Bucket=statement.bucket, Key=statement.key)["Body"].read()
    except ClientError as error:
        raise RefusalError(f"Problem reading manifest file - {s3_refusal(error)}") from error
    try:
        entries = json.loads(text)["entries"]
    except (ValueError, KeyError, TypeError) as error:
        raise RefusalError(f"Problem reading manifest file - invalid JSON: {error}") from error
    files = []
    for entry in entries:
        bucket, _, key = str(entry.get("url", "")).removeprefix("s3://").partition("/")
        if not str(entry.get("url", "")).startswith("s3://") or not key:
            raise RefusalError(f"Problem reading manifest file - {entry.get('url')!r} is no S3 URL")
        try:
            length = s3.client.head_object(Bucket=bucket, Key=key)["ContentLength"]
        except ClientError as error:
            if entry.get("mandatory", False) or error.response["Error"]["Code"] not in ("404", "NoSuchKey"):
                raise RefusalError(
                    f"Problem reading manifest file - {entry['url']}: {s3_refusal(error)}"
                ) from error
            continue
        said = entry.get("meta", {}).get("content_length")
        if said is None:
            raise RefusalError(
                f"Manifest entry {entry['url']} has no meta.content_length, which Parquet needs"
            )
        if said != length:
            raise _scan_error(f"File '{entry['url']}' is {length} bytes long, and the manifest says {said}")
        files.append(entry["url"])
    return files


def _found(statement: Copy, s3: S3) -> list[str]:
    found = keys(s3, statement.bucket, statement.key)
    if not found:
        raise RefusalError(f"The specified S3 prefix '{statement.key}' does not exist")
    return [f"s3://{statement.bucket}/{key}" for key in found]


def _scan_error(context: str) -> RefusalError:
    line = "-----------------------------------------------"
    detail = (
        f"\n  {line}\n  error:  Spectrum Scan Error\n  code:      15007\n  context:   {context}\n  {line}\n"
    )
    return RefusalError("Spectrum Scan Error", detail=detail)


def _check_columns(url: str, parquet: pq.ParquetFile, columns: Sequence[Column]) -> None:
    """Check a file's columns against the table's, by position; Redshift does not widen a number."""
    schema = parquet.schema
    if len(schema.names) != len(columns):
        raise _scan_error(
            f"Unmatched number of columns between table and file. Table columns: {len(columns)},"
            f" Data columns: {len(schema.names)}, File name: {url}"
        )
    for i, column in enumerate(columns):
        wanted, found = _parquet_type(column), schema.column(i)
        shown = (found.physical_type, str(found.logical_type))
        if not wanted(*shown):
            name = element(column)["type"]["base"].upper()
            raise _scan_error(
                f"File '{url}' has an incompatible Parquet schema for column '{url}.{found.name}'."
                f" Column type: {name}, Parquet schema: {shown[0]} {shown[1]} {found.name}"
            )


def _parquet_type(column: Column) -> Callable[[str, str], bool]:
    if column.oid in TEXTS:
        return lambda physical, logical: physical == "BYTE_ARRAY" and logical == "String"
    if column.oid == 1700:
        tail = f"Decimal(precision={column.precision}, scale={column.scale})"
        return lambda physical, logical: logical == tail
    if column.oid == 1114:
        return lambda physical, logical: (
            physical == "INT96"
            or (
                logical.startswith("Timestamp(")
                and "nanoseconds" not in logical
                and "isAdjustedToUTC=true" not in logical
            )
        )
    wanted: Mapping[int, tuple[str, tuple[str, ...]]] = {
        16: ("BOOLEAN", ("None",)),
        21: ("INT32", ("Int(bitWidth=16, isSigned=true)",)),
        23: ("INT32", ("None", "Int(bitWidth=32, isSigned=true)")),
        20: ("INT64", ("None", "Int(bitWidth=64, isSigned=true)")),
        700: ("FLOAT", ("None",)),
        701: ("DOUBLE", ("None",)),
        1082: ("INT32", ("Date",)),
    }
    if column.oid not in wanted:
        raise RefusalError(f"the stand-in cannot load column {column.name!r} of this type", code="0A000")
    kind, logicals = wanted[column.oid]
    return lambda physical, logical: physical == kind and logical in logicals


def _csv(url: str, parquet: pq.ParquetFile, columns: Sequence[Column]) -> Iterator[bytes]:
    for batch in parquet.iter_batches(_ROWS):
        arrays = []
        for array, column in zip(batch.columns, columns, strict=True):
            if pa.types.is_dictionary(array.type):
                array = array.dictionary_decode()
            if column.length is not None and batch.num_rows:
                # Redshift counts a text's bytes, PostgreSQL its letters.
                longest = pc.max(pc.binary_length(array)).as_py() or 0
                if longest > column.length:
                    raise _scan_error(
                        f"The length of the data column {column.name} is longer than the length defined in the table."
                        f" Table: {column.length}, Data: {longest}, File name: {url}"
                    )
            arrays.append(array)
        sink = pa.BufferOutputStream()
        names = [str(i) for i in range(len(arrays))]
        pcsv.write_csv(pa.table(arrays, names), sink, pcsv.WriteOptions(include_header=False))
        yield sink.getvalue().to_pybytes()
