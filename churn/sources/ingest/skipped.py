"""Skip the rows of a log that cannot be taken, and list them in a file that names nobody."""

import csv
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from churn.sources.ingest.engine import LINE, identifier
from churn.sources.ingest.log import Log

SKIPPED_FILE = "skipped_rows.csv"
_AT_ONCE = 10_000


def without_bad_rows(log: Log, bad: str) -> Log:
    """Return a log without the rows for which an SQL expression says why they are bad."""

    def kept(scan: str) -> str:
        return f"(FROM {scan} WHERE ({bad}) IS NULL)"

    parts = tuple(replace(part, scan=kept(part.scan)) for part in log.parts)
    return replace(log, parts=parts, scan=kept(log.scan), faults=(), rejected=())


def write_skipped(con: Any, log: Log, bad: str, folder: Path) -> None:
    """Write which rows are skipped: file, line or row, and why. No value of a row is in it.

    A line counts as in an editor. A row counts the events of a file: 1 is the first one, and lines that
    the reader left out do not count.

    Args:
        con: a DuckDB connection.
        log: the log with its bad rows.
        bad: SQL of why a row is skipped, null for the others.
        folder: where the file goes.
    """
    number = identifier(LINE) if log.numbered else "row_number() OVER ()"
    counted = log.numbered or "row"
    descriptor = os.open(folder / SKIPPED_FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("file", "counted", "number", "reason"))
        rows.writerows((line.file, "line", line.line, line.reason) for line in log.rejected)
        for part in log.parts:
            found = con.execute(
                f"SELECT n, reason FROM (SELECT {number} AS n, {bad} AS reason FROM {part.scan}) "
                "WHERE reason IS NOT NULL"
            )
            while block := found.fetchmany(_AT_ONCE):
                rows.writerows((part.label, counted, at, reason) for at, reason in block)
