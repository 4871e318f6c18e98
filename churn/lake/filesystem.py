"""Local folders and S3 behind one way of naming files: a path, or an address such as ``s3://bucket/key``.

Everything in the house opens such a name with ``fsspec.core.url_to_fs(name)``. How S3 is spoken to (endpoint,
encryption, retries, sizes) is kept as fsspec's defaults of the process, so that whoever opens an address
speaks to it in the same way. Keys are not part of it: they come from AWS' own chain (role, profile,
environment).

There are two layers of retries: botocore repeats a request that was throttled, answered by a 5xx or cut off,
with growing, jittered pauses; s3fs repeats five times what failed while a body was read.
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
    """Make this process speak to S3 as the settings say, wherever an address is opened from now on."""
    fsspec.config.conf[S3] = s3_options(settings)


def s3_options(settings: StoreSettings) -> dict[str, Any]:
    """Return the arguments of ``s3fs.S3FileSystem`` that the settings stand for."""
    written: dict[str, str] = {}
    if settings.encryption != "none":
        written["ServerSideEncryption"] = settings.encryption
    if settings.kms_key is not None:
        written["SSEKMSKeyId"] = settings.kms_key
    if settings.bucket_owner_full_control:
        written["ACL"] = "bucket-owner-full-control"
    options: dict[str, Any] = {
        # Others write to the bucket at the same time: what was listed before is not what is there.
        "use_listings_cache": False,
        # Columns are read side by side: s3fs' own cache would fetch each block once for every column.
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
        settings: how S3 is spoken to; none = as this process does already.

    Raises:
        UsageError: the root is empty, or on something else.
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
    """Tell whether a file system is the local disk, which has renames and locks."""
    return isinstance(fs, LocalFileSystem)


def address(fs: AbstractFileSystem, path: str) -> str:
    """Return the name by which ``url_to_fs`` finds a path again: itself on a local disk, else an address."""
    return path if is_local(fs) else str(fs.unstrip_protocol(path))


@contextmanager
def local_copy(folder: str) -> Iterator[Path]:
    """Yield a folder as a local one: itself, or a temporary copy of the same name."""
    fs, path = url_to_fs(folder)
    if is_local(fs):
        yield Path(path)
        return
    with temporary_folder() as scratch:
        copy = scratch / path.rsplit("/", 1)[-1]
        copy.mkdir()
        for found in fs.find(path):
            target = copy / found[len(path) + 1 :]
            target.parent.mkdir(parents=True, exist_ok=True)
            fs.get_file(found, str(target))
        yield copy


@contextmanager
def staged_folder(folder: str) -> Iterator[Path]:
    """Yield a local folder to write to: the folder itself, or one that is put there at the block's end."""
    fs, path = url_to_fs(folder)
    if is_local(fs):
        yield Path(path)
        return
    with temporary_folder() as scratch:
        yield scratch
        for file in sorted(found for found in scratch.rglob("*") if found.is_file()):
            fs.put_file(str(file), f"{path}/{file.relative_to(scratch).as_posix()}")


@dataclass(frozen=True)
class ConfiguredTask(Generic[TaskT, RowT]):
    """A function that speaks to S3 as the settings say, in whichever process it is called.

    Attributes:
        settings: how S3 is spoken to.
        function: a function of one argument that can be imported.
    """

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
