"""Local folders and S3 behind one way of naming files: a path, or an address such as ``s3://bucket/key``.

Open such a name with ``fsspec.core.url_to_fs(name)``. The settings for S3 (endpoint, encryption, retries,
sizes) are fsspec's defaults of the process, so that every open uses them. Keys come from AWS' own chain
(role, profile, environment).

Two layers retry: botocore repeats requests that were throttled, answered by a 5xx or cut off, with growing,
jittered pauses; s3fs repeats a failed read of a body five times.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import fsspec
from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from churn.config.store import S3_ROOT, StoreSettings, fault_of_root
from churn.core.aws import region_of
from churn.core.errors import UsageError
from churn.core.tempdirs import temporary_folder

S3 = "s3"
_CONNECTIONS = 32

TaskT = TypeVar("TaskT")
RowT = TypeVar("RowT")


def configure(settings: StoreSettings) -> None:
    """Use the settings for every S3 address that this process opens from now on."""
    fsspec.config.conf[S3] = s3_options(settings)


def s3_options(settings: StoreSettings) -> dict[str, Any]:
    """Return the settings as arguments of ``s3fs.S3FileSystem``."""
    written: dict[str, str] = {}
    if settings.encryption != "none":
        written["ServerSideEncryption"] = settings.encryption
    if settings.kms_key is not None:
        written["SSEKMSKeyId"] = settings.kms_key
    if settings.bucket_owner_full_control:
        written["ACL"] = "bucket-owner-full-control"
    options: dict[str, Any] = {
        # Other processes write to the bucket, so a cached listing may be wrong.
        "use_listings_cache": False,
        # Columns are read in parallel: s3fs' default cache would fetch each block once a column.
        "default_cache_type": "blockcache",
        "default_block_size": settings.part_megabytes << 20,
        "s3_additional_kwargs": written,
        "config_kwargs": {
            "retries": {"total_max_attempts": settings.max_attempts, "mode": settings.retry_mode},
            "connect_timeout": settings.connect_timeout,
            "read_timeout": settings.read_timeout,
            "max_pool_connections": _CONNECTIONS,
        },
    }
    if settings.endpoint_url is not None:
        options["endpoint_url"] = settings.endpoint_url
    region = region_of(settings.region)
    if region is not None:
        options["client_kwargs"] = {"region_name": region}
    return options


def open_root(root: str, settings: StoreSettings | None = None) -> tuple[AbstractFileSystem, str]:
    """Return the file system of a lake's root, and the root's path in it.

    Args:
        root: a local folder (a path or a file:// address) or ``s3://bucket/prefix``.
        settings: settings for S3; None = those that this process uses already.

    Raises:
        UsageError: the root is empty, or neither local nor on S3.
    """
    fault = fault_of_root(root)
    if fault:
        raise UsageError(f"the lake's root {root!r} cannot be used: it {fault}")
    if settings is not None or (S3_ROOT.fullmatch(root) and S3 not in fsspec.config.conf):
        configure(settings or StoreSettings())
    try:
        fs, base = url_to_fs(root)
    except (ValueError, ImportError) as error:  # fsspec takes part of a path for a protocol
        raise UsageError(f"the lake's root {root!r} cannot be used: {error}") from error
    return fs, str(base).rstrip("/")


def is_local(fs: AbstractFileSystem) -> bool:
    """Return whether a file system is the local disk, which has renames and locks."""
    return isinstance(fs, LocalFileSystem)


def address(fs: AbstractFileSystem, path: str) -> str:
    """Return a name for ``url_to_fs``: the path on a local disk, else an address."""
    return path if is_local(fs) else str(fs.unstrip_protocol(path))


@contextmanager
def local_copy(folder: str) -> Iterator[Path]:
    """Yield a local folder as it is, or a temporary copy with the same name."""
    fs, path = url_to_fs(folder)
    if is_local(fs):
        yield Path(path)
        return
    with temporary_folder() as scratch:
        copy = scratch / path.rsplit("/", 1)[-1]
        copy.mkdir()
        for file in fs.find(path):
            target = copy / file[len(path) + 1 :]
            target.parent.mkdir(parents=True, exist_ok=True)
            fs.get_file(file, str(target))
        yield copy


@contextmanager
def staged_folder(folder: str) -> Iterator[Path]:
    """Yield a local folder to write to; its files are uploaded when the block ends."""
    fs, path = url_to_fs(folder)
    if is_local(fs):
        yield Path(path)
        return
    with temporary_folder() as scratch:
        yield scratch
        for file in sorted(item for item in scratch.rglob("*") if item.is_file()):
            fs.put_file(str(file), f"{path}/{file.relative_to(scratch).as_posix()}")


@dataclass(frozen=True)
class ConfiguredTask(Generic[TaskT, RowT]):
    """A function of one argument that uses the settings for S3 in any process that calls it."""

    settings: StoreSettings
    function: Callable[[TaskT], RowT]

    @property
    def __name__(self) -> str:
        """The function's name, for messages."""
        return self.function.__name__

    def __call__(self, task: TaskT) -> RowT:
        """Call the function."""
        configure(self.settings)
        return self.function(task)
