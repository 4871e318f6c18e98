"""What the lake asks of the place where runs are written: what a disk and S3 do differently."""

from collections.abc import Callable, Mapping
from typing import Protocol

from churn.lake.manifest import FileStamp

# A lock taken on another host may not be visible from here; no run takes this long.
STALE_SECONDS = 48 * 3600


class StagedRun(Protocol):
    """The right of one process to write one run, until it commits, abandons or leaves it.

    Attributes:
        base: the folder to write to, a path in the store's file system.
        checkpoint: where ``save_checkpoint`` writes, a path in it too.
    """

    base: str
    checkpoint: str

    def save_checkpoint(self, checkpoint: bytes) -> None:
        """Write down, in one step, what a process needs that adopts the run."""

    def commit(self, known: Mapping[str, FileStamp], finish: Callable[[dict[str, FileStamp]], bytes]) -> str:
        """Put the run in its place in one step, and end the claim; return the run's folder there.

        Args:
            known: stamps of files that were made as they were written; such a file need not be read again.
            finish: given the stamp of every file, returns the manifest.

        Raises:
            RunError: somebody else has committed it, or taken it for dead.
            OSError: the store refused; the run can still be abandoned.
        """

    def detach(self) -> bool:
        """End the claim, if what is there may be adopted; tell whether it was."""

    def discard(self) -> None:
        """End the claim, and remove what was written; what cannot be removed now is swept later."""


class StagingArea(Protocol):
    """Where runs are written until they are committed.

    Attributes:
        resumable: whether a run that has ended can be adopted by another process.
    """

    resumable: bool

    def claim(self, product: str, week: str, run_id: str) -> StagedRun | None:
        """Sweep what dead runs left, and claim a run id; None: it is claimed."""

    def resume(self, product: str, week: str) -> tuple[str, StagedRun] | None:
        """Claim a dead run of this week that has a checkpoint; return its id and the claim."""

    def refresh_pointer(self, product: str, content: Callable[[], bytes | None]) -> None:
        """Sweep what dead runs left, and make the product's ``current.json`` what ``content`` says.

        Of several that do it at once, the file ends up as the one says that looked last. None: leave it.
        """

    def remove(self, product: str, week: str, run_id: str) -> None:
        """Remove a committed run: out of every reader's sight first, and then its files."""
