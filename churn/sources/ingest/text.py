"""A CSV file as it lies on disk: its compression, encoding, header, and the lines above the header.

A file that is compressed, is not UTF-8, or mixes line ends is copied to a plain UTF-8 file before DuckDB
reads it. The copy is complete or refused: compressed data that end early or fail their checksum are faults.
"""

import codecs
import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from churn.core.errors import SourceError

_DELIMITERS = (",", ";", "\t", "|")
_CHUNK = 1 << 20
_HEAD = 1 << 20  # bytes in which the header must end
_LONGEST_FIELD = 2**31 - 1
_SOME = 1000  # characters in which zero bytes are counted
_SAMPLE = 20  # lines below the header that are compared with it
_COMPRESSED = {".gz": "gzip", ".zst": "zstd", ".br": "brotli"}
# The first bytes of files that are no text, and what they are.
_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "a ZIP archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"PAR1": "Parquet",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
}
_SEPARATOR = re.compile(r'"?sep=(.)"?', re.IGNORECASE)


@dataclass(frozen=True)
class CsvFile:
    """What a CSV file says of itself.

    Attributes:
        path: the file.
        delimiter: the character between fields.
        header: names of the columns, in order.
        above: number of lines above the header: ``sep=;``, blank lines, comments.
        encoding: its encoding, as Python names it.
    """

    path: Path
    delimiter: str
    header: tuple[str, ...]
    above: int
    encoding: str


def open_csv(path: Path) -> CsvFile:
    """Read a CSV file's header.

    Raises:
        SourceError: the file is not what its name says, is not text, or its first line is no header.
    """
    encoding, text = _head(path)
    lines = list(io.StringIO(text, newline=""))
    above, delimiter = 0, ""
    separator = _SEPARATOR.fullmatch(lines[0].rstrip("\r\n")) if lines else None
    if separator:
        above, delimiter = 1, separator[1]
    while above < len(lines) and _is_above(lines, above):
        above += 1
    if above == len(lines):
        raise SourceError(f"{path} has no header: the first line must name the columns")
    below = "".join(lines[above:])
    delimiter = delimiter or max(_DELIMITERS, key=lambda mark: len(_records(path, below, mark, 1)[0]))
    header = tuple(name.strip() for name in _records(path, below, delimiter, 1)[0])
    _check_header(path, below, header, delimiter, above)
    return CsvFile(path, delimiter, header, above, encoding)


def readable(file: CsvFile, copy: Path) -> Path:
    """Return a plain UTF-8 file with one kind of line end: the file itself, or a copy of it at ``copy``.

    Raises:
        SourceError: the compressed data break off or fail their checksum, or the text cannot be decoded.
    """
    if compression(file.path) is None and file.encoding == "utf-8" and _one_line_end(file.path):
        return file.path
    decoder = codecs.getincrementaldecoder(file.encoding)() if file.encoding != "utf-8" else None
    held = b""  # a carriage return at the end of a piece: its line feed may come with the next one
    with copy.open("wb") as target:
        for piece in chunks(file.path):
            data = held + (_decode(file, decoder, piece, last=False) if decoder else piece)
            held = b"\r" if data.endswith(b"\r") else b""
            target.write(_line_feeds(data.removesuffix(b"\r") if held else data))
        rest = held + (_decode(file, decoder, b"", last=True) if decoder else b"")
        target.write(_line_feeds(rest))
    return copy


def compression(path: Path) -> str | None:
    """Return how a file is compressed, by its name."""
    return _COMPRESSED.get(path.suffix.lower())


def chunks(path: Path) -> Iterator[bytes]:
    """Yield a file's bytes, decompressed; compressed data are checked to their end.

    Raises:
        SourceError: the data break off, are damaged, or are not compressed as the name says.
    """
    kind = compression(path)
    try:
        with _opened(path, kind) as stream:
            while piece := stream.read(_CHUNK):
                yield piece
    except EOFError as error:
        raise SourceError(_breaks_off(path, kind)) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise SourceError(_damaged(path, kind)) from error
    except OSError as error:
        if kind is None or error.errno is not None:
            raise SourceError(f"{path} cannot be read: {error.strerror or 'input error'}") from error
        if "Truncated" in str(error):
            raise SourceError(_breaks_off(path, kind)) from error
        raise SourceError(_damaged(path, kind)) from error


def check_magic(path: Path, expected: str | None) -> None:
    """Refuse a file whose first bytes belong to another format than its name.

    Args:
        path: the file.
        expected: what the name says: ``Parquet``, ``gzip``, ``zstd``, or None for plain text.

    Raises:
        SourceError: the message says what the file is.
    """
    try:
        with path.open("rb") as file:
            first = file.read(8)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    if not first:
        raise SourceError(f"{path} is empty (0 bytes)")
    found = next((what for magic, what in _MAGIC.items() if first.startswith(magic)), None)
    if found == expected:
        return
    if found is None:
        raise SourceError(
            f"{path} is not readable as {expected}, though its name says so: copy it anew, or mend its name"
        )
    if found in _COMPRESSED.values():
        ending = next(ending for ending, kind in _COMPRESSED.items() if kind == found)
        raise SourceError(f"{path} is compressed with {found}: let its name end in {ending}")
    named = "a CSV file" if expected is None else expected
    raise SourceError(f"{path} is {found}, not {named}: export it as CSV or Parquet, or mend its name")


