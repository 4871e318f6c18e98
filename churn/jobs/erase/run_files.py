"""Users taken out of one run's files, and runs that are not committed found.

A committed run is erased from in three steps: its manifest names the files that are about to change
(``erasing``: their stamps are void); each file is written anew without the users and put in its place in one
step; the manifest gets the new stamps and row counts, and a note of how many users went (``erased``). A
reader finds whole files at any moment. What a kill cuts short, a repeat finishes: files that hold none of the
users any more are only stamped.
"""

import json
import logging
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from hashlib import file_digest
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem

from churn.core.errors import RunError
from churn.core.files import file_lock, flush, replace_file, stamp
from churn.core.io_errors import storage_errors
from churn.core.tempdirs import temporary_folder
from churn.jobs.erase.inventory import RUN_DATASETS
from churn.jobs.erase.parquet_rewrite import count_rows_of, without_rows_of
from churn.lake import staging_s3
from churn.lake.claims import OWNER_SUFFIX, sweep, take_over
from churn.lake.filesystem import is_local
from churn.lake.manifest import Erasure, FileStamp, Manifest
from churn.lake.paths import MANIFEST, path_inside, run_folder
from churn.lake.run import REMAKE, Run

_SCRATCH = ".erasing"
_USER = "user_id"

logger = logging.getLogger(__name__)


def erase_from_run(run: Run, ids: pa.Array, *, dry_run: bool) -> dict[str, int]:
    """Remove users from a committed run; return the rows by dataset, of those that have any.

    Raises:
        RunError: a file is damaged, the store refused, or the run was changed or removed meanwhile.
    """
    rows = _count(run, ids)
    if not dry_run and (rows or run.manifest.erasing):
        _erase(run, rows, ids)
    by_dataset: Counter[str] = Counter()
    for name, count in rows.items():
        by_dataset[_dataset(name)] += count
    return dict(by_dataset)


def _count(run: Run, ids: pa.Array) -> dict[str, int]:
    """Return the rows of users in each file of a run that has any, by the file's path in the run."""
    found = {}
    for name in sorted(run.manifest.files):
        column = RUN_DATASETS.get(_dataset(name))
        if column is not None and name.endswith(".parquet"):
            with _opened(run, name) as source:
                found[name] = count_rows_of(source, column, ids)
    return {name: rows for name, rows in found.items() if rows}


def _erase(run: Run, rows: Mapping[str, int], ids: pa.Array) -> None:
    file = _ManifestFile(run)
    _sweep(run)
    changing = tuple(sorted({*rows, *run.manifest.erasing}))
    file.replace(run.manifest.model_copy(update={"erasing": changing}))
    stamps = {name: _rewrite(run, name, ids) if name in rows else _stamp(run, name) for name in changing}
    counted = {name: _rows_of(run, name) for name in RUN_DATASETS if name in run.manifest.rows}
    gone = run.manifest.rows.get("scores", 0) - counted.get("scores", 0)
    note = Erasure(erased_at=datetime.now(UTC).replace(microsecond=0), users=gone)
    ending = {
        "rows": run.manifest.rows | counted,
        "files": run.manifest.files | stamps,
        "erased": (*run.manifest.erased, note),
        "erasing": (),
    }
    file.replace(run.manifest.model_copy(update=ending))


