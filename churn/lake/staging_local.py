"""Runs that are being written on a local disk: a locked staging folder, committed by one rename.

::

    ROOT/.staging/product=<p>/.lock           held while a product's staging area changes
    ROOT/.staging/product=<p>/<run id>/       a run that is being written
    ROOT/.staging/product=<p>/<run id>.owner  locked by the process that writes it
    ROOT/.staging/product=<p>/<run id>/.checkpoint-<Monday>.json   what resuming the run needs

Staging lies outside ``runs``, so that no reader's pattern matches a half-written file. A run that ends
without a commit leaves nothing, unless it has a checkpoint: then its staging folder stays for 48 hours, or
until its target week has a committed run, and another process may resume it.
"""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from churn.core.files import file_lock, flush, place_folder, remove_folder, replace_file, stamp
from churn.core.timing import StageTimer
from churn.lake.claims import claim, release, sweep, take_over
from churn.lake.manifest import FileStamp
from churn.lake.paths import MANIFEST, pointer, run_folder, staging_folder, week_folder
from churn.lake.staging import STALE_SECONDS, StagedRun, StagingArea

_CHECKPOINT = re.compile(r"\.checkpoint-(\d{4}-\d\d-\d\d)\.json")


class LocalStagedRun(StagedRun):
    """The right to write one staging folder."""

    def __init__(self, area: "LocalStaging", product: str, week: str, run_id: str, owner: FileIO) -> None:
        """Take over a staging folder whose owner file this process has locked."""
        self.base = f"{staging_folder(area.root, product)}/{run_id}"
        self.checkpoint = f"{self.base}/.checkpoint-{week}.json"
        self._staging = area
        self._product = product
        self._target = run_folder(area.root, product, week, run_id)
        self._owner = owner

    def save_checkpoint(self, checkpoint: bytes) -> None:
        """Replace the checkpoint file."""
        replace_file(self.checkpoint, checkpoint)

    def commit(self, known: Mapping[str, FileStamp], finish: Callable[[dict[str, FileStamp]], bytes]) -> str:
        """Hash every file, flush all to disk and rename the folder, so that a power cut cannot damage it."""
        Path(self.base, MANIFEST).unlink(missing_ok=True)  # from a process that was killed during its commit
        names, folders, scratch = _below(self.base)
        files = {
            name: FileStamp(size=size, sha256=sha256)
            for name, (size, sha256) in stamp(self.base, names, durably=True).items()
        }
        for folder in folders:
            flush(folder)
        replace_file(f"{self.base}/{MANIFEST}", finish(files))
        for path in scratch:
            _remove(path)
        place_folder(self.base, self._target)
        release(self._owner)
        return self._target

    def detach(self) -> bool:
        """End the claim if the run can be resumed: the product's next run resumes it or removes it."""
        if self._staging.resumable_week(self._product, self.base) is None:
            return False
        self._owner.close()
        return True

    def discard(self) -> None:
        """Remove the folder and end the claim."""
        if remove_folder(self.base):
            release(self._owner)
        else:
            self._owner.close()


