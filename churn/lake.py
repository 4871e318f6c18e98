"""Where a run's files live: staging, one atomic commit, and which run is current.

A lake is a folder::

    ROOT/runs/product=<p>/week_start=<Monday of the target week>/run=<run id>/
        {features,scores,shap,reasons,effects,model,charts,logs}/  and manifest.json
    ROOT/runs/product=<p>/current.json        the newest committed run, for readers outside this program
    ROOT/.staging/product=<p>/<run id>/       a run that is being written
    ROOT/.staging/product=<p>/<run id>.owner  locked by the process that writes it
    ROOT/.staging/product=<p>/<run id>/.checkpoint-<Monday>.json   what the run needs to be gone on with

A run is committed when its folder stands below ``runs`` with a manifest in it; what is there never changes
again. Staging lies outside ``runs``, so that no reader's pattern can meet a half-written file. Which run is
current is derived from the committed runs (newest target week, then latest start), so that neither a kill nor
two runs at once can make it wrong; ``current.json`` repeats it for readers that do not list folders.

A run that ends without a commit leaves nothing, unless it has a checkpoint: then its staging folder stays for
48 hours, or until its target week has a committed run, and another process may adopt it.

Reading goes through fsspec; writing uses what only a local disk has, and that is in ``churn.disk``.
"""

import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from churn.disk import (
    STALE_SECONDS,
    as_run_error,
    claim,
    disk_advice,
    file_lock,
    place_folder,
    release,
    remove_folder,
    replace_file,
    seal,
    storage_errors,
    sweep,
    take_over,
)
from churn.errors import RunError, UsageError
from churn.manifest import PRODUCT_NAME, FileStamp, Manifest, check_names
from churn.runs import MANIFEST, REMAKE, Run, path_inside

__all__ = ["FOLDERS", "FileStamp", "Lake", "Manifest", "Run", "RunFolder", "new_run_id"]

FOLDERS = ("features", "scores", "shap", "reasons", "effects", "model", "charts", "logs")
POINTER = "current.json"

_CHECKPOINT = re.compile(r"\.checkpoint-(\d{4}-\d\d-\d\d)\.json")
_POINTER_FIELDS = {"product", "run_id", "as_of", "target_week_start", "started_at", "model_version"}


class RunFolder:
    """A run that is being written, out of every reader's sight until ``commit``.

    Use it as a context manager: left without a commit, it is abandoned; left by an error after a checkpoint,
    it stays, to be adopted. Other processes may write below ``path(...)`` (give them paths, not this object).
    Names that begin with a dot are scratch, such as a partition before it is whole: the commit removes them.

    Attributes:
        fs: the fsspec file system to write to.
        base: the folder, as a path in that file system.
        kept: whether it was left to be adopted.
    """

    def __init__(self, lake: "Lake", week: date, staging: str, owner: FileIO) -> None:
        """Take over a staging folder that the lake has claimed."""
        self.fs = lake.fs
        self.base = staging
        self.product = Path(staging).parent.name.removeprefix("product=")
        self.target_week_start = week
        self.run_id = Path(staging).name
        self.kept = False
        self._lake = lake
        self._owner: FileIO | None = owner

    def path(self, *parts: str) -> str:
        """Return where to write a file or folder, such as ``path("scores", "part-00000.parquet")``."""
        return path_inside(self.base, parts)

    @property
    def checkpoint(self) -> str:
        """Where ``keep`` writes."""
        return f"{self.base}/.checkpoint-{self.target_week_start}.json"

    def keep(self, checkpoint: bytes) -> None:
        """Write down, in one step, what a process needs that adopts the folder; from now on it is worth it.

        Raises:
            RunError: the disk refused.
        """
        with storage_errors("writing the checkpoint", self.base):
            replace_file(self.checkpoint, checkpoint)

    def commit(self, manifest: Manifest) -> Run:
        """Stamp every file, put the run in its place in one step, and renew the pointer.

        All is flushed to the disk before that step, so that not even a power cut leaves a committed run with
        holes. After an error before it nothing is visible, and the folder can still be abandoned.

        Raises:
            RunError: the manifest is of another run, the run has ended, or the disk refused.
        """
        if self._owner is None:
            raise RunError(f"run {self.run_id} of {self.product} has ended: begin a new one")
        told = (manifest.product, manifest.target_week_start, manifest.run_id)
        if told != (self.product, self.target_week_start, self.run_id):
            raise RunError(
                f"the manifest is of run {manifest.run_id} of {manifest.product} for "
                f"{manifest.target_week_start}, but the folder is of run {self.run_id} of {self.product} for "
                f"{self.target_week_start}: give the manifest of the run that was begun"
            )
        target = self._lake._run_base(self.product, f"{self.target_week_start:%Y-%m-%d}", self.run_id)
        with storage_errors("committing the run", self.base):
            files = {
                name: {"size": size, "sha256": sha256} for name, (size, sha256) in seal(self.base).items()
            }
            ending = {"files": files, "status": "committed", "committed_at": datetime.now(UTC)}
            final = Manifest.model_validate(manifest.model_dump() | ending)
            replace_file(f"{self.base}/{MANIFEST}", final.model_dump_json(indent=2).encode())
            place_folder(self.base, target)
        self._end()
        self._lake.settle(self.product)
        return Run(final, self.fs, target)

    def abandon(self) -> None:
        """Remove what was written. Does nothing after a commit."""
        if self._owner is None:
            return
        if remove_folder(self.base):
            self._end()
        else:
            self._leave()

    def _leave(self) -> None:
        # Without its lock the claim is adopted or swept by the product's next run.
        if self._owner is not None:
            self._owner.close()
        self._owner = None

    def _end(self) -> None:
        owner, self._owner = self._owner, None
        if owner is not None:
            release(owner)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        week = self._lake._resumable_week(self.product, self.base) if self._owner and error else None
        self.kept = week is not None
        if self.kept:
            self._leave()
        else:
            self.abandon()
        # Only what the disk refused is explained here: a lost connection is an OSError too.
        if isinstance(error, OSError) and disk_advice(error):
            raise as_run_error(error, "writing the run", self.base) from error


