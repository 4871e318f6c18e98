"""Claims on staging folders: flock locks that prove a dead process dead."""

import fcntl
import logging
import os
import socket
import time
from collections.abc import Callable
from io import FileIO
from pathlib import Path

from churn.core.files import remove_folder
from churn.lake.staging import STALE_SECONDS

_logger = logging.getLogger(__name__)

OWNER_SUFFIX = ".owner"


def claim(staging: str) -> FileIO:
    """Create and lock the file that makes this process the owner of a staging folder.

    Hold the product's lock, as for ``sweep``.

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
    """Take over the claim of a dead process of this host; None if it lives or ran elsewhere.

    Hold the product's lock, as for ``sweep``.
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
    """Open and lock an owner file; None if it is locked, gone or another user's."""
    try:
        owner = FileIO(path, "r+")
    except FileNotFoundError:
        return None  # its run has just ended
    except PermissionError:
        _logger.warning("%s belongs to another user and is not removed", path)
        return None
    try:
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner.close()
        return None
    return owner


def _is_of_this_host(owner: FileIO) -> bool:
    host = os.pread(owner.fileno(), 4096, 0).decode(errors="replace").partition("\n")[0]
    return host in ("", socket.gethostname())  # a process killed while claiming has written no name


def release(owner: FileIO) -> None:
    """End a claim, after its folder was removed."""
    Path(str(owner.name)).unlink(missing_ok=True)
    owner.close()


def sweep(staging_area: str, spare: Callable[[str], bool] = lambda staging: False) -> None:
    """Remove staging folders of dead processes: of this host, or of another host after 48 hours.

    A folder without an owner file comes from a worker that outlived its run; it is removed too.

    Args:
        staging_area: the folder of a product's staging folders.
        spare: returns whether to keep a staging folder.
    """
    for path in Path(staging_area).glob(f"*{OWNER_SUFFIX}"):
        staging = str(path).removesuffix(OWNER_SUFFIX)
        owner = _claim_of_the_dead(str(path))
        if owner is None:
            continue
        with owner:
            age = time.time() - os.fstat(owner.fileno()).st_mtime
            removable = _is_of_this_host(owner) or age > STALE_SECONDS
            if removable and not spare(staging) and remove_folder(staging):
                path.unlink(missing_ok=True)
                _logger.info("removed the files of a dead run in %s", staging)
    for folder in Path(staging_area).iterdir():
        if folder.is_dir() and not os.path.exists(f"{folder}{OWNER_SUFFIX}"):
            remove_folder(str(folder))