class _ManifestFile:
    """A run's manifest, replaced in one step; on S3 only while it is what was read or written last."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._path = f"{run.base}/{MANIFEST}"
        self._tag: str | None = None
        if not is_local(run.fs):
            with storage_errors("reading a manifest", run.base):
                found = staging_s3.read(run.fs, self._path)
            if found is None or Manifest.model_validate_json(found[0]) != run.manifest:
                raise self._changed()
            self._tag = found[1]

    def replace(self, manifest: Manifest) -> None:
        content = manifest.model_dump_json(indent=2).encode()
        with storage_errors("erasing users", self._run.base):
            try:
                if self._tag is None:
                    if not self._run.fs.exists(self._path):
                        raise self._changed()
                    replace_file(self._path, content)
                else:
                    self._tag = staging_s3.put(self._run.fs, self._path, content, IfMatch=self._tag)
            except FileExistsError as error:
                if not self._run.fs.exists(self._path):  # pruned: what was written since is nobody's
                    self._run.fs.rm(self._run.base, recursive=True)
                raise self._changed() from error

    def _changed(self) -> RunError:
        return RunError(
            f"run {self._run.manifest.run_id} at {self._run.base} was changed or pruned meanwhile"
        )


def _sweep(run: Run) -> None:
    """Remove scratch files of an erasure that was killed."""
    with storage_errors("erasing users", run.base):
        for path in run.fs.find(run.base):
            if path.rpartition("/")[2].startswith("."):
                run.fs.rm_file(path)


def _rewrite(run: Run, name: str, ids: pa.Array) -> FileStamp:
    """Rewrite a file without the users, and replace it in one step."""
    path, column = _path(run, name), RUN_DATASETS[_dataset(name)]
    if is_local(run.fs) and os.path.realpath(path) != os.path.join(os.path.realpath(run.base), name):
        raise RunError(
            f"{path} is a link: what it leads to is not written to. Erase the users there, put the file "
            "itself into the run's folder, and erase again"
        )
    folder, file_name = os.path.split(path)
    local = is_local(run.fs)
    # On a disk beside the file, where a rename is one step; readers pass over names that begin with a dot.
    with nullcontext(folder) if local else temporary_folder() as scratch_place:
        scratch_name = f".{file_name}{_SCRATCH}"
        scratch = f"{scratch_place}/{scratch_name}"
        with _opened(run, name) as source, open(scratch, "wb") as target:
            without_rows_of(source, target, column, ids)
        with storage_errors("erasing users", path):
            size, sha256 = stamp(str(scratch_place), [scratch_name], durably=local)[scratch_name]
            if local:
                shutil.copymode(path, scratch)
                os.replace(scratch, path)
                flush(folder)
            else:
                run.fs.put_file(scratch, path)
    return FileStamp(size=size, sha256=sha256)


def _stamp(run: Run, name: str) -> FileStamp:
    """Stamp a file that an interrupted erasure may have rewritten."""
    path = _path(run, name)
    with storage_errors("reading the run", path), run.fs.open(path, "rb") as file:
        return FileStamp(size=run.fs.size(path), sha256=file_digest(file, "sha256").hexdigest())


def _rows_of(run: Run, dataset: str) -> int:
    rows = 0
    for name in run.manifest.files:
        if _dataset(name) == dataset:
            with _opened(run, name) as source:
                rows += pq.read_metadata(source).num_rows
    return rows


def _path(run: Run, name: str) -> str:
    return path_inside(run.base, (name,))


def _dataset(name: str) -> str:
    return name.partition("/")[0]


@contextmanager
def _opened(run: Run, name: str) -> Iterator[Any]:
    """Open a Parquet file of a run, and name it in errors; one that is not valid is damaged."""
    try:
        with (
            storage_errors("erasing users", f"{run.base}/{name}"),
            run.fs.open(_path(run, name), "rb") as file,
        ):
            yield file
    except (pa.ArrowInvalid, pa.ArrowKeyError, KeyError) as error:
        raise RunError(f"{run.base}/{name} is damaged ({error}). {REMAKE}") from error


# --- runs that are not committed ---


def erase_unfinished(fs: AbstractFileSystem, root: str, ids: pa.Array, *, dry_run: bool) -> dict[str, int]:
    """Remove the unfinished runs of dead processes that hold any of the users, with all that is in them.

    Returns:
        Rows of the users by run: ``food, unfinished run 20260629t180000z-3fa1c2``.

    Raises:
        RunError: a run is being written, or may be: it may have read the users already.
    """
    found: dict[str, int] = {}
    left: list[str] = []
    with storage_errors("reading the lake", root):
        for staging in _folders(fs, f"{root}/.staging"):
            with file_lock(f"{staging}/.lock") if is_local(fs) else nullcontext():
                rows_of = _erase_unfinished_of(fs, root, staging, ids, dry_run=dry_run)
            product = staging.rpartition("product=")[2]
            for base, rows in rows_of.items():
                name = f"{product}, unfinished run {base.rpartition('/')[2].removeprefix('run=')}"
                if rows is None:
                    left.append(name)
                elif rows:
                    found[name] = rows
    if left:
        raise RunError(
            f"{'; '.join(left)}: it is being written, or a process that died elsewhere has left it (that "
            "goes after 48 hours): erase again when it has ended"
        )
    return found


def _erase_unfinished_of(
    fs: AbstractFileSystem, root: str, staging: str, ids: pa.Array, *, dry_run: bool
) -> dict[str, int | None]:
    """Return the users' rows in each unfinished run that is (or would be) removed; None: it stays."""
    claimed = {} if is_local(fs) else _claimed_on_s3(fs, root, staging)
    rows = {base: _rows_below(fs, base, ids) for base in (_folders(fs, staging) if is_local(fs) else claimed)}
    if dry_run:
        return {base: found for base, (found, _) in rows.items()}
    if not is_local(fs):
        return {base: None for base, (found, _) in rows.items() if found or claimed[base]}
    holding = [base for base, (found, unclear) in rows.items() if found or unclear]
    sweep(staging, spare=lambda folder: folder not in holding)
    return {
        base: found if not os.path.exists(base) else None
        for base, (found, _) in rows.items()
        if base in holding or not _is_dead(base)
    }