class Lake:
    """The committed runs below one root, and the way to add one.

    Attributes:
        root: the root folder as given.
        fs: the fsspec file system of the root.
    """

    def __init__(self, root: str) -> None:
        """Open a lake; nothing is made or read until it is used.

        Args:
            root: a local folder (a path or a file:// address).

        Raises:
            UsageError: the root is empty, or on a store where a run cannot be committed in one step.
        """
        if not root or "\0" in root:
            raise UsageError(f"the lake's root {root!r} does not name a folder: give a path such as out/lake")
        try:
            self.fs, base = url_to_fs(root)
        except (ValueError, ImportError) as error:
            raise UsageError(f"the lake's root {root!r} is unknown ({error}): give a local folder") from error
        if not isinstance(self.fs, LocalFileSystem):
            raise UsageError(f"the lake's root {root!r} is not on a local disk: give a local folder")
        self.root = root
        self._base = str(base).rstrip("/")

    def begin(self, product: str, target_week_start: date, run_id: str) -> RunFolder:
        """Claim a fresh staging folder with the subfolders of ``FOLDERS``; sweep what dead runs left.

        What can be adopted for another week is spared.

        Raises:
            UsageError: an unsafe product or run id, or a target week that does not start on a Monday.
            RunError: the run id is taken, or the disk refused.
        """
        check_names(product, run_id)
        if target_week_start.weekday() != 0:
            raise UsageError(
                f"a target week starts on a Monday, and {target_week_start} is a {target_week_start:%A}"
            )
        ours = f"{target_week_start}"
        with self._locked(product) as desk:
            sweep(desk, lambda staging: self._resumable_week(product, staging) not in (None, ours))
            if self._week_of(product, run_id) is not None:
                raise RunError(f"run {run_id} of {product} is committed already: begin one with a new run id")
            try:
                owner = claim(f"{desk}/{run_id}")
            except FileExistsError as error:
                raise RunError(
                    f"run {run_id} of {product} is being written: wait for it, or begin one with a new run id"
                ) from error
            folder = RunFolder(self, target_week_start, f"{desk}/{run_id}", owner)
            try:
                for name in FOLDERS:
                    os.makedirs(folder.path(name))
            except BaseException:
                folder.abandon()
                raise
        return folder

    def adopt(self, product: str, target_week_start: date) -> RunFolder | None:
        """Claim the staging folder of a dead run of this week that has a checkpoint; None: there is none.

        Whether the checkpoint and the files are what they should be is for the caller to find out; if not,
        ``RunFolder.abandon`` removes them.

        Raises:
            RunError: the disk refused.
        """
        with self._locked(product) as desk:
            for staging in sorted(str(path) for path in Path(desk).iterdir() if path.is_dir()):
                if self._resumable_week(product, staging) != f"{target_week_start}":
                    continue
                owner = take_over(staging)
                if owner is not None:
                    folder = RunFolder(self, target_week_start, staging, owner)
                    if os.path.exists(folder.checkpoint):
                        return folder
                    folder.abandon()  # it was committed meanwhile
        return None

    def _resumable_week(self, product: str, staging: str) -> str | None:
        """Return the week of a staging folder's checkpoint if it may still be gone on with.

        It may not when it is old, or when its week has a committed run: nobody would run that week again.
        """
        with suppress(FileNotFoundError):  # committed or abandoned meanwhile
            for name in os.listdir(staging):
                found = _CHECKPOINT.fullmatch(name)
                if found and time.time() - os.stat(f"{staging}/{name}").st_mtime < STALE_SECONDS:
                    week = f"{self._base}/runs/product={product}/week_start={found[1]}"
                    return None if self._partitions(week, "run") else found[1]
        return None

    def runs(self, product: str | None = None) -> list[Run]:
        """Return the committed runs (of one product), by product, target week and start.

        Raises:
            RunError: a manifest is damaged; the message names it.
        """
        if product is None:
            found = self._partitions(f"{self._base}/runs", "product")
            return [run for name in found if PRODUCT_NAME.fullmatch(name) for run in self.runs(name)]
        return [run for week in self._weeks(product) for run in self._runs_of_week(product, week)]

    def current(self, product: str) -> Run | None:
        """Return the latest started run of the newest target week that has one.

        Raises:
            RunError: a manifest of that week is damaged; the message names it.
        """
        weeks = reversed(self._weeks(product))
        return next((runs[-1] for week in weeks if (runs := self._runs_of_week(product, week))), None)

    def committed(self, product: str, target_week_start: date) -> Run | None:
        """Return the latest started run that is committed for a target week.

        Raises:
            RunError: a manifest of that week is damaged; the message names it.
        """
        check_names(product)
        runs = self._runs_of_week(product, f"{target_week_start:%Y-%m-%d}")
        return runs[-1] if runs else None

    def find(self, product: str, run_id: str) -> Run | None:
        """Return the committed run with this id."""
        check_names(product, run_id)
        week = self._week_of(product, run_id)
        return None if week is None else self._read(product, week, run_id)

    def settle(self, product: str) -> None:
        """Make ``current.json`` name the current run, and sweep what dead runs left.

        Every commit does it; call it where a committed run is found, to finish what a killed commit left.

        Raises:
            RunError: the pointer could not be written; the committed runs are as they were.
        """
        with self._locked(product) as desk:
            sweep(desk, lambda staging: self._resumable_week(product, staging) is not None)
            run = self.current(product)
            if run is None:
                return
            text = run.manifest.model_dump_json(include=_POINTER_FIELDS, indent=2)
            path = f"{self._base}/runs/product={product}/{POINTER}"
            if not os.path.exists(path) or Path(path).read_text() != text:
                replace_file(path, text.encode())

    @contextmanager
    def _locked(self, product: str) -> Iterator[str]:
        """Hold a product's lock, and yield its folder below ``.staging``."""
        check_names(product)
        desk = f"{self._base}/.staging/product={product}"
        with storage_errors("writing to the lake", self._base):
            os.makedirs(desk, exist_ok=True)
            with file_lock(f"{desk}/.lock"):
                yield desk

    def _run_base(self, product: str, week: str, run_id: str) -> str:
        return f"{self._base}/runs/product={product}/week_start={week}/run={run_id}"

    def _partitions(self, folder: str, key: str) -> list[str]:
        """Return the values of the ``key=value`` folders in a folder, sorted; [] where there is none."""
        with storage_errors("reading the lake", folder):
            try:
                names = [path.rsplit("/", 1)[-1] for path in self.fs.ls(folder, detail=False, refresh=True)]
            except FileNotFoundError:
                return []
        return sorted(name.removeprefix(f"{key}=") for name in names if name.startswith(f"{key}="))

    def _weeks(self, product: str) -> list[str]:
        check_names(product)
        return self._partitions(f"{self._base}/runs/product={product}", "week_start")

    def _week_of(self, product: str, run_id: str) -> str | None:
        weeks = reversed(self._weeks(product))
        manifests = ((week, f"{self._run_base(product, week, run_id)}/{MANIFEST}") for week in weeks)
        return next((week for week, manifest in manifests if self.fs.exists(manifest)), None)

    def _runs_of_week(self, product: str, week: str) -> list[Run]:
        ids = self._partitions(f"{self._base}/runs/product={product}/week_start={week}", "run")
        runs = [run for run_id in ids if (run := self._read(product, week, run_id)) is not None]
        return sorted(runs, key=lambda run: (run.manifest.started_at, run.manifest.run_id))

    def _read(self, product: str, week: str, run_id: str) -> Run | None:
        base = self._run_base(product, week, run_id)
        with storage_errors("reading a manifest", base):
            try:
                text = self.fs.cat_file(f"{base}/{MANIFEST}")
            except FileNotFoundError:
                return None
        try:
            manifest = Manifest.model_validate_json(text)
        except ValueError as error:
            raise RunError(f"{base}/{MANIFEST} is damaged, or of another version. {REMAKE}") from error
        if (manifest.product, f"{manifest.target_week_start}", manifest.run_id) != (product, week, run_id):
            raise RunError(f"{base}/{MANIFEST} is the manifest of another run. {REMAKE}")
        return Run(manifest, self.fs, base)


def new_run_id(started_at: datetime) -> str:
    """Return a unique run id that sorts by its start, to the second: ``20260629t180000z-3fa1c2``.

    Raises:
        UsageError: ``started_at`` has no time zone.
    """
    if started_at.tzinfo is None:
        raise UsageError(f"the start {started_at} has no time zone: give it one, such as UTC")
    return f"{started_at.astimezone(UTC):%Y%m%dt%H%M%Sz}-{secrets.token_hex(3)}"
