"""Writing a database file anew, so that no deleted row can be read from its bytes.

DuckDB keeps deleted rows in the file until it writes over them, which may be never. So all that is kept is
copied to a fresh file in a folder of its own beside the old one, ``.warehouse.duckdb.anew``, which only this
user can read. One rename puts it in the old file's place: a kill at any moment leaves the old file or the new
one, each complete. The process that opens the file next removes the folder that a kill leaves.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path

import duckdb

from churn.core.errors import RunError
from churn.core.files import flush
from churn.core.io_errors import storage_errors
from churn.warehouse.duckdb.opening import is_disk_fault

_FRESH = "churn_fresh"
# Attached to the instance whose file was replaced, by which a connection to it is recognised.
REPLACED = "churn_replaced"


def rewrite(connection: duckdb.DuckDBPyConnection, database: Path) -> None:
    """Replace a database file by a copy of what it holds.

    The connection holds the lock of the old file, and has no open transaction. Close it afterwards, and open
    the new file.

    Raises:
        RunError: there is too little space, or the disk refused; the file is as it was.
    """
    target = database.resolve()  # the file itself, where the path is a link to it
    folder = _folder(database)
    remove_unfinished(database)
    connection.execute("checkpoint")
    needed, free = bytes_needed(connection), shutil.disk_usage(target.parent).free
    if needed > free:
        raise RunError(
            f"{database} cannot be written anew, and may still hold bytes of erased users: that needs "
            f"{_in_mb(needed)} of free space beside it, and {_in_mb(free)} are free. Free some, and erase "
            "again"
        )
    fresh = folder / target.name
    try:
        with storage_errors("writing the warehouse anew", str(database)):
            folder.mkdir(mode=0o700)
            _copy(connection, fresh)
            shutil.copymode(target, fresh)
            with suppress(PermissionError):  # the owner stays this user, who may not give files away
                os.chown(fresh, target.stat().st_uid, target.stat().st_gid)
            flush(str(fresh))
            for log in (f"{fresh}.wal", f"{target}.wal"):
                if os.path.exists(log):  # rows that are not in the file, or not of the new one
                    raise RunError(f"{database} cannot be written anew: {log} is still in use: erase again")
            _replace(connection, fresh, target)
            flush(str(target.parent))
    except duckdb.Error as error:
        first = str(error).splitlines()[0]
        advice = (
            "free some space, and erase again"
            if is_disk_fault(error)
            else "mend what it names, and erase again"
        )
        raise RunError(
            f"{database} cannot be written anew, and may still hold bytes of erased users: {first}: {advice}"
        ) from error
    finally:
        with suppress(RunError):  # the next process that opens the file removes it
            remove_unfinished(database)


def _replace(connection: duckdb.DuckDBPyConnection, fresh: Path, target: Path) -> None:
    """Put the fresh file in the old one's place, which the connection has open."""
    connection.execute(f"attach ':memory:' as {REPLACED}")
    # Closing the old database must not touch the log beside the new one.
    connection.execute("pragma disable_checkpoint_on_shutdown")
    try:
        os.replace(fresh, target)
    except BaseException:
        connection.execute("pragma enable_checkpoint_on_shutdown")
        connection.execute(f"detach {REPLACED}")
        raise


def bytes_needed(connection: duckdb.DuckDBPyConnection) -> int:
    """Return the free bytes that ``rewrite`` needs: all blocks in use."""
    row = connection.execute(
        "select block_size * used_blocks from pragma_database_size() where database_name = current_database()"
    ).fetchone()
    return int(row[0]) if row else 0


def remove_unfinished(database: Path) -> None:
    """Remove what a killed rewrite has left; call it while holding the database's lock.

    Raises:
        RunError: it cannot be removed.
    """
    folder = _folder(database)
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunError(
            f"{folder} cannot be removed ({error.strerror or error}): a process that was killed has left it, "
            "and it may hold user ids; remove it by hand"
        ) from error


def _folder(database: Path) -> Path:
    target = database.resolve()
    return target.with_name(f".{target.name}.anew")


def _copy(connection: duckdb.DuckDBPyConnection, fresh: Path) -> None:
    cursor = connection.cursor()
    try:
        row = cursor.execute("select current_database()").fetchone()
        name = str(row[0] if row else "").replace('"', '""')
        path = str(fresh).replace("'", "''")
        cursor.execute(f"attach '{path}' as {_FRESH}")
        try:
            cursor.execute(f'copy from database "{name}" to {_FRESH}')
            cursor.execute(f"checkpoint {_FRESH}")
        finally:
            cursor.execute(f"detach {_FRESH}")
    finally:
        cursor.close()


def _in_mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