def _is_dead(staging: str) -> bool:
    """Return whether no process of this host writes a folder any more; it may be resumable."""
    owner = take_over(staging)
    if owner is None:
        return not os.path.exists(staging)
    owner.close()
    return True


def _folders(fs: AbstractFileSystem, folder: str) -> list[str]:
    with suppress(FileNotFoundError):
        return sorted(info["name"] for info in fs.ls(folder, detail=True) if info["type"] == "directory")
    return []


def _claimed_on_s3(fs: AbstractFileSystem, root: str, staging: str) -> dict[str, bool]:
    """Return the folders of a product's runs that are not committed, and whether each may be written now."""
    found = {}
    for owner in sorted(path for path in fs.find(staging) if path.endswith(OWNER_SUFFIX)):
        claim = staging_s3.read(fs, owner)
        if claim is not None:
            try:
                content = json.loads(claim[0])
                week, state = str(content["week"]), content["state"]
            except (ValueError, KeyError, TypeError) as error:
                raise RunError(f"{owner} is damaged: remove it, and erase again") from error
            product = staging.rpartition("product=")[2]
            run_id = owner.rpartition("/")[2].removesuffix(OWNER_SUFFIX)
            base = run_folder(root, product, week, run_id)
            if not fs.exists(f"{base}/{MANIFEST}"):
                found[base] = state != "ended"
    return found


def _rows_below(fs: AbstractFileSystem, base: str, ids: pa.Array) -> tuple[int, bool]:
    """Return the users' rows below a folder, and whether a file cannot be read."""
    return _rows_in(fs, (path for path in sorted(fs.find(base)) if path.endswith(".parquet")), ids)


def _rows_in(fs: AbstractFileSystem, paths: Iterable[str], ids: pa.Array) -> tuple[int, bool]:
    """Return the users' rows in Parquet files, and whether one cannot be read."""
    rows, unclear = 0, False
    for path in paths:
        try:
            with fs.open(path, "rb") as source:
                if _USER in pq.read_schema(source).names:
                    source.seek(0)
                    rows += count_rows_of(source, _USER, ids)
        except (pa.ArrowInvalid, FileNotFoundError):  # half-written, or finished and moved meanwhile
            unclear = True
    return rows, unclear


# --- files that no manifest lists ---


def check_unlisted(
    fs: AbstractFileSystem, root: str, runs: Sequence[Run], ids: pa.Array, failures: list[str]
) -> None:
    """Report folders of the lake with Parquet files that no manifest lists, and that hold one of the users.

    Such as a run whose manifest was removed or damaged, or a file that was copied into the lake. Folders
    that ``failures`` names already are passed over.

    Args:
        runs: the runs whose manifests could be read.
        failures: gets a message for each folder.
    """
    listed = {f"{run.base}/{name}" for run in runs for name in run.manifest.files}
    unlisted: dict[str, list[str]] = {}
    with storage_errors("reading the lake", root):
        for path in sorted(fs.find(f"{root}/runs")):
            name = path.rpartition("/")[2]
            if name.endswith(".parquet") and not name.startswith(".") and path not in listed:
                unlisted.setdefault(_folder_of(path, root), []).append(path)
        for folder, paths in unlisted.items():
            if any(re.search(rf"{re.escape(folder)}[/ ]", message) for message in failures):
                continue
            rows, unclear = _rows_in(fs, paths, ids)
            if rows or unclear:
                failures.append(
                    f"{folder} has files that no manifest lists, with rows of these users or not readable: "
                    "restore the folder from a backup or remove it, and erase again"
                )


def _folder_of(path: str, root: str) -> str:
    """Return the run's folder that a file is in; outside of runs' folders, the folder it is in."""
    within = re.match(r"/runs/product=[^/]+/week_start=[^/]+/run=[^/]+(?=/)", path[len(root) :])
    return f"{root}{within[0]}" if within else path.rpartition("/")[0]
