"""Files on a local disk: atomic renames, locks, flushing, checksums.

Locks are ``flock`` locks. The system frees them when their process dies, so a lock that can be taken proves
that its owner is dead. Process ids prove nothing: they are reused, and differ between containers.
"""

import fcntl
import hashlib
import logging
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

_logger = logging.getLogger(__name__)


@contextmanager
def file_lock(path: str) -> Iterator[None]:
    """Hold an exclusive lock on a file, which is created if missing; wait until it is free."""
    with open(path, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            # Closing the file is not enough: a forked child has a copy of it, and would keep the lock.
            fcntl.flock(file, fcntl.LOCK_UN)


def remove_folder(folder: str) -> bool:
    """Remove a folder and its contents; return whether it is gone, and log why not."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return not os.path.exists(folder)
    except OSError as error:
        _logger.warning(
            "could not remove %s (%s); the next run of this product tries again", folder, error.strerror
        )
        return False
    return True


def replace_file(path: str, content: bytes) -> None:
    """Write a file atomically: under a temporary name, flushed, then renamed."""
    folder, name = os.path.split(path)
    scratch = os.path.join(folder, f".{name}.{secrets.token_hex(4)}")
    try:
        with open(scratch, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise
    flush(folder or ".")


def place_folder(staging: str, target: str) -> None:
    """Move a folder atomically; the target must not exist, its parents are created."""
    parent = os.path.dirname(target)
    os.makedirs(parent, exist_ok=True)
    os.rename(staging, target)
    for folder in (parent, os.path.dirname(parent)):
        flush(folder)


def flush(path: str) -> None:
    """Flush a file or folder to the disk, so that a power cut cannot lose it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def stamp(base: str, names: Iterable[str], *, durably: bool = False) -> dict[str, tuple[int, str]]:
    """Return size in bytes and SHA-256 (hexadecimal) of files, by their sorted paths below ``base``.

    Args:
        base: the folder.
        names: paths of the files below it.
        durably: whether to flush each file to the disk too.
    """
    ordered = sorted(names)

    def one(name: str) -> tuple[int, str]:
        with open(f"{base}/{name}", "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if durably:
                os.fsync(file.fileno())
            return file.tell(), digest

    # Hashing releases the interpreter's lock and flushing waits for the disk: threads run both in parallel.
    with ThreadPoolExecutor(max_workers=4) as pool:
        return dict(zip(ordered, pool.map(one, ordered), strict=True))
