"""Parquet files of a warehouse: written by this process, or checked after Redshift wrote them."""

import json
import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import fsspec.core
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.spec import AbstractBufferedFile

from churn.core.errors import RunError

logger = logging.getLogger(__name__)

_READERS = 8


@dataclass(frozen=True)
class FileFacts:
    """Size, rows and schema of one Parquet file."""

    url: str
    bytes: int
    rows: int
    schema: pa.Schema


class Writer:
    """Spreads rows over files of one size, ``part-00000.parquet`` and so on, in a folder or under a URL."""

    def __init__(self, folder: str, schema: pa.Schema, rows_per_file: int) -> None:
        """Open no file yet; the folder must exist."""
        self.files: list[tuple[str, int]] = []
        self._folder = folder.rstrip("/")
        self._fs, self._root = fsspec.core.url_to_fs(self._folder)
        self._schema = schema
        self._rows_per_file = rows_per_file
        self._current: tuple[pq.ParquetWriter, AbstractBufferedFile | None] | None = None

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        while table.num_rows:
            writer, _ = self._current or self._open()
            path, written = self.files[-1]
            piece = table.slice(0, self._rows_per_file - written)
            writer.write_table(piece)
            self.files[-1] = (path, written + piece.num_rows)
            table = table.slice(piece.num_rows)
            if self.files[-1][1] == self._rows_per_file:
                self.close()

    def _open(self) -> tuple[pq.ParquetWriter, AbstractBufferedFile | None]:
        name = f"part-{len(self.files):05d}.parquet"
        path = f"{self._root}/{name}"
        # Arrow writes local files itself; an upload is opened here, so that a failed one can be discarded.
        upload = None if self._fs.protocol[0] in ("file", "local") else self._fs.open(path, "wb")
        texts = [f.name for f in self._schema if pa.types.is_string(f.type) and f.name != "user_id"]
        target = path if upload is None else upload
        # Snappy as UNLOAD does.
        writer = pq.ParquetWriter(target, self._schema, compression="snappy", use_dictionary=texts)
        self._current = (writer, upload)
        self.files.append((f"{self._folder}/{name}", 0))
        return self._current

    def close(self) -> None:
        """Finish the open file, if there is one; a failure is not retried."""
        if self._current is None:
            return
        (writer, upload), self._current = self._current, None
        with ExitStack() as failing:
            failing.callback(_discard, upload)
            writer.close()
            failing.pop_all()
        if upload is not None:
            upload.close()

    def abandon(self) -> None:
        """Discard the open file; an upload leaves nothing."""
        if self._current is None:
            return
        (writer, upload), self._current = self._current, None
        try:
            writer.close()  # or it would write to the upload when it is collected
        except (OSError, pa.ArrowException) as error:
            logger.debug("discarding an unfinished file: %s", error)
        finally:
            _discard(upload)


def _discard(upload: AbstractBufferedFile | None) -> None:
    if upload is not None:
        upload.discard()
        upload.closed = True  # or it would be uploaded when it is collected


def inspect_file(urls: Iterable[str]) -> list[FileFacts]:
    """Read size, rows and schema from the footers of Parquet files.

    Raises:
        RunError: names a file that is missing or damaged.
    """
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(_inspect, urls))


def _inspect(url: str) -> FileFacts:
    fs, path = fsspec.core.url_to_fs(url)
    try:
        size = int(fs.size(path))
        with fs.open(path, "rb") as file:
            parquet = pq.ParquetFile(file)
            return FileFacts(url, size, parquet.metadata.num_rows, parquet.schema_arrow)
    except (OSError, pa.ArrowException) as error:
        raise RunError(f"{url} cannot be read as Parquet ({str(error).splitlines()[0]})") from error


def read_manifest(url: str) -> dict[str, Any] | None:
    """Return an UNLOAD's manifest; None if it does not exist yet.

    Raises:
        RunError: it is damaged.
    """
    fs, path = fsspec.core.url_to_fs(url)
    fs.invalidate_cache()
    try:
        text = fs.cat_file(path)
    except FileNotFoundError:
        return None
    try:
        manifest = json.loads(text)
        entries = [(str(e["url"]), int(e["meta"]["record_count"])) for e in manifest["entries"]]
        names = [str(element["name"]) for element in manifest["schema"]["elements"]]
        return {"entries": entries, "names": names, "rows": int(manifest["meta"]["record_count"])}
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{url} is no verbose manifest of an UNLOAD ({error!r})") from error


def checked_files(manifest: dict[str, Any], prefix: str, schema: pa.Schema) -> list[tuple[str, int]]:
    """Return the files of a manifest with their rows; check that they begin with a prefix and fit a schema.

    Raises:
        RunError: a file is missing, foreign, or has other rows or columns; all faults are listed.
    """
    entries: list[tuple[str, int]] = sorted(manifest["entries"])
    faults = [f"{url} is not of this UNLOAD" for url, _ in entries if not url.startswith(prefix)]
    if len({url for url, _ in entries}) < len(entries):
        faults.append("a file is listed twice")
    if sum(rows for _, rows in entries) != manifest["rows"]:
        faults.append(f"its files have {sum(rows for _, rows in entries):,} rows, not {manifest['rows']:,}")
    if manifest["names"] != schema.names:
        faults.append(f"its columns are {', '.join(manifest['names'])}, not {', '.join(schema.names)}")
    if not faults:
        for facts, (_, rows) in zip(inspect_file(url for url, _ in entries), entries, strict=True):
            if facts.rows != rows:
                faults.append(f"{facts.url} has {facts.rows:,} rows, not {rows:,}")
            faults += [f"{facts.url}: {fault}" for fault in differences(facts.schema, schema)]
    if faults:
        listed = "\n".join(f"  - {fault}" for fault in faults)
        raise RunError(f"what the warehouse unloaded to {prefix} is not what it says:\n{listed}")
    return [(url, rows) for url, rows in entries if rows]


def differences(actual: pa.Schema, expected: pa.Schema) -> list[str]:
    """Return how a file's columns differ from those expected; int16 passes for int8."""
    if actual.names != expected.names:
        return [f"its columns are {', '.join(actual.names)}, not {', '.join(expected.names)}"]
    return [
        f"{theirs.name} is {theirs.type}, not {ours.type}"
        for theirs, ours in zip(actual, expected, strict=True)
        if not _fits(theirs.type, ours.type)
    ]


def _fits(actual: pa.DataType, expected: pa.DataType) -> bool:
    if pa.types.is_dictionary(actual):
        actual = actual.value_type
    # Redshift has no type narrower than int16.
    wider = {pa.string(): pa.large_string(), pa.int8(): pa.int16()}.get(expected, expected)
    return bool(actual in (expected, wider))


def copy_manifest(files: Sequence[FileFacts]) -> bytes:
    """Return the manifest that tells COPY which files to load, all of them or none."""
    entries = [
        {"url": facts.url, "mandatory": True, "meta": {"content_length": facts.bytes}} for facts in files
    ]
    return json.dumps({"entries": entries}, indent=1).encode()
