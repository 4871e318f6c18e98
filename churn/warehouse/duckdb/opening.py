"""Opening a DuckDB file, and what is wrong when it cannot be opened or read."""

import os
import re
from pathlib import Path

import duckdb

from churn.core.errors import RunError
from churn.warehouse.base import InUseError

DISK_ADVICE = ". Free some space or choose another --out, and run again"
_DISK_FAULTS = ("No space left", "quota exceeded", "File too large", "Read-only file system")
# Words of DuckDB's messages. "block" holds "lock": whole words only.
_LOCKED = re.compile(r"could not set lock|conflicting lock|\block is held\b", re.I)
_OTHER_VERSION = re.compile(
    r"version number|storage version|serialization version|newer version|older version", re.I
)
_NO_DATABASE = re.compile(r"not a valid DuckDB|is an existing extension|Failed to download extension", re.I)
_DAMAGED = re.compile(
    r"corrupt|checksum|replaying WAL|not read enough bytes|read enough|deserializ|INTERNAL Error", re.I
)
Config = dict[str, str | bool | int | float | list[str]]


def open_file(database: Path, config: Config) -> duckdb.DuckDBPyConnection:
    """Open a database file, which is made if it does not exist.

    Raises:
        InUseError: another process has it open.
        RunError: it cannot be opened. The message says what is wrong with it, and what to do.
    """
    if "?" in f"{database.resolve()}":  # DuckDB would put the log's name before it
        raise RunError(f"{database} cannot be opened: its path holds a question mark: choose another --out")
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        if not database.exists():
            _make(database)
    except OSError as error:
        raise RunError(f"{database.parent} cannot be made: {error.strerror or error}") from error
    except duckdb.Error as error:
        raise _refused(database, error) from error
    if database.is_dir():
        raise RunError(f"{database} cannot be opened: it is a folder: move it away, or choose another --out")
    try:
        return duckdb.connect(str(database), config=config)
    except duckdb.Error as error:
        raise _refused(database, error) from error


def _refused(database: Path, error: duckdb.Error) -> RunError:
    text = str(error)
    first = text.splitlines()[0]
    if _LOCKED.search(text):
        advice = "another run is using this output folder; wait for it, or choose another --out"
        return InUseError(f"{database} cannot be opened: {advice}. DuckDB says: {first}")
    if is_disk_fault(error):
        advice = "free some space or choose another --out, and run again"
    elif "Permission denied" in text or "Operation not permitted" in text:
        advice = (
            "permission denied: check the owner and mode of the file and its folder, or choose another --out"
        )
    elif _NO_DATABASE.search(text):
        advice = "it is no DuckDB database: move it away, or choose another --out"
    elif is_damaged(error):
        advice = damage_advice(database)
    elif _OTHER_VERSION.search(text):
        advice = (
            f"it was written by another version of DuckDB than this one ({duckdb.__version__}): use the "
            "version of churn that wrote it, or choose another --out"
        )
    else:
        advice = "if it is no warehouse of an earlier run, choose another --out"
    return RunError(f"{database} cannot be opened: {advice}. DuckDB says: {first}")


def is_damaged(error: BaseException) -> bool:
    """Return whether an error means that the bytes of the file are not those that were written."""
    return isinstance(error, duckdb.Error) and _DAMAGED.search(str(error)) is not None


def damage_advice(database: Path | str) -> str:
    """Return what to do about a damaged file."""
    return (
        f"it is damaged: restore it from a backup, or move it away together with {Path(database).name}.wal; "
        "the next run makes it again from lake and source"
    )


def is_disk_fault(error: BaseException) -> bool:
    """Return whether an error means that a disk is full or cannot be written."""
    return isinstance(error, (duckdb.Error, OSError)) and any(text in str(error) for text in _DISK_FAULTS)


def _make(database: Path) -> None:
    """Make an empty database under another name, and move it into place when it is complete.

    Made in place, a full disk or a kill would leave a file that can never be opened again.
    """
    unfinished = database.with_name(f".{database.name}.new")
    unfinished.unlink(missing_ok=True)
    try:
        duckdb.connect(str(unfinished)).close()
        try:
            os.link(unfinished, database)
        except FileExistsError:
            pass  # another process was quicker
        except OSError:  # no hard links on this disk
            os.rename(unfinished, database)
    finally:
        unfinished.unlink(missing_ok=True)
