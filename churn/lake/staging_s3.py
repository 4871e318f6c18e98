"""Runs that are being written on S3, which has no rename and no locks.

A run is written to its final folder; it exists for readers once its manifest does.

::

    ROOT/runs/product=<p>/week_start=<Monday>/run=<run id>/   a run; it exists once its manifest.json does
    ROOT/.staging/product=<p>/<run id>.owner                  names the run's process, or says that it ended
    ROOT/.staging/product=<p>/copy/                           temporary files of a warehouse that loads a run

Every step that only one process may do is a conditional write, which succeeds for one of them:

- an owner file is made with ``If-None-Match: *``: a run id is claimed once;
- a manifest is made with ``If-None-Match: *``: a run is committed once;
- ``current.json`` is replaced with ``If-Match``, and the loser lists the committed runs again: an older run
  never replaces a newer one;
- a sweep replaces the owner file of a dead run with ``If-Match``, and a live run does the same just before
  its commit: so a run is either swept or committed, never both.

Nothing proves a process dead here. Its run is swept when its owner file is older than 48 hours, or at once by
the process that failed to remove it. An owner file that says ``ended`` stays for another 48 hours, so that
files of workers that outlived their run are swept too. Runs cannot be resumed: a run that ends without a
commit leaves nothing, or files that no reader looks at.
"""

import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import file_digest
from typing import Any

from fsspec import AbstractFileSystem
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_chain, wait_fixed

from churn.core.errors import RunError
from churn.core.io_errors import storage_errors
from churn.lake.claims import OWNER_SUFFIX
from churn.lake.manifest import FileStamp
from churn.lake.paths import MANIFEST, copy_folder, pointer, run_folder, staging_folder
from churn.lake.staging import STALE_SECONDS, StagedRun, StagingArea

_PROCESS = secrets.token_hex(8)
_CONFLICT_PAUSES = (0.05, 0.2, 0.5, 1.0, 2.0)
_DELETED_AT_ONCE = 1_000  # S3's limit
_READERS = 8

_claimed_here: set[str] = set()  # owner files of this process' runs
_logger = logging.getLogger(__name__)


class S3StagedRun(StagedRun):
    """The right to write one run."""

    def __init__(self, staging_area: "S3Staging", product: str, week: str, run_id: str, tag: str) -> None:
        """Write a run whose owner file this process has created; ``tag`` is its ETag."""
        self.base = run_folder(staging_area.root, product, week, run_id)
        self.checkpoint = f"{self.base}/.checkpoint-{week}.json"
        self._staging = staging_area
        self._week = week
        self._owner = staging_area.owner_file(product, run_id)
        self._tag: str | None = tag

    def commit(self, known: Mapping[str, FileStamp], finish: Callable[[dict[str, FileStamp]], bytes]) -> str:
        """Remove scratch (names that begin with a dot), then create the manifest."""
        if not self._renew("writing"):
            self._end()
            raise RunError(
                f"run {self.base} was taken for dead ({STALE_SECONDS // 3600} hours without a commit) and is "
                "being removed: make it again"
            )
        sizes = self._staging.list(self.base)
        scratch = [name for name in sizes if any(part.startswith(".") for part in name.split("/"))]
        self._staging.delete(f"{self.base}/{name}" for name in scratch)
        self._staging.abort_uploads(self.base)
        files = self._stamps({name: sizes[name] for name in sorted(sizes.keys() - scratch)}, known)
        try:
            put(self._staging.fs, f"{self.base}/{MANIFEST}", finish(files), IfNoneMatch="*")
        except FileExistsError as error:
            self._end()  # the files belong to the other process's run
            raise RunError(f"run {self.base} has been committed by somebody else: make a new one") from error
        try:
            with storage_errors("ending the claim", self._owner):
                self._staging.delete([self._owner])
        except RunError as error:
            _logger.warning("%s; the next run of this product does it", error)
        self._end()
        return self.base

    def discard(self) -> None:
        """Remove the files unless the run was taken for dead."""
        if self._tag is None:
            return
        try:
            with storage_errors("removing the run", self.base):
                if self._renew("ended"):
                    self._staging.clear(self.base)
        except RunError as error:
            _logger.warning("%s; the next run of this product tries again", error)
        self._end()

    def _renew(self, state: str) -> bool:
        """Renew the claim; return whether the run still belongs to this process."""
        try:
            self._tag = put(self._staging.fs, self._owner, _claim_text(self._week, state), IfMatch=self._tag)
        except FileExistsError:
            return False
        return True

    def _end(self) -> None:
        self._tag = None
        _claimed_here.discard(self._owner)

    def _stamps(self, sizes: Mapping[str, int], known: Mapping[str, FileStamp]) -> dict[str, FileStamp]:
        """Return the stamp of every file; for a known one only the size is compared."""
        missing = sorted(known.keys() - sizes.keys())
        wrong = [name for name in known.keys() & sizes.keys() if known[name].size != sizes[name]]
        if missing or wrong:
            listed = ", ".join([*missing, *sorted(wrong)][:5])
            raise RunError(f"{self.base} lost or changed {listed}: run again")

        def stamp(name: str) -> FileStamp:
            if name in known:
                return known[name]
            with self._staging.fs.open(f"{self.base}/{name}", "rb", cache_type="readahead") as file:
                return FileStamp(size=sizes[name], sha256=file_digest(file, "sha256").hexdigest())

        with ThreadPoolExecutor(_READERS) as pool:
            return dict(zip(sizes, pool.map(stamp, sizes), strict=True))


