"""Lines of a CSV file that cannot be read: how many, which one is the first, and what to do, in our words.

DuckDB records each such line while it reads. Its own messages quote the line, which holds ids, so they are
not shown.
"""

import csv
from pathlib import Path
from typing import Any

from churn.sources.ingest.log import Rejected
from churn.sources.ingest.text import CsvFile

# The longest line, in bytes. The second limit takes twice the time and more memory, so it is tried only when
# the first one does not do.
LINE_LIMITS = (2_000_000, 64_000_000)
_EXAMPLES = 5
_LONG, _QUOTE = "LINE SIZE OVER MAXIMUM", "UNQUOTED VALUE"
_BLOCK = 1 << 22


def read_faults(
    con: Any, file: CsvFile, text: Path, *, last: bool
) -> tuple[list[str], list[Rejected]] | None:
    """Return what is wrong with the lines that DuckDB has just rejected.

    Args:
        con: the connection that read the file with ``store_rejects``.
        file: the file, for messages.
        text: the plain text that was read.
        last: whether no higher limit for the length of a line is left.

    Returns:
        A sentence for each kind of fault, and the lines; no lines if an open quote makes all of them
        unsure. None if lines were too long and the file should be read with the next limit.
    """
    every = con.execute(
        "SELECT min(byte_position), min(error_type) FROM reject_errors GROUP BY line ORDER BY 1"
    ).fetchall()
    rows = con.execute(
        "SELECT error_type, count(DISTINCT line), min(line), "
        f"list(DISTINCT byte_position ORDER BY byte_position)[:{_EXAMPLES}] "
        "FROM reject_errors GROUP BY 1 ORDER BY min(line)"
    ).fetchall()
    con.execute("DROP TABLE reject_errors; DROP TABLE reject_scans")
    kinds = {str(kind): (int(count), int(first), positions) for kind, count, first, positions in rows}
    if _LONG in kinds and not last:
        return None
    if _QUOTE in kinds or _LONG in kinds:
        fault = _quote_fault(file, text)
        if fault:
            return [fault], []  # what follows an open quote is misread: only the first fault is sure
    numbers = _line_numbers(text, [position for position, _ in every])
    lines = [
        Rejected(str(file.path), number, _says(str(kind), file, single=True))
        for number, (_, kind) in zip(numbers, every, strict=True)
    ]
    return [
        f"{file.path}: {_count(count)} {_says(kind, file, single=count == 1)}; "
        f"{_lines(text, positions, count)}"
        for kind, (count, _, positions) in kinds.items()
    ], lines


def _count(count: int) -> str:
    return f"{count:,} line{'' if count == 1 else 's'}"


def _says(kind: str, file: CsvFile, *, single: bool) -> str:
    has, is_ = ("has", "is") if single else ("have", "are")
    them = "it" if single else "them"
    fields = len(file.header)
    if kind == "TOO MANY COLUMNS":
        return (
            f"{has} more fields than the header's {fields}: put a field that holds {file.delimiter!r} or a "
            "line break between double quotes"
        )
    if kind == "MISSING COLUMNS":
        return (
            f"{has} fewer fields than the header's {fields}: complete or remove {'it' if single else 'them'}"
        )
    if kind == _LONG:
        return (
            f"{is_} longer than {LINE_LIMITS[-1] // 1_000_000} million bytes: leave the long column out, or "
            "close a quote that was left open"
        )
    if kind.startswith("INVALID"):
        return f"{is_} not UTF-8 text: convert the file, for example with iconv -f WINDOWS-1252 -t UTF-8"
    return f"cannot be read ({kind.lower()}): mend or remove {them}"


def _lines(text: Path, positions: list[int], count: int) -> str:
    """Return the numbers of the lines at some positions in a file, in words."""
    numbers = _line_numbers(text, positions)
    more = ", ..." if count > len(numbers) else ""
    return f"{'line' if count == 1 else 'lines'} {', '.join(f'{number:,}' for number in numbers)}{more}"


def _line_numbers(text: Path, positions: list[int]) -> list[int]:
    """Return the numbers of the lines at rising positions in a file, counted as an editor does."""
    numbers: list[int] = []
    line, seen = 1, 0
    with text.open("rb") as file:
        for position in positions:
            while seen < position - 1:
                block = file.read(min(_BLOCK, position - 1 - seen))
                if not block:
                    break
                line += block.count(b"\n")
                seen += len(block)
            numbers.append(line)
    return numbers


def _quote_fault(file: CsvFile, text: Path) -> str:
    """Return what is wrong with the first line whose quotes break the rules; empty if there is none."""
    longest = LINE_LIMITS[-1]
    csv.field_size_limit(longest)  # of the process: Python's default is 128 KiB
    start = 1
    with text.open(encoding="utf-8", errors="replace", newline="") as lines:
        rows = csv.reader(lines, delimiter=file.delimiter, strict=True)
        try:
            for _ in rows:
                start = rows.line_num + 1
        except csv.Error as error:
            if "larger than" in str(error):
                return (
                    f"{file.path}: in line {start:,} a field is longer than {longest // 1_000_000} million "
                    "characters: close a double quote that was left open, or leave the long column out"
                )
            return (
                f"{file.path}: in line {start:,} a double quote opens a field and does not close it, or text "
                'follows the closing quote: close it, and write a quote inside a text twice ("")'
            )
    return ""
