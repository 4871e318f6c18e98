"""Lines of text: JSON lines, whose names are the columns, and fields between tabs without a header."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb

from churn.core.errors import SourceError
from churn.sources.ingest.engine import FAULT, LINE, SCRATCH, identifier, literal
from churn.sources.ingest.lines import LINES, TextFile, first_line, query_lines, text_files
from churn.sources.ingest.log import Log, Part, scan_parquet

_FAULT = (
    "CASE WHEN text IS NULL THEN 'is not UTF-8 text' WHEN NOT json_valid(text) THEN 'is not JSON' "
    "WHEN json_type(text) <> 'OBJECT' THEN 'is JSON, but no object {...}' END"
)
_FIELDS = "string_split(text, chr(9))"


@dataclass(frozen=True)
class LinesLog(Log):
    """A log of text lines.

    Attributes:
        files: its files.
        header: columns of lines of fields between tabs; empty for JSON lines.
    """

    files: tuple[TextFile, ...] = ()
    header: tuple[str, ...] = ()

    def localise(self, con: Any, stage: Path, column_of: Mapping[str, str]) -> Log:
        """Convert the lines to Parquet in the staging folder, the wanted columns as text."""
        names = sorted(set(column_of.values()))
        listed = "".join(f", v[{place}] AS {identifier(name)}" for place, name in enumerate(names, 1))
        query = (
            f"SELECT line AS {identifier(LINE)}, fault AS {identifier(FAULT)}{listed} "
            f"FROM (SELECT line, fault, CASE WHEN fault IS NULL THEN {self._values(names)} END AS v "
            f"FROM (SELECT line, text, {self._fault()} AS fault FROM {LINES}))"
        )
        converted = [stage / SCRATCH / f"{number:05d}.parquet" for number in range(len(self.files))]
        for file, path in zip(self.files, converted, strict=True):
            query_lines(
                con, file, f"COPY ({query}) TO {literal(str(path))} (FORMAT parquet, COMPRESSION snappy)"
            )
        parts = tuple(
            Part(part.label, scan_parquet([path])) for part, path in zip(self.parts, converted, strict=True)
        )
        return replace(self, kind="parquet", parts=parts, scan=scan_parquet(converted), numbered="line")

    def _fault(self) -> str:
        """Return SQL over ``text`` that says what is wrong with a line; null if nothing is."""
        if not self.header:
            return _FAULT
        fields = f"len({_FIELDS})"
        return (
            "CASE WHEN text IS NULL THEN 'is not UTF-8 text' "
            f"WHEN {fields} <> {len(self.header)} "
            f"THEN 'has ' || {fields} || ' fields, not {len(self.header)}' END"
        )

    def _values(self, names: list[str]) -> str:
        """Return SQL over ``text`` for a list of the columns' texts."""
        if self.header:
            return f"[{', '.join(f'{_FIELDS}[{self.header.index(name) + 1}]' for name in names)}]"
        pointers = ", ".join(literal("/" + name.replace("~", "~0").replace("/", "~1")) for name in names)
        return f"json_extract_string(text, [{pointers}]::VARCHAR[])"


def open_json(source: str, paths: Iterable[Path]) -> Log:
    """Open files of JSON lines, and read every name that an object has.

    Raises:
        SourceError: a file cannot be read, or holds one JSON array rather than a JSON object a line.
    """
    files = tuple(file for path in paths for file in text_files(path))
    names: dict[str, None] = {}
    with duckdb.connect() as con:
        for file in files:
            if first_line(file).startswith(b"["):
                raise SourceError(
                    f"{file.label} is one JSON array: JSON lines are wanted, one object a line. "
                    f"Convert it, for example with: jq -c '.[]' {file.path.name} > events.jsonl"
                )
            found = query_lines(
                con,
                file,
                "SELECT name FROM (SELECT unnest(json_keys(text)) AS name, line FROM "
                f"(SELECT line, text FROM {LINES} WHERE {_FAULT} IS NULL)) "
                "GROUP BY name ORDER BY min(line), name",
            )
            names |= dict.fromkeys(name for (name,) in found)
    if not names:
        raise SourceError(f"{source} holds no JSON objects: one object {{...}} a line is wanted")
    parts = tuple(Part(file.label, "") for file in files)
    return LinesLog(source, "json", parts, dict.fromkeys(names, "VARCHAR"), "", files=files)
