"""Temporary folders for files that may name users; none is left behind for long.

Each is a folder ``churn-scratch-*`` in TMPDIR on which its process holds a lock. The system frees the lock
when the process dies. So a folder that can be locked was left by a killed process; it is removed when the
next folder is made, a run starts or users are erased.
"""

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from churn.core.errors import RunError

_PREFIX = "churn-scratch-"

logger = logging.getLogger(__name__)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a new, empty folder that only this user can read; remove it at the end of the block.

    Raises:
        RunError: the folder cannot be made.
    """
    remove_stale()
    folder, lock = _make()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # remove_stale() removes the rest
        os.close(lock)


def _make() -> tuple[Path, int]:
    """Make a folder and lock it; start again if another process removes it before it is locked."""
    while True:
        try:
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        except OSError as error:
            raise RunError(
                f"no temporary folder can be made ({error}): free some space, or set TMPDIR to a writable "
                "folder"
            ) from error
        with suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY)
            with suppress(OSError):  # a disk without locks: remove_stale() cannot lock either, and skips it
                fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.exists():
                return folder, lock
            os.close(lock)


def remove_stale() -> list[str]:
    """Remove the folders of dead processes; return a message for each that cannot be removed."""
    failures = []
    for folder in sorted(Path(tempfile.gettempdir()).glob(f"{_PREFIX}*")):
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue  # it was just removed, or belongs to another user
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            continue  # it is in use, or the disk has no locks
        try:
            shutil.rmtree(folder)
            logger.info("removed %s, left by a killed process", folder)
        except FileNotFoundError:
            pass  # another process removed it
        except OSError as error:
            failures.append(
                f"{folder}, left by a killed process, cannot be removed "
                f"({error.strerror or error}): remove it by hand"
            )
        finally:
            os.close(lock)
    return failures
