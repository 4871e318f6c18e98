"""UNLOAD carried out: from a PostgreSQL connection to Parquet files and a manifest in S3."""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from tests.stand_ins.pgwire import Column
from tests.stand_ins.redshift_s3 import S3, TEXTS, TYPES, Session, element, keys
from tests.stand_ins.redshift_sql import RefusalError, Unload

SLICES = 2


def arrow_type(column: Column) -> pa.DataType:
    """Return the type that a column of a result has in Parquet."""
    if column.oid in TEXTS:
        return pa.string()
    if column.oid == 1700 and column.precision is not None and column.scale is not None:
        return pa.decimal128(column.precision, column.scale)
    if column.oid not in TYPES:
        raise RefusalError(
            f"the stand-in cannot tell which type Redshift gives column {column.name!r}: cast it in the query",
            code="0A000",
        )
    return TYPES[column.oid][1]


@dataclass
class _Slice:
    """One slice's files of one partition: named as Redshift does, a new one where the last is full."""

    s3: S3
    unload: Unload
    folder: str
    number: int
    schema: pa.Schema
    entries: list[dict[str, Any]] = field(default_factory=list)
    _file: Any = None
    _writer: pq.ParquetWriter | None = None
    _rows: int = 0

    def write(self, rows: pa.Table) -> None:
        if not rows.num_rows:
            return
        if self._writer is None:
            self._file = self.s3.filesystem.open(self._url(), "wb", block_size=8 << 20)
            self._writer = pq.ParquetWriter(self._file, self.schema, compression="snappy")
        self._writer.write_table(rows)
        self._rows += rows.num_rows
        if self._file.tell() >= self.unload.max_bytes:
            self.close()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            size = self._file.tell()
            self._file.close()
            meta = {"content_length": size, "record_count": self._rows}
            self.entries.append({"url": self._url(), "meta": meta})
            self._writer, self._rows = None, 0

    def _url(self) -> str:
        name = f"{self.number:04d}_part_{len(self.entries):02d}.parquet"
        return f"s3://{self.unload.bucket}/{self.unload.prefix}{self.folder}{name}"


def unload(statement: Unload, sql: str, session: Session, s3: S3) -> int:
    """Carry out an UNLOAD; return its rows.

    Args:
        sql: its query in PostgreSQL's SQL.
    """
    columns = session.columns(sql)
    if not columns:
        raise RefusalError("UNLOAD takes a query that returns rows", code="42601")
    names = [column.name for column in columns]
    if len(set(names)) < len(names):
        raise RefusalError("duplicate column names in the query of an UNLOAD to Parquet", code="42701")
    schema = pa.schema([(column.name, arrow_type(column)) for column in columns])
    for column in statement.partition:
        if column not in names:
            raise RefusalError(f'partition column "{column}" is not in the query', code="42703")
    _make_room(statement, s3)
    session.at("unload:started")
    rows, entries = _write(statement, schema, session.copy_out(f"copy ({sql}\n) to stdout (format csv)"), s3)
    session.at("unload:files")
    session.check()  # a session that has been ended writes no manifest
    if statement.manifest and rows:  # without rows Redshift writes neither files nor a manifest
        _write_manifest(statement, columns, rows, entries, s3)
    session.at("unload:manifest")
    return rows


def _make_room(statement: Unload, s3: S3) -> None:
    there = keys(s3, statement.bucket, statement.prefix)
    if there and statement.clean_path:
        for key in there:
            s3.client.delete_object(Bucket=statement.bucket, Key=key)
    elif there and not statement.allow_overwrite:
        raise RefusalError(
            "Specified unload destination on S3 is not empty. Consider using a different bucket / prefix,"
            " manually removing the target files in S3, or using the ALLOWOVERWRITE option."
        )


def _write(
    statement: Unload, schema: pa.Schema, source: io.RawIOBase, s3: S3
) -> tuple[int, list[dict[str, Any]]]:
    kept = [name for name in schema.names if name not in statement.partition or statement.include]
    file_schema = pa.schema([schema.field(name) for name in kept])
    slices: dict[tuple[str, int], _Slice] = {}
    rows = 0
    for batch in _batches(source, schema):
        rows += batch.num_rows
        for folder, part in _partitions(pa.Table.from_batches([batch]), statement.partition):
            count = SLICES if statement.parallel else 1
            for number in range(count):
                chosen = part.select(kept).take(pa.array(range(number, part.num_rows, count), pa.int64()))
                where = (folder, number)
                if where not in slices:
                    slices[where] = _Slice(s3, statement, folder, number, file_schema)
                slices[where].write(chosen)
    for one in slices.values():
        one.close()
    return rows, [entry for _, one in sorted(slices.items()) for entry in one.entries]


def _batches(source: io.RawIOBase, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Read CSV as COPY gives it: null is an empty cell, the empty text a quoted one."""
    first = source.read(1)
    if not first:
        return
    reader = pcsv.open_csv(
        pa.PythonFile(_Joined(first, source), "r"),
        pcsv.ReadOptions(column_names=schema.names, block_size=4 << 20, use_threads=False),
        pcsv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        pcsv.ConvertOptions(
            column_types={field.name: field.type for field in schema},
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t"],
            false_values=["f"],
        ),
    )
    yield from reader


class _Joined(io.RawIOBase):
    """A stream whose first bytes have been read already."""

    def __init__(self, first: bytes, rest: io.RawIOBase) -> None:
        super().__init__()
        self._first, self._rest = first, rest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
        return self._rest.read(size) or b""


def _partitions(rows: pa.Table, columns: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
    """Split rows by their values of columns; each part with its folder."""
    if not columns:
        yield "", rows
        return
    for values in rows.select(columns).group_by(list(columns)).aggregate([]).to_pylist():
        chosen = pa.scalar(True)
        for name, value in values.items():
            same = (
                pc.is_null(rows[name]) if value is None else pc.fill_null(pc.equal(rows[name], value), False)
            )
            chosen = pc.and_(chosen, same)
        shown = {k: "__HIVE_DEFAULT_PARTITION__" if v is None else v for k, v in values.items()}
        yield "".join(f"{name}={value}/" for name, value in shown.items()), rows.filter(chosen)


def _write_manifest(
    statement: Unload, columns: Sequence[Column], rows: int, entries: list[dict[str, Any]], s3: S3
) -> None:
    manifest: dict[str, Any] = {"entries": [{"url": entry["url"]} for entry in entries]}
    if statement.verbose:
        length = sum(entry["meta"]["content_length"] for entry in entries)
        manifest = {
            "entries": entries,
            "schema": {"elements": [element(column) for column in columns]},
            "meta": {"content_length": length, "record_count": rows},
            "author": {"name": "Amazon Redshift", "version": "1.0.0"},
        }
    elif entries:  # the columnar formats need lengths to be copied back
        for short, entry in zip(manifest["entries"], entries, strict=True):
            short["meta"] = {"content_length": entry["meta"]["content_length"]}
    s3.client.put_object(
        Bucket=statement.bucket,
        Key=f"{statement.prefix}manifest",
        Body=json.dumps(manifest, indent=1).encode(),
    )
