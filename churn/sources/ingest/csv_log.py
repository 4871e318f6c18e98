"""An event log in CSV files: its columns, and its conversion to Parquet that can be scanned repeatedly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb

from churn.core.errors import SourceError
from churn.sources.ingest.csv_faults import LINE_LIMITS, read_faults
from churn.sources.ingest.engine import SCRATCH, file_literal, identifier, literal
from churn.sources.ingest.hive import folder_columns
from churn.sources.ingest.log import NOT_TAKEN, Log, Part, Rejected, refusal, scan_parquet
from churn.sources.ingest.text import CsvFile, open_csv, readable


@dataclass(frozen=True)
class CsvLog(Log):
    """A log of CSV files.

    Attributes:
        files: its files; all columns are text until they are checked.
    """

    files: tuple[CsvFile, ...] = ()

    def localise(self, con: Any, stage: Path, column_of: Mapping[str, str]) -> Log:
        """Convert the files to Parquet in the staging folder, the wanted columns as text.

        Types are not guessed: that would turn the id 00042 into 42. Lines that cannot be read are left out,
        and listed in the log's ``faults``.

        Raises:
            SourceError: a file is incomplete or cannot be decoded; every such file is named.
        """
        wanted = sorted(set(column_of.values()))
        converted: list[Path] = []
        faults: list[str] = []
        rejected: list[Rejected] = []
        unsure = False
        broken: list[str] = []
        for number, file in enumerate(self.files):
            copy, target = (stage / SCRATCH / f"{number:05d}{ending}" for ending in (".csv", ".parquet"))
            try:
                said, lines = _convert(con, file, readable(file, copy), target, wanted)
                faults += said
                rejected += lines
                unsure |= bool(said) and not lines
            except SourceError as error:
                broken.append(str(error))
            copy.unlink(missing_ok=True)
            converted.append(target)
        if broken:
            raise refusal(self.label, NOT_TAKEN, broken + faults)
        parts = tuple(
            Part(part.label, scan_parquet([path])) for part, path in zip(self.parts, converted, strict=True)
        )
        return replace(
            self,
            kind="parquet",
            parts=parts,
            scan=scan_parquet(converted),
            faults=(*self.faults, *faults),
            rejected=() if unsure else tuple(rejected),
        )


def open_csv_log(source: str, paths: Sequence[Path]) -> CsvLog:
    """Read the headers of a log's CSV files.

    Raises:
        SourceError: files are no CSV; every such file is named.
    """
    files: list[CsvFile] = []
    broken: list[str] = []
    for path in paths:
        try:
            files.append(open_csv(path))
        except SourceError as error:
            broken.append(str(error))
    if broken:
        raise refusal(source, "cannot be read", broken)
    names: dict[str, str] = {}
    repeated: set[str] = set()
    for file in files:
        names |= dict.fromkeys([*file.header, *folder_columns(file.path)], "VARCHAR")
        repeated |= {name for name in file.header if file.header.count(name) > 1}
    parts = tuple(Part(str(path), "") for path in paths)
    return CsvLog(source, "csv", parts, names, "", repeated=tuple(sorted(repeated)), files=tuple(files))


def _convert(
    con: Any, file: CsvFile, text: Path, target: Path, wanted: Sequence[str]
) -> tuple[list[str], list[Rejected]]:
    """Write the wanted columns of a file as Parquet; return its faults in words, and the lines left out.

    Raises:
        SourceError: a wanted column is not in this file, or the reader gave up.
    """
    folders = folder_columns(file.path)
    lacking = [name for name in wanted if name not in file.header and name not in folders]
    if lacking:
        raise SourceError(
            f"{file.path} lacks the column {', '.join(map(repr, lacking))} that other files have; "
            f"it has {', '.join(map(repr, file.header))}"
        )
    chosen = ", ".join(f"{_source(file, folders, name)} AS {identifier(name)}" for name in wanted)
    types = ", ".join(f"'c{position}': 'VARCHAR'" for position in range(len(file.header)))
    for limit in LINE_LIMITS:
        query = (
            f"COPY (SELECT {chosen} FROM read_csv({file_literal(text)}, auto_detect = false, header = true, "
            f"skip = {file.above}, delim = {literal(file.delimiter)}, quote = '\"', escape = '\"', "
            f"max_line_size = {limit}, store_rejects = true, columns = {{{types}}})) "
            f"TO {file_literal(target)} (FORMAT parquet, COMPRESSION snappy)"
        )
        try:
            con.execute(query)
        except (duckdb.InvalidInputException, duckdb.ConversionException) as error:
            raise SourceError(
                f"{file.path} cannot be read as CSV: its quotes, fields or line ends follow no rule. "
                "Export it anew, or write it as Parquet"
            ) from error
        faults = read_faults(con, file, text, last=limit == LINE_LIMITS[-1])
        if faults is not None:
            return faults
    return [], []


def _source(file: CsvFile, folders: Mapping[str, str | None], name: str) -> str:
    """Return SQL for a column: of the folders' names before the file's own."""
    if name not in folders:
        return f"c{file.header.index(name)}"
    value = folders[name]
    return "CAST(NULL AS VARCHAR)" if value is None else literal(value)
