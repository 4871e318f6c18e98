"""DuckDB's temporary files: they hold user ids, and must not outlive their process.

DuckDB removes them when it is closed, but a killed process leaves them. So each process spills to a folder of
its own beside the database, ``warehouse.duckdb.tmp-<process>``. The process that holds the database's lock
removes the folders of all others, which must be dead.
"""

import os
import secrets
import shutil
from pathlib import Path

from churn.core.errors import RunError

_PROCESS = secrets.token_hex(8)


def spill_folder(database: Path) -> Path:
    """Return the folder that this process spills to; DuckDB makes it when it needs it."""
    return database.with_name(f"{database.name}.tmp-{_PROCESS}-{os.getpid()}")  # a fork has another pid


def remove_spills_of_the_dead(database: Path) -> None:
    """Remove the spilled files of other processes; call it while holding the database's lock.

    Raises:
        RunError: something cannot be removed.
    """
    own = spill_folder(database)
    default = f"{database.name}.tmp"  # what DuckDB uses when another program opens the file
    for folder in sorted(database.parent.iterdir()):
        if folder == own or not (folder.name == default or folder.name.startswith(f"{default}-")):
            continue
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise RunError(
                f"{folder} cannot be removed ({error.strerror or error}): a process that was killed has left "
                "it, and it may hold user ids; remove it by hand"
            ) from error
