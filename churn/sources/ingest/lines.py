"""Read text files line by line, also packed ones, and hand the lines to DuckDB.

A line ends at a line feed; a carriage return before it is dropped. Files may be packed with gzip, Zstandard
or Brotli, or lie in a zip archive (and be packed in there too).
"""

import gzip
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from churn.core.errors import SourceError
from churn.sources.ingest.text import chunks

LINES = "lines"  # name of the view that `query_lines` offers to a query
_BLOCK = 8 << 20  # bytes
_LONGEST = 64 << 20  # bytes of a line
_SCHEMA = pa.schema([("line", pa.int64()), ("text", pa.string())])


@dataclass(frozen=True)
class TextFile:
    """A text file, perhaps a member of a zip archive.

    Attributes:
        path: the file, or the archive.
        member: name within the archive; empty without one.
    """

    path: Path
    member: str = ""

    @property
    def label(self) -> str:
        """Its name for messages."""
        return f"{self.path}/{self.member}" if self.member else str(self.path)

    def pieces(self) -> Iterator[bytes]:
        """Yield its bytes, unpacked.

        Raises:
            SourceError: it cannot be read or unpacked, or ends too early.
        """
        if not self.member:
            yield from chunks(self.path)
            return
        try:
            with ExitStack() as stack:
                archive = stack.enter_context(zipfile.ZipFile(self.path))
                stream: Any = stack.enter_context(archive.open(self.member))
                if self.member.lower().endswith(".gz"):
                    stream = stack.enter_context(gzip.open(stream))
                while piece := stream.read(_BLOCK):
                    yield piece
        except (EOFError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, OSError) as error:
            raise SourceError(
                f"{self.label} is incomplete or damaged: copy or download the archive anew"
            ) from error
        except RuntimeError as error:  # of an archive with a password
            raise SourceError(f"{self.label} is protected by a password: unpack it first") from error


def text_files(path: Path) -> list[TextFile]:
    """Return a file, or the members of a zip archive in the order of their names.

    Raises:
        SourceError: the archive is damaged or holds no file.
    """
    if path.suffix.lower() != ".zip":
        return [TextFile(path)]
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(
                info.filename for info in archive.infolist() if not info.is_dir() and info.file_size
            )
    except (zipfile.BadZipFile, OSError) as error:
        raise SourceError(f"{path} cannot be unpacked: it is damaged, or no zip archive") from error
    members = [name for name in names if not any(part.startswith((".", "_")) for part in name.split("/"))]
    if not members:
        raise SourceError(f"{path} holds no files")
    return [TextFile(path, name) for name in members]


def first_line(file: TextFile) -> bytes:
    """Return the first line that is not blank, without spaces around it; empty if there is none."""
    for _, block in _blocks(file):
        for line in block:
            if line.strip():
                return line.removeprefix(b"\xef\xbb\xbf").strip()
    return b""


def query_lines(con: Any, file: TextFile, sql: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query over a file's lines: the view ``lines`` (line BIGINT from 1, text VARCHAR).

    Blank lines are left out. ``text`` is null where a line is not UTF-8.

    Raises:
        SourceError: the file cannot be read, or a line is longer than 64 MiB.
    """
    faults: list[SourceError] = []

    def batches() -> Iterator[Any]:
        try:
            for start, block in _blocks(file):
                yield _batch(start, block)
        except SourceError as error:
            faults.append(error)
            raise

    con.register(LINES, pa.RecordBatchReader.from_batches(_SCHEMA, batches()))
    try:
        rows: list[tuple[Any, ...]] = con.execute(sql).fetchall()
        return rows
    except duckdb.Error:
        if faults:
            raise faults[0] from None
        raise
    finally:
        con.unregister(LINES)


def _batch(start: int, block: list[bytes]) -> Any:
    numbers = [start + place for place, line in enumerate(block) if line.strip()]
    lines = [line.rstrip(b"\r") for line in block if line.strip()]
    if start == 1 and numbers[:1] == [1]:
        lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
    try:
        text = pa.array(lines, pa.string())
    except (pa.ArrowException, UnicodeDecodeError):
        text = pa.array([_decoded(line) for line in lines], pa.string())
    return pa.record_batch([pa.array(numbers, pa.int64()), text], schema=_SCHEMA)


def _decoded(line: bytes) -> str | None:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _blocks(file: TextFile) -> Iterator[tuple[int, list[bytes]]]:
    """Yield lists of lines and the number of each list's first line."""
    number, rest = 1, b""
    for piece in file.pieces():
        block = (rest + piece).split(b"\n")
        rest = block.pop()
        if len(rest) > _LONGEST:
            raise SourceError(
                f"{file.label} line {number + len(block)} is longer than {_LONGEST >> 20} MiB: "
                "is it a text file with one event a line?"
            )
        if block:
            yield number, block
            number += len(block)
    if rest:
        yield number, [rest]
