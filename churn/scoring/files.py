"""Write a partition's Parquet files: hash them while writing, then put them in place together.

On a local disk a file is written under a scratch name and renamed. On S3 it is written at its final path and
becomes visible when its upload completes; a late worker is refused once the run's manifest.json exists.
"""

import hashlib
import uuid
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem
from fsspec.spec import AbstractBufferedFile

from churn.core.datasets import RunDataset
from churn.core.errors import RunError
from churn.lake.filesystem import is_local
from churn.lake.manifest import FileStamp
from churn.lake.paths import MANIFEST

SCRATCH = ".tmp"  # readers and the lake's commit pass over names that begin with a dot
# The writer passes on one page of one column at a time: they are collected, then hashed and written.
_WRITE_BYTES = 1 << 18
_ZSTD: dict[str, Any] = {"compression": "zstd", "compression_level": 1}
_SNAPPY: dict[str, Any] = {"compression": "snappy"}


class PartitionFiles:
    """Writes one Parquet file into each of several folders of a run, all under the partition's name.

    Use it as a context manager: without ``close`` no file is left behind.
    """

    def __init__(
        self, fs: AbstractFileSystem, folder: str, name: str, schemas: Mapping[RunDataset, pa.Schema]
    ) -> None:
        """Open a file per dataset in a run's folder; on a disk, under scratch names of this attempt."""
        self._fs = fs
        self._renames = is_local(fs)
        self._folder = folder
        self._name = name
        self._scratch = f"{folder}/{SCRATCH}"
        self._attempt = f"{self._scratch}/{name}-{uuid.uuid4().hex}"
        self._sinks: dict[str, _StampedFile] = {}
        self._buffers: dict[str, pa.BufferedOutputStream] = {}
        self._writers: dict[str, pq.ParquetWriter] = {}
        if self._renames:
            fs.makedirs(self._scratch, exist_ok=True)
        try:
            for run_dataset, schema in schemas.items():
                dataset = run_dataset.name
                sink = self._sinks[dataset] = _StampedFile(fs.open(self._write_path(dataset), "wb"))
                buffer = pa.BufferedOutputStream(pa.PythonFile(sink, "w"), _WRITE_BYTES)
                self._buffers[dataset] = buffer
                self._writers[dataset] = pq.ParquetWriter(
                    buffer,
                    schema,
                    **(_ZSTD if run_dataset.compressible else _SNAPPY),
                    use_dictionary=run_dataset.dictionary_columns or False,
                    # Readers prune row groups by user only.
                    write_statistics=["user_id"],
                )
        except BaseException:
            self._discard()
            raise

    def write(self, dataset: RunDataset, table: pa.Table) -> None:
        """Append a table as one row group."""
        self._writers[dataset.name].write_table(table, row_group_size=max(1, table.num_rows))

    def close(self) -> dict[str, FileStamp]:
        """Close the files, put each in its place in one step, and return their stamps.

        Raises:
            RunError: the run has been committed.
        """
        for dataset, writer in self._writers.items():
            writer.close()
            self._buffers[dataset].flush()
        if not self._renames:
            _refuse_committed(self._fs, self._folder)
        for dataset in self._sinks:
            self._close(dataset)
        if self._renames:
            for dataset in self._writers:
                self._fs.makedirs(f"{self._folder}/{dataset}", exist_ok=True)
                self._fs.mv(self._write_path(dataset), path_of(self._folder, dataset, self._name))
        return {dataset: sink.stamp() for dataset, sink in self._sinks.items()}

    def _close(self, dataset: str) -> None:
        sink = self._sinks[dataset]
        try:
            sink.close()
        except FileNotFoundError:
            # S3 completed the upload, its answer was lost, and the retry found no upload.
            if self._renames or self._fs.size(self._write_path(dataset)) != sink.stamp().size:
                raise

    def _write_path(self, dataset: str) -> str:
        if self._renames:
            return f"{self._attempt}-{dataset}.parquet"
        return path_of(self._folder, dataset, self._name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._discard()

    def _discard(self) -> None:
        # Report the first error: a full disk makes each of these fail again.
        for sink in self._sinks.values():
            with suppress(OSError):
                sink.discard()
        for writer in self._writers.values():
            with suppress(OSError):
                writer.close()
        if self._renames:
            for dataset in self._sinks:
                with suppress(OSError):  # it was renamed
                    self._fs.rm_file(self._write_path(dataset))


class _StampedFile:
    """A binary file for writing that counts and hashes what passes through it."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._size = 0
        self._discarded = False

    def write(self, data: Any) -> int:
        if not self._discarded:
            self._hash.update(data)
            self._size += len(data)
            self._file.write(data)
        return len(data)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        self._file.flush()

    @property
    def closed(self) -> bool:
        return bool(self._file.closed)

    def close(self) -> None:
        if not self._file.closed:
            self._file.close()

    def discard(self) -> None:
        """Close the file; on S3, where closing would complete the upload, abort it."""
        if self._discarded or self._file.closed:
            return
        self._discarded = True
        if isinstance(self._file, AbstractBufferedFile):
            self._file.closed = True
            self._file.discard()
        else:
            self._file.close()

    def stamp(self) -> FileStamp:
        return FileStamp(size=self._size, sha256=self._hash.hexdigest())


def path_of(folder: str, dataset: str, name: str) -> str:
    """Return the path of a partition's Parquet file in a run's folder."""
    return f"{folder}/{dataset}/{name}.parquet"


def write_small(fs: AbstractFileSystem, folder: str, path: str, content: bytes) -> None:
    """Write a small file below a run's folder in one atomic step.

    Raises:
        RunError: the run has been committed.
    """
    if not is_local(fs):
        _refuse_committed(fs, folder)
        fs.pipe_file(path, content)
        return
    scratch = f"{folder}/{SCRATCH}/{uuid.uuid4().hex}"
    for needed in (f"{folder}/{SCRATCH}", path.rsplit("/", 1)[0]):
        fs.makedirs(needed, exist_ok=True)
    fs.pipe_file(scratch, content)
    fs.mv(scratch, path)


def _refuse_committed(fs: AbstractFileSystem, folder: str) -> None:
    if fs.exists(f"{folder}/{MANIFEST}"):
        raise RunError(f"{folder} is committed and cannot be changed: start a new run")


def is_intact(fs: AbstractFileSystem, path: str, stamp: FileStamp) -> bool:
    """Return whether a file has the stamped size and SHA-256."""
    if not fs.exists(path) or fs.size(path) != stamp.size:
        return False
    with fs.open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == stamp.sha256