def _breaks_off(path: Path, kind: str | None) -> str:
    return f"{path} is incomplete: its {kind} data break off before their end. Copy or download it anew"


def _damaged(path: Path, kind: str | None) -> str:
    return f"{path} is damaged: its {kind} checksum or coding is wrong. Copy or download it anew"


def _opened(path: Path, kind: str | None) -> Any:
    if kind == "gzip":
        return gzip.open(path, "rb")
    return pa.input_stream(str(path), compression=kind)


def _head(path: Path) -> tuple[str, str]:
    """Return a file's encoding, and the beginning of its text."""
    check_magic(path, compression(path))
    raw = b""
    for piece in chunks(path):
        raw += piece
        if len(raw) >= _HEAD:
            break
    if raw.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        encoding = "utf-32"
    elif raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    else:
        encoding = "utf-8"
    decoder = codecs.getincrementaldecoder("utf-8-sig" if encoding == "utf-8" else encoding)()
    try:
        text = decoder.decode(raw)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise SourceError(f"{path} is not UTF-8 text in line {line}: {_CONVERT}") from error
    if text[:_SOME].count("\0") * 10 > len(text[:_SOME]):
        raise SourceError(
            f"{path} is not UTF-8 text: zero bytes as in UTF-16 without a mark; convert it, for example with "
            "iconv -f UTF-16LE -t UTF-8"
        )
    return encoding, text


_CONVERT = "convert it, for example with iconv -f WINDOWS-1252 -t UTF-8"


def _is_above(lines: list[str], index: int) -> bool:
    """Return whether a line is blank or a comment; ``#uid,ts`` before a row of two fields is a header."""
    line = lines[index].strip()
    if not line.startswith("#"):
        return not line
    following = lines[index + 1].strip() if index + 1 < len(lines) else ""
    if not following or following.startswith("#") or not line[1:2].strip():
        return True
    return not any(0 < line.count(mark) == following.count(mark) for mark in _DELIMITERS)


def _records(path: Path, text: str, delimiter: str, most: int) -> list[list[str]]:
    csv.field_size_limit(_LONGEST_FIELD)  # of the process: Python's default is 128 KiB
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    records: list[list[str]] = []
    try:
        for row in rows:
            if row:
                records.append(row)
            if len(records) == most:
                break
    except csv.Error as error:
        raise SourceError(f"{path} cannot be read as CSV near line {rows.line_num}") from error
    return records


def _check_header(path: Path, text: str, header: tuple[str, ...], delimiter: str, above: int) -> None:
    """Refuse a first line that is no header: nearly all lines below it have another number of fields."""
    marks = [delimiter] if len(header) > 1 else _DELIMITERS
    for mark in marks:
        # The last record may be cut off by the end of the head.
        rows = _records(path, text, mark, _SAMPLE)[1:]
        sizes = Counter(len(row) - (len(row) > 1 and not row[-1].strip()) for row in rows)
        full = Counter(len(row) for row in rows)
        size, count = sizes.most_common(1)[0] if sizes else (0, 0)
        fits = max(full[len(header)], sizes[len(header)])
        if count >= 2 and count * 3 >= len(rows) * 2 and size > 1 and fits * 3 <= len(rows):
            names = "1 field" if len(header) == 1 else f"{len(header)} fields"
            raise SourceError(
                f"line {above + 1} of {path} does not name the columns: it has {names}, and the lines below "
                f"it have {size}. Remove the lines above the header, or complete the header"
            )


def _one_line_end(path: Path) -> bool:
    """Return whether all of a plain file's lines end in LF, or all in CRLF."""
    returns = pairs = feeds = 0
    held = b""
    for piece in chunks(path):
        data = held + piece
        held = b"\r" if data.endswith(b"\r") else b""
        data = data.removesuffix(b"\r") if held else data
        feeds += data.count(b"\n")
        if b"\r" in data:
            returns += data.count(b"\r")
            pairs += data.count(b"\r\n")
        if returns and not returns == pairs == feeds:
            return False
    return not held


def _line_feeds(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data


def _decode(file: CsvFile, decoder: codecs.IncrementalDecoder, piece: bytes, *, last: bool) -> bytes:
    try:
        return decoder.decode(piece, last).encode()
    except UnicodeError as error:
        raise SourceError(
            f"{file.path} is incomplete or damaged: its {file.encoding.upper()} text cannot be decoded. "
            "Copy it anew"
        ) from error