class S3Staging(StagingArea):
    """The runs of a lake on S3 that are not committed."""

    resumable = False

    def __init__(self, fs: AbstractFileSystem, root: str) -> None:
        """Store an ``s3fs.S3FileSystem`` that caches no listings, and the root ``bucket/prefix`` in it."""
        self.fs = fs
        self.root = root

    def owner_file(self, product: str, run_id: str) -> str:
        """Return the path of a run's owner file."""
        return f"{staging_folder(self.root, product)}/{run_id}{OWNER_SUFFIX}"

    def claim(self, product: str, week: str, run_id: str) -> S3StagedRun | None:
        """Create the owner file, after a sweep; None if it exists or the run is committed."""
        self._sweep(product)
        owner = self.owner_file(product, run_id)
        if owner in _claimed_here:
            return None
        _claimed_here.add(owner)  # first, or another thread's sweep would consider the run dead
        try:
            tag = put(self.fs, owner, _claim_text(week, "writing"), IfNoneMatch="*")
        except FileExistsError:
            _claimed_here.discard(owner)
            return None
        except BaseException:
            _claimed_here.discard(owner)
            raise
        if self.fs.exists(f"{run_folder(self.root, product, week, run_id)}/{MANIFEST}"):
            _claimed_here.discard(owner)
            self.delete([owner])  # it was committed while this process claimed it
            return None
        return S3StagedRun(self, product, week, run_id, tag)

    def refresh_pointer(self, product: str, content: Callable[[], bytes | None]) -> None:
        """Replace the pointer if it changed and nobody else did so meanwhile; else look again."""
        self._sweep(product)
        path = pointer(self.root, product)
        while True:
            present = read(self.fs, path)  # before the runs, so that a newer pointer is not replaced
            wanted = content()
            if wanted is None or (present is not None and present[0] == wanted):
                return
            condition = {"IfNoneMatch": "*"} if present is None else {"IfMatch": present[1]}
            try:
                put(self.fs, path, wanted, **condition)
                return
            except FileExistsError:
                # Other processes write it too; each round one of them succeeds.
                time.sleep(0.01 + secrets.randbelow(100) / 1000)

    def remove(self, product: str, week: str, run_id: str) -> None:
        """Remove a run; after a kill, a sweep finishes by the owner file."""
        owner, base = self.owner_file(product, run_id), run_folder(self.root, product, week, run_id)
        self.fs.pipe_file(owner, _claim_text(week, "ended"))
        self.clear(base)
        self.delete([owner])

    def clear(self, base: str) -> None:
        """Remove a run: its manifest first, which hides it."""
        self.delete([f"{base}/{MANIFEST}"])
        self.delete(f"{base}/{name}" for name in self.list(base))
        self.abort_uploads(base)

    def abort_uploads(self, base: str) -> None:
        """Remove the parts of unfinished uploads below a folder, which are invisible but cost money."""
        bucket, _, key = base.partition("/")
        answer = self.fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=f"{key}/")
        for upload in answer.get("Uploads", []):
            with suppress(FileNotFoundError):  # the upload has just ended
                names = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
                self.fs.call_s3("abort_multipart_upload", Bucket=bucket, **names)

    def list(self, base: str) -> dict[str, int]:
        """Return the sizes of the files below a folder, by their paths below it."""
        return {path[len(base) + 1 :]: info["size"] for path, info in self._find(base).items()}

    def delete(self, paths: Iterable[str]) -> None:
        """Remove files; missing ones are ignored."""
        keys = [path.partition("/")[2] for path in paths]
        bucket = self.root.partition("/")[0]
        for start in range(0, len(keys), _DELETED_AT_ONCE):
            objects = [{"Key": key} for key in keys[start : start + _DELETED_AT_ONCE]]
            delete = {"Objects": objects, "Quiet": True}
            # s3fs' bulk_delete ignores the errors in S3's answer.
            refused = self.fs.call_s3("delete_objects", Bucket=bucket, Delete=delete).get("Errors", [])
            if refused:
                first = refused[0]
                raise OSError(
                    f"could not remove {first.get('Key')} and {len(refused) - 1} more: {first.get('Message')}"
                )

    def _find(self, folder: str) -> dict[str, Any]:
        try:
            listing: dict[str, Any] = self.fs.find(folder, detail=True)
        except FileNotFoundError:
            return {}
        return {path: info for path, info in listing.items() if path.startswith(f"{folder}/")}

    def _sweep(self, product: str) -> None:
        """Remove the files of dead runs; the module's docstring says which are dead."""
        copies = copy_folder(self.root, product)
        for owner, info in self._find(staging_folder(self.root, product)).items():
            if owner.startswith(f"{copies}/") and _age(info) > STALE_SECONDS:
                self.delete([owner])
            if owner in _claimed_here or not owner.endswith(OWNER_SUFFIX):
                continue
            content = read(self.fs, owner)
            if content is None:
                continue  # the run has just ended
            claim, old = json.loads(content[0]), _age(info) > STALE_SECONDS
            run_id = owner.rsplit("/", 1)[-1].removesuffix(OWNER_SUFFIX)
            base = run_folder(self.root, product, claim["week"], run_id)
            if claim["state"] != "ended":
                if not old and claim["process"] != _process():
                    continue
                if self.fs.exists(f"{base}/{MANIFEST}"):
                    self.delete([owner])  # committed; its process ended before removing it
                    continue
                try:
                    put(self.fs, owner, _claim_text(claim["week"], "ended"), IfMatch=content[1])
                except FileExistsError:
                    continue  # the run lives, or another process sweeps it
                _logger.info("removing the files of a dead run in %s", base)
            self.clear(base)
            if claim["state"] == "ended" and old:
                self.delete([owner])


