"""The lake: committed runs, one atomic commit, and which run is current.

A lake is a folder, on a local disk or on S3::

    ROOT/runs/product=<p>/week_start=<Monday of the target week>/run=<run id>/
        one folder for each dataset of ``churn.core.datasets``, and manifest.json
    ROOT/runs/product=<p>/current.json        the newest committed run, for readers outside this program
    ROOT/.staging/                            runs being written: see staging_local and staging_s3

A run is committed when its folder is below ``runs`` with a manifest in it; then it never changes again. The
current run is derived from the committed runs (newest target week, then latest start), so that neither a kill
nor concurrent runs can make it wrong; ``current.json`` repeats it for readers that do not list folders.

Reading goes through fsspec. What a disk and S3 do differently (claiming a run id, committing, replacing the
pointer, removing) is behind ``churn.lake.staging.StagingArea``.
"""

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from types import TracebackType
from typing import Self

from churn.config.store import StoreSettings
from churn.core.datasets import DATASETS
from churn.core.errors import RunError, UsageError, passing_over
from churn.core.io_errors import as_run_error, disk_advice, storage_errors
from churn.lake.filesystem import address, is_local, open_root
from churn.lake.manifest import PRODUCT_NAME, FileStamp, Manifest, check_names
from churn.lake.paths import MANIFEST, copy_folder, product_folder, run_folder, week_folder
from churn.lake.run import REMAKE, Run, path_inside
from churn.lake.staging import StagedRun, StagingArea
from churn.lake.staging_local import LocalStaging
from churn.lake.staging_s3 import S3Staging

__all__ = ["FOLDERS", "FileStamp", "Lake", "Manifest", "Pruned", "Run", "RunFolder", "new_run_id"]

FOLDERS = tuple(dataset.name for dataset in DATASETS if not dataset.optional)

_WEEK = re.compile(r"\d{4}-\d\d-\d\d")
_LONGEST_MANIFEST = 1 << 28  # bytes; a longer one is cut short, and so damaged
_POINTER_FIELDS = {"product", "run_id", "as_of", "target_week_start", "started_at", "model_version"}


class RunFolder:
    """A run that is being written, invisible to readers until ``commit``.

    Use it as a context manager: without a commit its files are discarded at the end of the block; after an
    error they stay if there is a checkpoint and the store can resume runs. Other processes may write below
    ``path(...)`` (give them paths, not this object). Names that begin with a dot are temporary: the commit
    removes them.

    Attributes:
        fs: the fsspec file system to write to.
        base: the folder, as a path in that file system.
        checkpoint: the file that ``save_checkpoint`` writes.
        resumable: whether it can be resumed once it has a checkpoint.
        kept: whether it stayed to be resumed.
    """

    def __init__(self, lake: "Lake", product: str, week: date, run_id: str, claim: StagedRun) -> None:
        """Write a claimed run."""
        self.fs = lake.fs
        self.base = claim.base
        self.product = product
        self.target_week_start = week
        self.run_id = run_id
        self.resumable = lake.resumable
        self.kept = False
        self._lake = lake
        self._claim: StagedRun | None = claim
        self.checkpoint = claim.checkpoint

    def path(self, *parts: str) -> str:
        """Return a path or address to write to, such as ``path("scores", "part-00000.parquet")``.

        Without parts, return the folder itself.
        """
        return address(self.fs, path_inside(self.base, parts))

    def save_checkpoint(self, checkpoint: bytes) -> None:
        """Atomically write what another process needs to resume the run; from now on it can.

        Raises:
            RunError: the disk refused.
        """
        with storage_errors("writing the checkpoint", self.base):
            self._claimed_here().save_checkpoint(checkpoint)

    def commit(self, manifest: Manifest) -> Run:
        """Stamp every file, publish the run in one step, and refresh ``current.json``.

        After an error before that step nothing is visible, and the run can still be discarded.

        Args:
            manifest: the run's manifest; ``files`` holds the stamps that are known from writing.

        Raises:
            RunError: the manifest is of another run, the run has ended, or the store refused.
        """
        claim = self._claimed_here()
        described = (manifest.product, manifest.target_week_start, manifest.run_id)
        if described != (self.product, self.target_week_start, self.run_id):
            raise RunError(
                f"the manifest is of run {manifest.run_id} of {manifest.product} for "
                f"{manifest.target_week_start}, but the folder is of run {self.run_id} of {self.product} for "
                f"{self.target_week_start}: give the manifest of the run that was begun"
            )
        finished: list[Manifest] = []

        def finish(files: dict[str, FileStamp]) -> bytes:
            ending = {"files": files, "status": "committed", "committed_at": datetime.now(UTC)}
            finished.append(Manifest.model_validate(manifest.model_dump() | ending))
            return finished[-1].model_dump_json(indent=2).encode()

        with storage_errors("committing the run", self.base):
            place = claim.commit(manifest.files, finish)
        self._claim = None
        self._lake.refresh_pointer(self.product)
        return Run(finished[-1], self.fs, place)

    def discard(self) -> None:
        """Remove what was written. Does nothing after a commit."""
        claim, self._claim = self._claim, None
        if claim is not None:
            claim.discard()

    def _claimed_here(self) -> StagedRun:
        if self._claim is None:
            raise RunError(f"run {self.run_id} of {self.product} has ended: begin a new one")
        return self._claim

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kept = self._claim is not None and error is not None and self._claim.detach()
        if self.kept:
            self._claim = None
        self.discard()
        # Only errors of the disk are explained here: a lost connection is an OSError too.
        if isinstance(error, OSError) and disk_advice(error):
            raise as_run_error(error, "writing the run", self.base) from error


