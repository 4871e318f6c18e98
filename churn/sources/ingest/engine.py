"""DuckDB as ingest uses it: bounded memory, its spill beside the data, nothing downloaded."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

# A sort of 10 million rows stays in memory; larger ones spill. Twice as much hardly makes it faster.
MEMORY_LIMIT = "2GB"
_MOST_THREADS = 4  # each thread holds buffers; reading and zstd gain little from more
SCRATCH = "scratch"  # folder in the staging folder that never reaches the data folder


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
    """Quote a column's name, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a text."""
    return "'" + text.replace("'", "''") + "'"


def first_lines(error: Exception) -> str:
    """The telling part of a DuckDB message: what went wrong, without its list of options."""
    lines = [line.strip() for line in str(error).splitlines()]
    kept: list[str] = []
    for line in lines:
        if line.startswith(("Possible", "* ", "file =", "LINE ")):
            break
        if line:
            kept.append(line)
    return "; ".join(kept[:4])[:600]