class LocalStaging(StagingArea):
    """The staging folders of a lake on a local disk."""

    resumable = True

    def __init__(self, root: str, folders: Sequence[str]) -> None:
        """Store the root, and the subfolders that every new run gets; create nothing yet."""
        self.root = root
        self._folders = folders

    def claim(self, product: str, week: str, run_id: str) -> LocalStagedRun | None:
        """Claim a run id, and remove dead runs that cannot be resumed for another week."""
        with self._locked(product) as staging_area:
            sweep(staging_area, lambda staging: self._spared(product, week, staging))
            try:
                owner = claim(f"{staging_area}/{run_id}")
            except FileExistsError:
                return None
            claimed = LocalStagedRun(self, product, week, run_id, owner)
            try:
                for name in self._folders:
                    os.makedirs(f"{claimed.base}/{name}")
            except BaseException:
                claimed.discard()
                raise
        return claimed

    def resume(self, product: str, week: str) -> tuple[str, LocalStagedRun] | None:
        """Take over a dead run of this week that has a checkpoint."""
        with self._locked(product) as staging_area:
            for staging in sorted(str(path) for path in Path(staging_area).iterdir() if path.is_dir()):
                if self.resumable_week(product, staging) != week:
                    continue
                owner = take_over(staging)
                if owner is not None:
                    run_id = Path(staging).name
                    claimed = LocalStagedRun(self, product, week, run_id, owner)
                    if os.path.exists(claimed.checkpoint):
                        return run_id, claimed
                    claimed.discard()  # another process has committed it
        return None

    def refresh_pointer(self, product: str, content: Callable[[], bytes | None]) -> None:
        """Write the pointer if it changed, and remove dead runs that cannot be resumed."""
        with self._locked(product) as staging_area:
            sweep(staging_area, lambda staging: self.resumable_week(product, staging) is not None)
            wanted, path = content(), pointer(self.root, product)
            if wanted is not None and not (os.path.exists(path) and Path(path).read_bytes() == wanted):
                replace_file(path, wanted)

    def remove(self, product: str, week: str, run_id: str) -> None:
        """Hide the run by one rename, then delete its files."""
        with self._locked(product) as staging_area:
            staging = f"{staging_area}/{run_id}"
            remove_folder(staging)  # files of a worker that outlived the run
            with suppress(FileNotFoundError):  # another process has removed it
                os.rename(run_folder(self.root, product, week, run_id), staging)
            remove_folder(staging)
            with suppress(OSError):  # other runs are in it
                os.rmdir(week_folder(self.root, product, week))

    def resumable_week(self, product: str, staging: str) -> str | None:
        """Return the week of a staging folder's checkpoint if the run can be resumed, else None.

        It cannot when the checkpoint is older than 48 hours, or when the week has a committed run.
        """
        with suppress(FileNotFoundError):  # another process has committed or removed it
            for name in os.listdir(staging):
                match = _CHECKPOINT.fullmatch(name)
                if match and time.time() - os.stat(f"{staging}/{name}").st_mtime < STALE_SECONDS:
                    committed = Path(week_folder(self.root, product, match[1])).glob("run=*")
                    return match[1] if next(committed, None) is None else None
        return None

    def _spared(self, product: str, week: str, staging: str) -> bool:
        """Return whether a dead run can be resumed for another week; log why if for none."""
        resumable = self.resumable_week(product, staging)
        if resumable is None and os.path.isdir(staging):
            reason = "it ended before its training began, or in the last step of its commit"
            if any(map(_is_checkpoint, os.listdir(staging))):
                reason = "it is too old, or its week has a committed run"
            message = f"the unfinished run {Path(staging).name} is not resumed: {reason}"
            StageTimer(product).log("prepare", message)
        return resumable not in (None, week)

    @contextmanager
    def _locked(self, product: str) -> Iterator[str]:
        """Hold a product's lock, and yield its folder of staging folders."""
        staging_area = staging_folder(self.root, product)
        os.makedirs(staging_area, exist_ok=True)
        with file_lock(f"{staging_area}/.lock"):
            yield staging_area


def _below(base: str) -> tuple[list[str], list[str], list[str]]:
    """Return a run's files (relative paths), folders and scratch paths (checkpoint last)."""
    names: list[str] = []
    folders: list[str] = []
    scratch: list[str] = []
    for folder, subfolders, files in os.walk(base):
        folders.append(folder)
        for name in [*subfolders, *files]:
            if name.startswith("."):
                scratch.append(f"{folder}/{name}")
            elif name in files:
                names.append(f"{folder}/{name}".removeprefix(f"{base}/"))
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
    return names, folders, sorted(scratch, key=_is_checkpoint)


def _is_checkpoint(path: str) -> bool:
    return _CHECKPOINT.fullmatch(os.path.basename(path)) is not None


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)
