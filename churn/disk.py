"""What a local disk gives that an object store does not: atomic renames, locks, flushing.

Locks are ``flock`` locks: the system frees them when their process dies, however it dies, so that a lock that
can be taken proves its owner dead. No process id is trusted (ids are reused, and differ between containers).
"""

import errno
import fcntl
import hashlib
import logging
import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from churn.desk import STALE_SECONDS
from churn.errors import RunError

OWNER_SUFFIX = ".owner"

_DISK_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space or choose another folder, and run again",
    errno.EDQUOT: "the disk quota is used up: free some space or choose another folder, and run again",
    errno.EFBIG: "a file grew past the allowed size: raise the limit (ulimit -f), and run again",
    errno.EROFS: "the disk is read-only: choose another folder",
}
_ADVICE = _DISK_ADVICE | {
    errno.EACCES: "permission denied: check the folder's owner and mode, or choose another folder",
    errno.EPERM: "not permitted: check the folder's owner and mode, or choose another folder",
    errno.ENOTDIR: "a file stands where a folder should be: remove it, or choose another folder",
}

_logger = logging.getLogger(__name__)


@contextmanager
def storage_errors(doing: str, where: str) -> Iterator[None]:
    """Turn an error of the operating system or the store into a RunError that says what to do about it."""
    try:
        yield
    except OSError as error:
        raise as_run_error(error, doing, where) from error
    except Exception as error:
        # botocore's are no OSErrors (no credentials, no connection), and the domain does not import it.
        if type(error).__module__.partition(".")[0] not in ("botocore", "aiobotocore"):
            raise
        raise RunError(
            f"{doing} at {where} failed: {error}: {_store_advice(error)}, and run again"
        ) from error


def _store_advice(error: Exception) -> str:
    """Return what to do about an error of AWS' library, by the name of its type."""
    kind = type(error).__name__
    if "Credential" in kind or "Profile" in kind or "Token" in kind:
        return "give this process a role, a profile (AWS_PROFILE) or the block prefect.aws_credentials"
    if "Region" in kind:
        return "set store.region, AWS_REGION or AWS_DEFAULT_REGION"
    if "Connect" in kind or "Timeout" in kind or "HTTP" in kind:
        return "check the network (route, proxy or VPC endpoint), store.endpoint_url and the region"
    return "check the bucket, the rights of this process's role on it, and the settings under store"


def as_run_error(error: OSError, doing: str, where: str) -> RunError:
    """Return the RunError that explains ``error``, which happened while ``doing`` something at ``where``."""
    reason = error.strerror or str(error)
    advice = _ADVICE.get(
        error.errno or 0, f"{reason}: look whether what it names is there, healthy and reached, and run again"
    )
    if isinstance(error, FileNotFoundError):
        advice = (
            f"{reason}: check that the folder or bucket is there and spelled as in store.lake, and run again"
        )
    if isinstance(error, PermissionError) and error.errno is None:  # a store's
        advice = f"{reason}: check what the role may do with the bucket and its key, and run again"
    return RunError(f"{doing} at {where} failed: {advice}")


def disk_advice(error: BaseException | None) -> str | None:
    """Return what to do where a disk takes no more (full, quota, size limit, read-only); None: it does."""
    return _DISK_ADVICE.get(error.errno or 0) if isinstance(error, OSError) else None