def put(fs: AbstractFileSystem, path: str, content: bytes, **condition: Any) -> str:
    """Write a small file on a condition (``IfNoneMatch="*"`` or ``IfMatch=<ETag>``); return its ETag.

    S3's answer can be lost after the write. The repeated request then fails its condition; if the file holds
    the same content, this call wrote it.

    Raises:
        FileExistsError: the condition does not hold: another process has written or removed the file.
        OSError: the store refused.
    """
    bucket, _, key = path.partition("/")
    policy = Retrying(
        stop=stop_after_attempt(1 + len(_CONFLICT_PAUSES)),
        wait=wait_chain(*map(wait_fixed, _CONFLICT_PAUSES)),
        retry=retry_if_exception(lambda error: _error_code(error) == "ConditionalRequestConflict"),
        reraise=True,
    )
    try:
        answer = policy(fs.call_s3, "put_object", Bucket=bucket, Key=key, Body=content, **condition)
    except OSError as error:
        if _error_code(error) not in ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey"):
            raise
        present = read(fs, path)
        if present is not None and present[0] == content:
            return present[1]
        raise FileExistsError(f"{path} was written by another process") from error
    return str(answer["ETag"])


def _error_code(error: BaseException) -> str | None:
    """Return S3's code of an error, if S3 answered with one."""
    response: Mapping[str, Any] = getattr(error.__cause__, "response", {})
    code: str | None = response.get("Error", {}).get("Code")
    return code


def read(fs: AbstractFileSystem, path: str) -> tuple[bytes, str] | None:
    """Return a small file's content and its ETag; None if it does not exist."""
    while True:
        try:
            # Fails if the file is replaced between HEAD, which returned the ETag, and the read.
            with fs.open(path, "rb") as file:
                return bytes(file.read()), str(file.details["ETag"])
        except FileNotFoundError:
            return None
        except OSError as error:
            if type(error).__name__ != "FileExpired":
                raise  # else it was replaced between the two requests


def _claim_text(week: str, state: str) -> bytes:
    """Return an owner file's content; its nonce makes every ETag different."""
    claim = {"week": week, "state": state, "process": _process(), "nonce": secrets.token_hex(8)}
    return json.dumps(claim).encode()


def _process() -> str:
    return f"{_PROCESS}-{os.getpid()}"  # a fork has another pid


def _age(info: Mapping[str, Any]) -> float:
    modified: datetime = info["LastModified"]
    return (datetime.now(UTC) - modified).total_seconds()
