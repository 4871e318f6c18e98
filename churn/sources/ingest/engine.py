"""DuckDB for ingest: limited memory, spill files beside the data, no downloads."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

# Sorting 10 million rows fits in memory; larger logs spill. Twice the memory is hardly faster.
MEMORY_LIMIT = "2GB"
_MOST_THREADS = 4  # each thread holds buffers; reading and zstd gain little from more
SCRATCH = "scratch"  # subfolder of the staging folder, removed before the rename
# Columns beside those of a log: where a row stands in its file, and what makes it unreadable.
LINE, FAULT = "churn line", "churn fault"


@contextmanager
def connect(stage: Path) -> Iterator[Any]:
    """Open an in-memory DuckDB that spills into ``stage/scratch``."""
    scratch = stage / SCRATCH
    scratch.mkdir(exist_ok=True)
    con = duckdb.connect(
        config={
            "memory_limit": MEMORY_LIMIT,
            "threads": min(_MOST_THREADS, os.cpu_count() or 1),
            "temp_directory": str(scratch / "spill"),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
    )
    try:
        con.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        yield con
    finally:
        con.close()


def identifier(name: str) -> str:
    """Quote a column name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a text for SQL."""
    return "'" + text.replace("'", "''") + "'"


def file_literal(path: Path) -> str:
    """Quote a path for SQL; absolute, so that it is not taken for a URL."""
    return literal(str(path.absolute()))


def first_lines(error: Exception) -> str:
    """Return the first lines of a DuckDB error, without its list of candidates and options."""
    lines = [line.strip() for line in str(error).splitlines()]
    shown: list[str] = []
    for line in lines:
        if line.startswith(("Possible", "* ", "file =", "LINE ")):
            break
        if line:
            shown.append(line)
    return "; ".join(shown[:4])[:600]


def cannot_write(error: duckdb.Error, stage: Path) -> bool:
    """Return whether an error is about writing the staging folder, not about reading the log."""
    text = str(error).lower()
    return str(stage).lower() in text or "no space left" in text or "could not write" in text


def can_scan(con: Any, scan: str, column_of: Mapping[str, str]) -> bool:
    """Return whether the wanted columns of every row can be read."""
    columns = ", ".join(identifier(column) for column in column_of.values())
    try:
        con.execute(f"SELECT max(hash({columns})) FROM {scan}").fetchone()
    except duckdb.Error:
        return False
    return True
