"""An event log on disk: its files, its columns, and the SQL that scans them."""

import csv
import difflib
import glob
import gzip
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from churn.core.errors import SourceError, UsageError
from churn.sources.ingest.engine import SCRATCH, first_lines, identifier, literal

_PARQUET = (".parquet", ".pq")
_CSV = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
_DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class Part:
    """One file of a log: its name for messages, and the SQL that scans it."""

    label: str
    scan: str


@dataclass(frozen=True)
class Log:
    """An event log that DuckDB can scan.

    Attributes:
        label: its name for messages.
        kind: ``parquet``, ``csv`` or ``sql`` (a named source).
        parts: its files, in order.
        columns: column to DuckDB type, in the log's order.
        scan: SQL that scans all of it.
        timezone: default zone to which instants are converted.
        value_unit: unit of its value.
        verb: what people do with its products, for the report's sentences.
        shown: contract column to the name shown as its origin, if that is not a column.
        delimiters: delimiter of each CSV file.
    """

    label: str
    kind: str
    parts: tuple[Part, ...]
    columns: Mapping[str, str]
    scan: str
    timezone: str = "UTC"
    value_unit: str = "units"
    verb: str = "used"
    shown: Mapping[str, str] = field(default_factory=dict)
    delimiters: tuple[str, ...] = ()

    def localise(self, con: Any, stage: Path, wanted: Iterable[str]) -> "Log":
        """Return a log that is cheap to scan repeatedly and whose rows can be numbered.

        CSV files are converted once to Parquet in the staging folder, the wanted columns as text. Their types
        are not guessed: that would turn the id 00042 into 42. A faulty line is an error.
        """
        names = sorted(set(wanted))
        if self.kind == "parquet":
            _check_parts(self, names)
        if self.kind != "csv":
            return self
        converted = [stage / SCRATCH / f"{number:05d}.parquet" for number in range(len(self.parts))]
        for part, delimiter, path in zip(self.parts, self.delimiters, converted, strict=True):
            header = _read_header(Path(part.label), delimiter)
            chosen = ", ".join(f"c{header.index(name)} AS {identifier(name)}" for name in names)
            types = ", ".join(f"'c{position}': 'VARCHAR'" for position in range(len(header)))
            con.execute(
                f"COPY (SELECT {chosen} FROM read_csv({_file(part.label)}, auto_detect = false, "
                f"header = true, delim = {literal(delimiter)}, quote = '\"', escape = '\"', "
                f"columns = {{{types}}})) TO {_file(path)} (FORMAT parquet, COMPRESSION snappy)"
            )
        parts = tuple(
            Part(part.label, _scan_parquet([path])) for part, path in zip(self.parts, converted, strict=True)
        )
        return replace(self, kind="parquet", parts=parts, scan=_scan_parquet(converted))


def open_log(source: str) -> Log:
    """Find a log's files and read their column names and types.

    Raises:
        SourceError: there is no such file, a file cannot be read, or the files have different columns.
        UsageError: the files are neither Parquet nor CSV, or both.
    """
    paths = _find(source)
    kinds = {_kind(path) for path in paths}
    if len(kinds) > 1:
        raise UsageError(
            f"{source} holds both Parquet and CSV files: name one kind, for example '{source}/*.parquet'"
        )
    for path in paths:
        if path.stat().st_size == 0:
            raise SourceError(f"{path} is empty (0 bytes)")
    return _open_parquet(source, paths) if kinds == {"parquet"} else _open_csv(source, paths)


def _find(source: str) -> list[Path]:
    path = Path(source).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        files = [
            file
            for file in sorted(path.rglob("*"))
            if file.is_file()
            and file.name.lower().endswith(_PARQUET + _CSV)
            and not any(name.startswith((".", "_")) for name in file.relative_to(path).parts)
        ]
        if not files:
            raise SourceError(f"the folder {path} holds no Parquet or CSV files")
        return files
    if glob.has_magic(source):
        files = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())
        if not files:
            raise SourceError(f"no file matches {source}")
        return files
    similar: list[str] = []
    if path.parent.is_dir():
        similar = difflib.get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=3)
    hint = (
        f"; did you mean {' or '.join(similar)}?"
        if similar
        else "; a file, a folder, a glob, grocery or cdnow is wanted"
    )
    raise SourceError(f"there is no file {source}{hint}")


def _kind(path: Path) -> str:
    name = path.name.lower()
    if name.endswith(_PARQUET):
        return "parquet"
    if name.endswith(_CSV):
        return "csv"
    raise UsageError(
        f"{path} is neither Parquet ({', '.join(_PARQUET)}) nor CSV ({', '.join(_CSV)}) by its name"
    )


