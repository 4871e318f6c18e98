"""Protocols of runs that are being written: a disk and S3 implement them differently."""

from collections.abc import Callable, Mapping
from typing import Protocol

from churn.lake.manifest import FileStamp

# A lock taken on another host may not be visible from here; no run takes this long.
STALE_SECONDS = 48 * 3600


class StagedRun(Protocol):
    """The right of one process to write one run, until it commits, discards or detaches it.

    Attributes:
        base: the folder to write to, a path in the store's file system.
        checkpoint: path of the file that ``save_checkpoint`` writes.
    """

    base: str
    checkpoint: str

    def save_checkpoint(self, checkpoint: bytes) -> None:
        """Atomically write what another process needs to resume the run, where runs can be resumed."""
        return

    def commit(self, known: Mapping[str, FileStamp], finish: Callable[[dict[str, FileStamp]], bytes]) -> str:
        """Publish the run in one step and end the claim; return the run's final folder.

        Args:
            known: stamps of files that were computed while writing; these files need not be read again.
            finish: given the stamp of every file, returns the manifest.

        Raises:
            RunError: another process has committed it, or considered it dead.
            OSError: the store refused; the run can still be discarded.
        """

    def detach(self) -> bool:
        """End the claim if the run can be resumed; return whether it was ended."""
        return False

    def discard(self) -> None:
        """End the claim and remove the files; what cannot be removed now is swept later."""


class StagingArea(Protocol):
    """The place of runs until they are committed.

    Attributes:
        resumable: whether another process can resume a run that has ended.
    """

    resumable: bool

    def claim(self, product: str, week: str, run_id: str) -> StagedRun | None:
        """Remove the files of dead runs and claim a run id; None if it is claimed already."""

    def resume(self, product: str, week: str) -> tuple[str, StagedRun] | None:
        """Claim a dead run of this week that has a checkpoint; return its id and the claim."""
        return None

    def refresh_pointer(self, product: str, content: Callable[[], bytes | None]) -> None:
        """Remove the files of dead runs and write ``content`` to the product's ``current.json``.

        Safe concurrently: the most recent view wins. None leaves the file unchanged.
        """

    def remove(self, product: str, week: str, run_id: str) -> None:
        """Remove a committed run: first hide it from readers, then delete its files."""