@contextmanager
def file_lock(path: str) -> Iterator[None]:
    """Hold an exclusive lock on a file, which is made if missing; wait for whoever holds it."""
    with open(path, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            # Not left to closing: a child forked meanwhile has a copy of the file, and would keep the lock.
            fcntl.flock(file, fcntl.LOCK_UN)


def claim(staging: str) -> FileIO:
    """Make and lock the file that says that this process owns a staging folder.

    Call it under the lock that ``sweep`` is called under.

    Returns:
        The open file; the claim lasts until ``release`` or the end of the process.

    Raises:
        FileExistsError: the folder is claimed.
    """
    owner = FileIO(staging + OWNER_SUFFIX, "x")
    try:
        fcntl.flock(owner, fcntl.LOCK_EX)
        _sign(owner)
    except OSError:
        release(owner)
        raise
    return owner


def take_over(staging: str) -> FileIO | None:
    """Take the claim of a process of this host that is dead; None: it lives, or ran elsewhere.

    Call it under the lock that ``sweep`` is called under.
    """
    owner = _claim_of_the_dead(staging + OWNER_SUFFIX)
    if owner is None:
        return None
    try:
        if _is_of_this_host(owner):
            owner.truncate(0)
            _sign(owner)
            return owner
    except OSError:
        owner.close()
        raise
    owner.close()
    return None


def _sign(owner: FileIO) -> None:
    os.pwrite(owner.fileno(), f"{socket.gethostname()}\n{os.getpid()}\n".encode(), 0)


def _claim_of_the_dead(path: str) -> FileIO | None:
    """Open and lock an owner file; None where it is locked, gone or somebody else's."""
    try:
        owner = FileIO(path, "r+")
    except FileNotFoundError:
        return None  # ended meanwhile
    except PermissionError:
        _logger.warning("%s belongs to somebody else and stays there", path)
        return None
    try:
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner.close()
        return None
    return owner


def _is_of_this_host(owner: FileIO) -> bool:
    host = os.pread(owner.fileno(), 4096, 0).decode(errors="replace").partition("\n")[0]
    return host in ("", socket.gethostname())  # a claim without a name was killed as it was made


def release(owner: FileIO) -> None:
    """End a claim; the folder must be gone by then."""
    Path(str(owner.name)).unlink(missing_ok=True)
    owner.close()


def sweep(desk: str, spare: Callable[[str], bool] = lambda staging: False) -> None:
    """Remove staging whose owner's lock is free: made on this host, or long ago on another.

    A folder that nobody has claimed is what a worker wrote that outlived its run; it goes too.

    Args:
        desk: the folder of a product's staging folders.
        spare: tells of a staging folder whether it is to stay.
    """
    for path in Path(desk).glob(f"*{OWNER_SUFFIX}"):
        staging = str(path).removesuffix(OWNER_SUFFIX)
        owner = _claim_of_the_dead(str(path))
        if owner is None:
            continue
        with owner:
            age = time.time() - os.fstat(owner.fileno()).st_mtime
            removable = _is_of_this_host(owner) or age > STALE_SECONDS
            if removable and not spare(staging) and remove_folder(staging):
                path.unlink(missing_ok=True)
                _logger.info("swept what a dead run had left in %s", staging)
    for folder in Path(desk).iterdir():
        if folder.is_dir() and not os.path.exists(f"{folder}{OWNER_SUFFIX}"):
            remove_folder(str(folder))


def remove_folder(folder: str) -> bool:
    """Remove a folder with all that is in it; tell whether it is gone, and log why it is not."""
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
    """Write a file under a scratch name, flush it, and put it in its place in one step."""
    folder, name = os.path.split(path)
    scratch = f"{folder}/.{name}.{secrets.token_hex(4)}"
    try:
        with open(scratch, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except OSError:
        Path(scratch).unlink(missing_ok=True)
        raise
    flush(folder)


def place_folder(staging: str, target: str) -> None:
    """Move a folder to its place in one step; the target must not exist, its parents may."""
    parent = os.path.dirname(target)
    os.makedirs(parent, exist_ok=True)
    os.rename(staging, target)
    for folder in (parent, os.path.dirname(parent)):
        flush(folder)


def flush(path: str) -> None:
    """Wait until a file or folder is on the disk, so that a power cut cannot lose it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def stamp(base: str, names: Iterable[str], *, durably: bool = False) -> dict[str, tuple[int, str]]:
    """Return the size in bytes and the SHA-256 (hexadecimal) of files, by their sorted paths below ``base``.

    Args:
        durably: whether to flush each of them to the disk too.
    """
    ordered = sorted(names)

    def one(name: str) -> tuple[int, str]:
        with open(f"{base}/{name}", "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if durably:
                os.fsync(file.fileno())
            return file.tell(), digest

    # Hashing frees the interpreter and flushing waits for the disk: threads overlap both.
    with ThreadPoolExecutor(max_workers=4) as pool:
        return dict(zip(ordered, pool.map(one, ordered), strict=True))
