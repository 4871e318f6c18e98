"""The record of where a data folder comes from: ``ingested.json`` in it.

It holds no ids: the log's name and files with their sizes and times, how the log was read, and a checksum of
the ``churn.toml`` that was written. So a log that has not changed is not read again, and a ``churn.toml``
that a person has edited is known.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from churn.config.settings import CONFIG_FILE

RECORD_FILE = "ingested.json"
_VERSION = 1  # raise it when ingest reads a log differently, so that logs are read again


@dataclass(frozen=True)
class Record:
    """Where a data folder comes from.

    Attributes:
        source: the log: its absolute path, or the name of a log from a package.
        files: path, bytes, and nanoseconds of the last change of content and of the file, of each file.
        columns: contract column to the log's column, as given.
        reading: how the log was read.
        settings: SHA-256 of the ``churn.toml`` that was written.
        version: of the way in which logs are read.
    """

    source: str
    files: tuple[tuple[str, int, int, int], ...]
    columns: Mapping[str, str]
    reading: Mapping[str, Any]
    settings: str = ""
    version: int = _VERSION

    def same_log(self, other: "Record") -> bool:
        """Return whether another record is of the same files in the same state, read in the same way."""
        return self._text(without="settings") == other._text(without="settings")

    def _text(self, without: str = "") -> str:
        return json.dumps(
            {name: value for name, value in asdict(self).items() if name != without}, indent=2, sort_keys=True
        )

    def write(self, folder: Path) -> None:
        """Write the record into a data folder."""
        (folder / RECORD_FILE).write_text(self._text() + "\n", "utf-8")


def read_record(folder: Path) -> Record | None:
    """Return the record of a data folder; None if it has none, or none that can be read."""
    try:
        fields = json.loads((folder / RECORD_FILE).read_text("utf-8"))
        files = tuple(tuple(file) for file in fields.pop("files"))
        return Record(files=files, **fields)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def record_of(
    source: str, files: Iterable[Path], columns: Mapping[str, str], reading: Mapping[str, Any]
) -> Record:
    """Return the record of a log as it is now; without files, its name is not taken for a path."""
    states = [(path.absolute(), path.stat()) for path in files]
    seen = tuple((str(path), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for path, stat in states)
    where = str(Path(source).expanduser().absolute()) if seen else source
    return Record(where, seen, dict(columns), json.loads(json.dumps(reading)))


def edited_settings(folder: Path) -> str | None:
    """Return the text of a ``churn.toml`` that a person has edited since it was written; None otherwise."""
    record = read_record(folder)
    try:
        text = (folder / CONFIG_FILE).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    return text if record and record.settings != digest(text) else None


def digest(text: str) -> str:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()
