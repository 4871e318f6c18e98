"""An event log in Parquet files: its columns, and one type for a column that differs between files."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from churn.core.errors import SourceError
from churn.sources.ingest.engine import file_literal, identifier
from churn.sources.ingest.hive import folder_columns
from churn.sources.ingest.log import Log, Part, refusal
from churn.sources.ingest.text import check_magic

_NUMBERS = ("value", "occurred_at")  # contract columns that are read as numbers; others are kept as text
_SIGNED = {"TINYINT": 8, "SMALLINT": 16, "INTEGER": 32, "BIGINT": 64, "HUGEINT": 128}
_WHOLE = re.compile(r"DECIMAL\(\d+,0\)\Z")
_NESTED = re.compile(r"(STRUCT|MAP)\b.*|.*\[\d*\]\Z", re.DOTALL)


@dataclass(frozen=True)
class Group:
    """Files of a log with the same columns, types and folder columns.

    Attributes:
        paths: the files.
        columns: column to DuckDB type.
        folders: names of the columns that come from folder names.
    """

    paths: tuple[Path, ...]
    columns: Mapping[str, str]
    folders: tuple[str, ...]


@dataclass(frozen=True)
class ParquetLog(Log):
    """A log of Parquet files, grouped by their columns and types."""

    groups: tuple[Group, ...] = ()

    def localise(self, con: Any, stage: Path, column_of: Mapping[str, str]) -> Log:
        """Return the log with one type for each wanted column.

        Raises:
            SourceError: files lack a column, or have it in types that cannot be joined without loss.
        """
        if len(self.groups) == 1:
            return self
        faults = [
            fault
            for name, column in column_of.items()
            if (fault := _difference(self, column, as_number=name in _NUMBERS))
        ]
        if faults:
            raise refusal(self.label, "does not fit together", faults)
        wanted = {column: self.columns[column] for column in column_of.values()}
        group_of = {path: group for group in self.groups for path in group.paths}
        parts = tuple(
            Part(part.label, f"({_select(group_of[Path(part.label)], wanted, [Path(part.label)])})")
            for part in self.parts
        )
        joined = " UNION ALL ".join(_select(group, wanted) for group in self.groups)
        return Log(self.label, self.kind, parts, wanted, f"({joined})")


def open_parquet_log(source: str, paths: Sequence[Path]) -> ParquetLog:
    """Read the columns and types of a log's Parquet files.

    Raises:
        SourceError: files are no Parquet, or break off; every such file is named.
    """
    groups: dict[tuple[Any, ...], list[Path]] = {}
    broken: list[str] = []
    for path in paths:
        try:
            schema = _schema(path)
        except SourceError as error:
            broken.append(str(error))
            continue
        key = (tuple((field.name, str(field.type)) for field in schema), tuple(sorted(folder_columns(path))))
        groups.setdefault(key, []).append(path)
    if broken:
        raise refusal(source, "cannot be read", broken)
    with duckdb.connect() as con:
        made = tuple(
            Group(tuple(files), _describe(con, files[0], folders), folders)
            for (_, folders), files in groups.items()
        )
    columns = {
        name: _joined([group.columns[name] for group in made if name in group.columns])
        for name in dict.fromkeys(name for group in made for name in group.columns)
    }
    parts = tuple(Part(str(path), _scan([path], bool(folder_columns(path)))) for path in paths)
    scan = _scan(paths, bool(made[0].folders))
    return ParquetLog(source, "parquet", parts, columns, scan, groups=made)


def _schema(path: Path) -> Any:
    check_magic(path, "Parquet")
    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(
            f"{path} is not readable as Parquet: it is incomplete or damaged, since its end holds no list of "
            "columns. Copy or write it anew"
        ) from error


def _scan(paths: Iterable[Path], folders: bool) -> str:
    listed = ", ".join(file_literal(path) for path in paths)
    hive = "true, hive_types_autocast = false" if folders else "false"
    return f"read_parquet([{listed}], hive_partitioning = {hive})"


def _describe(con: Any, path: Path, folders: Sequence[str]) -> dict[str, str]:
    try:
        rows = con.execute(f"DESCRIBE SELECT * FROM {_scan([path], bool(folders))}").fetchall()
    except duckdb.Error as error:
        raise SourceError(
            f"{path} is not readable as Parquet: it is damaged, or has types that DuckDB does not know"
        ) from error
    return {str(row[0]): str(row[1]) for row in rows}


def _select(group: Group, wanted: Mapping[str, str], paths: Sequence[Path] = ()) -> str:
    chosen = ", ".join(
        f"CAST({identifier(name)} AS {kind}) AS {identifier(name)}" for name, kind in wanted.items()
    )
    return f"SELECT {chosen} FROM {_scan(paths or group.paths, bool(group.folders))}"


def _difference(log: ParquetLog, column: str, *, as_number: bool) -> str:
    """Return why files cannot be read together, for a column; empty if they can."""
    without = [group for group in log.groups if column not in group.columns]
    if without:
        return f"{without[0].paths[0]} lacks the column {column!r} that other files of {log.label} have"
    first: tuple[str, Group] | None = None
    for group in log.groups:
        kind = group.columns[column]
        if kind == '"NULL"':
            continue  # a column without values fits every type
        family = _family(kind, as_number=as_number)
        if first and first[0] != family:
            return (
                f"column {column!r} is {first[0]} in {first[1].paths[0]} but {family} in {group.paths[0]}: "
                "files that are read together need one type"
            )
        first = first or (family, group)
    return ""


def _family(kind: str, *, as_number: bool) -> str:
    """Return the family of types that can be read together without a change of any value."""
    whole = kind in _SIGNED or kind.removeprefix("U") in _SIGNED or bool(_WHOLE.match(kind))
    number = whole or kind in ("FLOAT", "DOUBLE") or kind.startswith("DECIMAL(")
    if as_number and number:
        return "a number"
    if whole:
        return "integer"
    if kind in ("VARCHAR", "UUID", "JSON") or kind.startswith("ENUM"):
        return "text"
    if kind.startswith("TIMESTAMP"):
        return "a time with a zone" if "ZONE" in kind else "a time without a zone"
    if _NESTED.match(kind):
        return "nested values"
    return {"FLOAT": "float", "DOUBLE": "float", "DATE": "date"}.get(kind, kind)


def _joined(kinds: Sequence[str]) -> str:
    """Return the narrowest type that holds the values of all, as far as they can be read together."""
    found = list(dict.fromkeys(kind for kind in kinds if kind != '"NULL"')) or list(kinds)
    if len(found) == 1:
        return found[0]
    families = {_family(kind, as_number=False) for kind in found}
    if families == {"integer"}:
        if any(_WHOLE.match(kind) for kind in found):
            return "DECIMAL(38,0)"
        bits = max(_SIGNED.get(kind, 2 * _SIGNED.get(kind.removeprefix("U"), 0)) for kind in found)
        return next((name for name, size in _SIGNED.items() if size >= bits), "HUGEINT")
    if {_family(kind, as_number=True) for kind in found} == {"a number"}:
        return "DOUBLE"
    if families == {"text"}:
        return "VARCHAR"
    if families == {"nested values"}:
        return "JSON"
    if families == {"a time without a zone"}:
        return "TIMESTAMP"
    if families == {"a time with a zone"}:
        return "TIMESTAMP WITH TIME ZONE"
    return found[0]