@dataclass(frozen=True)
class Pruned:
    """A run that was, or would be, removed: its target week, how many files it had, and their size."""

    product: str
    week_start: date
    run_id: str
    files: int
    bytes: int


class Lake:
    """The committed runs below one root, and the way to add one.

    Attributes:
        root: the root folder as given.
        fs: the fsspec file system of the root.
        resumable: whether a run that ended after its checkpoint can be adopted: on a local disk.
    """

    def __init__(self, root: str, settings: StoreSettings | None = None) -> None:
        """Open a lake with the arguments of ``filesystem.open_root``; nothing is read or written yet."""
        self.fs, self._base = open_root(root, settings)
        self.root = root
        self._staging: StagingArea = (
            LocalStaging(self._base, FOLDERS) if is_local(self.fs) else S3Staging(self.fs, self._base)
        )
        self.resumable = self._staging.resumable

    def scratch(self, product: str) -> str:
        """Return the folder for temporary files of a warehouse that loads a run: a path or address."""
        return address(self.fs, copy_folder(self._base, product))

    def start_run(self, product: str, target_week_start: date, run_id: str) -> RunFolder:
        """Claim a new run, and remove the files of dead runs.

        Runs that can be resumed for another week stay. On a disk the subfolders of ``FOLDERS`` are created.

        Raises:
            UsageError: an unsafe product or run id, or a target week that does not start on a Monday.
            RunError: the run id is taken, or the store refused.
        """
        check_names(product, run_id)
        if target_week_start.weekday() != 0:
            raise UsageError(
                f"a target week starts on a Monday, and {target_week_start} is a {target_week_start:%A}"
            )
        with storage_errors("writing to the lake", self._base):
            if self._week_of(product, run_id) is not None:
                raise RunError(f"run {run_id} of {product} is committed already: begin one with a new run id")
            claim = self._staging.claim(product, f"{target_week_start}", run_id)
        if claim is None:
            raise RunError(
                f"run {run_id} of {product} is being written: wait for it, or begin one with a new run id"
            )
        return RunFolder(self, product, target_week_start, run_id, claim)

    def resume_run(self, product: str, target_week_start: date) -> RunFolder | None:
        """Claim a dead run of this week that has a checkpoint, which the caller checks; None without one."""
        check_names(product)
        with storage_errors("writing to the lake", self._base):
            claim = self._staging.resume(product, f"{target_week_start}")
        return None if claim is None else RunFolder(self, product, target_week_start, *claim)

    def runs(self, product: str | None = None, *, failures: list[str] | None = None) -> list[Run]:
        """Return the committed runs (of one product), by product, target week and start.

        Args:
            failures: gets the message of each manifest or folder that cannot be read; these are skipped.

        Raises:
            RunError: a manifest is damaged, and there is no list of failures; the message names it.
        """
        if product is None:
            names = passing_over(failures, self._products) or []
            return [run for name in names for run in self.runs(name, failures=failures)]
        weeks = passing_over(failures, partial(self._weeks, product)) or []
        return [run for week in weeks for run in self._runs_of_week(product, week, failures)]

    def current(self, product: str) -> Run | None:
        """Return the latest started run of the newest target week that has one.

        Raises:
            RunError: a manifest of that week is damaged; the message names it.
        """
        weeks = reversed(self._weeks(product))
        return next((runs[-1] for week in weeks if (runs := self._runs_of_week(product, week))), None)

    def committed(self, product: str, target_week_start: date) -> Run | None:
        """Return the latest started run that is committed for a target week; errors as for ``current``."""
        check_names(product)
        runs = self._runs_of_week(product, f"{target_week_start:%Y-%m-%d}")
        return runs[-1] if runs else None

    def get(self, product: str, run_id: str) -> Run | None:
        """Return the committed run with this id."""
        check_names(product, run_id)
        week = self._week_of(product, run_id)
        return None if week is None else self._read(product, week, run_id)

    def refresh_pointer(self, product: str) -> None:
        """Write the current run to ``current.json``, and remove the files of dead runs.

        Every commit does it; call it for a run that is committed already, in case its commit was killed.

        Raises:
            RunError: the pointer could not be written; the committed runs are as they were.
        """
        check_names(product)

        def content() -> bytes | None:
            run = self.current(product)
            text = run and run.manifest.model_dump_json(include=_POINTER_FIELDS, indent=2)
            return text.encode() if text else None

        with storage_errors("writing to the lake", self._base):
            self._staging.refresh_pointer(product, content)

    def prune(self, product: str | None, keep_weeks: int, *, dry_run: bool) -> list[Pruned]:
        """Remove the committed runs of all but the newest target weeks of each product.

        All runs of the weeks that are kept stay, the current run among them. A run is hidden from readers
        before its files are removed.

        Args:
            product: the product; None = every product that has runs.
            keep_weeks: how many target weeks with a committed run to keep.
            dry_run: remove nothing; return what would be removed.

        Raises:
            UsageError: an unsafe product, or fewer than one week to keep.
            RunError: the store refused; runs that were not removed yet are complete.
        """
        if keep_weeks < 1:
            raise UsageError(f"{keep_weeks} weeks cannot be kept: keep 1 at least, which has the current run")
        names = self._products() if product is None else [product]
        pruned = []
        with storage_errors("pruning the lake", self._base):
            for name in names:
                for old in self._outdated(name, keep_weeks):
                    if not dry_run:
                        self._staging.remove(name, f"{old.week_start}", old.run_id)
                    pruned.append(old)
        return pruned

    def _outdated(self, product: str, keep_weeks: int) -> Iterator[Pruned]:
        committed: dict[str, list[str]] = {}
        for week in self._weeks(product):
            for run_id in self._run_ids(product, week):
                if self._is_committed(product, week, run_id):
                    committed.setdefault(week, []).append(run_id)
        for week in list(committed)[:-keep_weeks]:
            for run_id in committed[week]:
                files = self.fs.find(run_folder(self._base, product, week, run_id), detail=True)
                size = sum(info["size"] for info in files.values())
                yield Pruned(product, date.fromisoformat(week), run_id, len(files), size)

    def _partitions(self, folder: str, key: str) -> list[str]:
        """Return the values of the ``key=value`` folders in a folder, sorted; [] if it has none."""
        with storage_errors("reading the lake", folder):
            try:
                names = [path.rsplit("/", 1)[-1] for path in self.fs.ls(folder, detail=False, refresh=True)]
            except FileNotFoundError:
                return []
        return sorted(name.removeprefix(f"{key}=") for name in names if name.startswith(f"{key}="))

    def _products(self) -> list[str]:
        return list(filter(PRODUCT_NAME.fullmatch, self._partitions(f"{self._base}/runs", "product")))

    def _weeks(self, product: str) -> list[str]:
        check_names(product)
        weeks = self._partitions(product_folder(self._base, product), "week_start")
        return list(filter(_WEEK.fullmatch, weeks))

    def _run_ids(self, product: str, week: str) -> list[str]:
        return self._partitions(week_folder(self._base, product, week), "run")

    def _week_of(self, product: str, run_id: str) -> str | None:
        weeks = reversed(self._weeks(product))
        return next((week for week in weeks if self._is_committed(product, week, run_id)), None)

    def _is_committed(self, product: str, week: str, run_id: str) -> bool:
        return bool(self.fs.exists(f"{run_folder(self._base, product, week, run_id)}/{MANIFEST}"))

    def _runs_of_week(self, product: str, week: str, failures: list[str] | None = None) -> list[Run]:
        ids = passing_over(failures, partial(self._run_ids, product, week)) or []
        read = [passing_over(failures, partial(self._read, product, week, run_id)) for run_id in ids]
        runs = [run for run in read if run is not None]
        return sorted(runs, key=lambda run: (run.manifest.started_at, run.manifest.run_id))

    def _manifest_text(self, path: str) -> bytes:
        if not is_local(self.fs):
            return bytes(self.fs.cat_file(path))
        with open(path, "rb") as file:  # it may be a link to anything
            return file.read(_LONGEST_MANIFEST)

    def _read(self, product: str, week: str, run_id: str) -> Run | None:
        base = run_folder(self._base, product, week, run_id)
        with storage_errors("reading a manifest", base):
            try:
                text = self._manifest_text(f"{base}/{MANIFEST}")
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
