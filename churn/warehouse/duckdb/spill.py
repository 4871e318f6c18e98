"""Where DuckDB puts what its memory does not hold: files that name users, and must not outlive their process.

DuckDB removes them when it is closed, but never what a process has left that was killed. So each process has
a folder of its own beside the database, ``warehouse.duckdb.tmp-<process>``: whoever holds the database's lock
knows the folders of all others to be of dead processes, and never removes what it has just spilled itself.
"""

import os
import secrets
import shutil
from pathlib import Path

from churn.core.errors import RunError

_PROCESS = secrets.token_hex(8)


def spill_folder(database: Path) -> Path:
    """Return the folder that this process spills to; DuckDB makes it when it needs it."""
    return database.with_name(f"{database.name}.tmp-{_PROCESS}-{os.getpid()}")  # a fork is another


def remove_spills_of_the_dead(database: Path) -> None:
    """Remove what other processes have spilled; call it while this one holds the database's lock.

    Raises:
        RunError: something cannot be removed.
    """
    own = spill_folder(database)
    default = f"{database.name}.tmp"  # DuckDB's own choice, for whoever else opens it
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
