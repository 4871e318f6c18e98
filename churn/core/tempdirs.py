"""Temporary folders of this machine for what may name people: none outlives its process for long.

Each is a folder ``churn-scratch-*`` where the system has its temporary files (TMPDIR), and its process holds
a lock on it. The system frees the lock when the process dies, however it dies: what can be locked was left by
a kill, and goes when the next one is made, a run begins or users are erased.
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
    """Yield a new, empty folder that nobody else may read, and remove it at the block's end.

    Raises:
        RunError: it cannot be made.
    """
    remove_stale()
    folder, lock = _make()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # what is left of it is swept
        os.close(lock)


def _make() -> tuple[Path, int]:
    """Make a folder and lock it: anew if somebody has swept it before it was locked."""
    while True:
        try:
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        except OSError as error:
            raise RunError(
                f"no temporary folder can be made ({error}): free some space, or set TMPDIR to a folder that "
                "can be written to"
            ) from error
        with suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY)
            with suppress(OSError):  # a disk without locks: nobody can take it, and nobody sweeps
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
            continue  # it has just ended, or is somebody else's
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            continue  # it is used, or cannot be told from one that is
        try:
            shutil.rmtree(folder)
            logger.info("removed %s, which a process that was killed had left", folder)
        except FileNotFoundError:
            pass  # somebody else was quicker
        except OSError as error:
            failures.append(
                f"{folder}, left by a process that was killed, cannot be removed "
                f"({error.strerror or error}): remove it by hand"
            )
        finally:
            os.close(lock)
    return failures