def _file(path: str | Path) -> str:
    """Return a path as an SQL literal; absolute, so that it is not taken for a URL."""
    return literal(str(Path(path).absolute()))


def _scan_parquet(paths: Sequence[Path]) -> str:
    return f"read_parquet([{', '.join(map(_file, paths))}])"


def _open_parquet(source: str, paths: list[Path]) -> Log:
    scan = _scan_parquet(paths)
    try:
        with duckdb.connect() as con:
            described = con.execute(f"DESCRIBE SELECT * FROM {scan}").fetchall()
    except duckdb.Error as error:
        raise SourceError(f"{source} is not readable as Parquet: {first_lines(error)}") from error
    parts = tuple(Part(str(path), _scan_parquet([path])) for path in paths)
    return Log(source, "parquet", parts, {str(row[0]): str(row[1]) for row in described}, scan)


def _open_csv(source: str, paths: list[Path]) -> Log:
    delimiters = tuple(_delimiter(path) for path in paths)
    headers = [_read_header(path, delimiter) for path, delimiter in zip(paths, delimiters, strict=True)]
    for path, header in zip(paths, headers, strict=True):
        if set(header) != set(headers[0]):
            raise SourceError(
                f"{path} has the columns {', '.join(header)}, but {paths[0]} has {', '.join(headers[0])}: "
                "files that are read together need the same header"
            )
    parts = tuple(Part(str(path), "") for path in paths)
    return Log(source, "csv", parts, dict.fromkeys(headers[0], "VARCHAR"), "", delimiters=delimiters)


def _first_line(path: Path) -> str:
    try:
        opener: Any = gzip.open if path.name.lower().endswith(".gz") else open
        with opener(path, "rt", encoding="utf-8-sig", newline="") as text:
            rows = csv.reader(line for line in text)
            next(rows, None)  # csv finds the end of a header with quoted line breaks
            lines = rows.line_num
            text.seek(0)
            return "".join(text.readline() for _ in range(lines))
    except (OSError, EOFError, csv.Error) as error:
        raise SourceError(f"{path} is not readable as CSV: {error}") from error
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{path} is not UTF-8 text ({error.reason}): convert it, for example with iconv"
        ) from error


def _delimiter(path: Path) -> str:
    """Return the delimiter that gives the most columns; DuckDB's detection may skip faulty lines."""
    line = _first_line(path)
    if not line.strip():
        raise SourceError(f"{path} starts with an empty line: the first line must name the columns")
    counts = {mark: len(next(csv.reader([line], delimiter=mark))) for mark in _DELIMITERS}
    return max(counts, key=lambda mark: counts[mark])


def _read_header(path: Path, delimiter: str) -> list[str]:
    header = [name.strip() for name in next(csv.reader(io.StringIO(_first_line(path)), delimiter=delimiter))]
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise SourceError(f"{path} names a column twice: {', '.join(map(repr, repeated))}")
    return header


def _check_parts(log: Log, wanted: list[str]) -> None:
    """Raise unless the wanted columns have one type family in all Parquet files."""
    if len(log.parts) == 1:
        return
    first: dict[str, tuple[str, str]] = {}
    schemas = [(part.label, _schema(part.label)) for part in log.parts]
    for label, schema in schemas:
        for name in wanted:
            if name not in schema.names:
                if any(name in other.names for _, other in schemas):
                    raise SourceError(
                        f"{label} lacks the column {name!r} that other files of {log.label} have"
                    )
                continue  # a Hive partition column from folder names
            if pa.types.is_null(schema.field(name).type):
                continue  # a column without values fits every type
            family = _family(schema.field(name).type)
            seen = first.setdefault(name, (family, label))
            if seen[0] != family:
                raise SourceError(
                    f"column {name!r} is {seen[0]} in {seen[1]} but {family} in {label}: "
                    "files that are read together need one type"
                )


def _schema(path: str) -> Any:
    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{path} is not readable as Parquet: {error}") from error


def _family(kind: Any) -> str:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_timestamp(kind):
        return "a time with a zone" if kind.tz else "a time without a zone"
    for test, family in (
        (pa.types.is_integer, "integer"),
        (pa.types.is_floating, "float"),
        (pa.types.is_decimal, "decimal"),
        (pa.types.is_string, "text"),
        (pa.types.is_large_string, "text"),
        (pa.types.is_date, "date"),
    ):
        if test(kind):
            return family
    return str(kind)
