"""Write the data folder under a hidden name beside its place, then rename it."""

import fcntl
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from churn.config.own_features import FOLDER as OWN_FEATURES
from churn.config.settings import CONFIG_FILE
from churn.core.errors import UsageError
from churn.sources.ingest.engine import SCRATCH
from churn.sources.ingest.record import RECORD_FILE
from churn.sources.ingest.skipped import SKIPPED_FILE

_LOCK = ".lock"
_DATA_ENTRIES = {
    "tables",
    "truth",
    OWN_FEATURES,
    RECORD_FILE,
    SKIPPED_FILE,
}  # in a data folder besides churn.toml and its earlier copies


def check_target(into: Path, *, force: bool) -> None:
    """Raise unless a data folder may be created here.

    Raises:
        UsageError: it is a file or a folder that is not empty; with ``force``, a folder with entries that do
            not belong to a data folder.
    """
    target = into.expanduser().resolve()
    if not target.exists():
        return
    if not target.is_dir():
        raise UsageError(f"{into} is a file: name a folder that does not exist yet")
    entries = {entry.name for entry in target.iterdir()}
    if not entries:
        return
    if not force:
        raise UsageError(
            f"{into} is not empty: name another folder, or replace this data folder with --force"
        )
    foreign = sorted(
        name for name in entries if name not in _DATA_ENTRIES and not name.startswith(CONFIG_FILE)
    )
    if foreign or CONFIG_FILE not in entries:
        reason = f"it also holds {', '.join(foreign[:5])}" if foreign else f"it has no {CONFIG_FILE}"
        raise UsageError(
            f"{into} is not replaced: {reason}. --force replaces data folders only; move the rest away"
        )


@contextmanager
def staging(into: Path, *, force: bool) -> Iterator[Path]:
    """Yield an empty folder beside ``into`` that replaces it when the block ends without an error.

    A lock marks the folder as in use; unlocked folders of killed runs are removed.
    """
    target = into.expanduser().resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(target)
    check_target(into, force=force)
    stage = target.parent / f".{target.name}.ingest-{uuid.uuid4().hex[:8]}"
    stage.mkdir()
    try:
        with (stage / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield stage
            shutil.rmtree(stage / SCRATCH)
            (stage / _LOCK).unlink()
            check_target(into, force=force)  # again: another process may have written there meanwhile
            _swap(stage, target)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _remove_stale(target: Path) -> None:
    """Clean up after killed runs: remove staging folders, and restore a data folder that was moved aside."""
    for aside in target.parent.glob(f".{_escape(target.name)}.replaced-*"):
        if target.exists():
            shutil.rmtree(aside)
        else:
            aside.rename(target)
    for abandoned in target.parent.glob(f".{_escape(target.name)}.ingest-*"):
        with suppress(OSError), (abandoned / _LOCK).open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(abandoned)


def _escape(name: str) -> str:
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)


def _swap(stage: Path, target: Path) -> None:
    """Replace the old folder: move it aside, rename the new one, then delete the old one."""
    if not target.exists() or not any(target.iterdir()):
        stage.rename(target)  # replaces an empty folder
        return
    settings = target / CONFIG_FILE
    for earlier in target.glob(f"{CONFIG_FILE}.*"):
        if not (stage / earlier.name).exists():
            shutil.copy2(earlier, stage / earlier.name)
    if settings.read_bytes() != (stage / CONFIG_FILE).read_bytes():
        shutil.copy2(settings, stage / f"{CONFIG_FILE}.{datetime.now():%Y%m%dT%H%M%S}")
    for own in (target / OWN_FEATURES).glob("*"):  # what a person wrote there stays as it is
        (stage / OWN_FEATURES).mkdir(exist_ok=True)
        shutil.copy2(own, stage / OWN_FEATURES / own.name)
    aside = target.parent / f".{target.name}.replaced-{uuid.uuid4().hex[:8]}"
    target.rename(aside)
    try:
        stage.rename(target)
    except OSError:
        aside.rename(target)
        raise
    shutil.rmtree(aside)
