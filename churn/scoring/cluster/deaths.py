"""Deaths of worker processes on this machine: what is told of them, and when there is no hope."""

import logging
import signal

from churn.config.cluster import ClusterSettings
from churn.scoring.cluster.size import MEMORY_PER_WORKER

_TOLD_EACH = 3  # later deaths: only when their number has doubled
_MOST_IDLE = 3  # workers over their limit of memory while they had nothing to do
_MEGABYTES = MEMORY_PER_WORKER // 1_000_000
_MOST_IN_A_ROW = 24  # without a partition that was scored; one that kills its workers is named after 8

_logger = logging.getLogger(__name__)


class Deaths:
    """Counts the deaths of one cluster's workers. The cluster's thread counts, another one asks.

    Args:
        settings: the cluster.
        limit: bytes that each worker may hold; None without a limit.
    """

    def __init__(self, settings: ClusterSettings, limit: int | None) -> None:
        """Start with no death."""
        self._settings = settings
        self._limit = limit
        self._total = 0
        self._in_a_row = 0
        self._by_memory = 0
        self._idle = 0
        self._bytes = 0  # that the last worker held which died of memory
        self._memory_told = False
        self._stopping = 0  # workers over the limit whose end is not noted yet

    def over_limit(self, held: int, *, idle: bool) -> None:
        """Note that a worker is stopped because it holds too much memory.

        Args:
            held: bytes that it holds.
            idle: whether it had nothing to do.
        """
        self._by_memory += 1
        self._idle += idle
        self._bytes = held
        self._stopping += 1

    def ended(self, exit_code: int) -> None:
        """Note that a worker's process has ended by itself, and log it."""
        self._total += 1
        self._in_a_row += 1
        by_memory = self._stopping > 0
        reason = "it held too much memory" if by_memory else _words(exit_code)
        self._stopping -= by_memory
        if self._by_memory >= 2 and not self._memory_told:
            self._memory_told = True
            _logger.warning("%s", self._memory_words())
        elif self._memory_told and by_memory:
            return
        elif self._total <= _TOLD_EACH:
            _logger.warning("a worker died (%s); another takes its place", reason)
        elif self._total & (self._total - 1) == 0:
            _logger.warning("%d workers have died so far (the last: %s)", self._total, reason)

    def scored(self) -> None:
        """Note that a partition was scored."""
        self._in_a_row = 0

    def hopeless(self) -> str | None:
        """Return why no worker lives long enough, and what to do; None while there is hope."""
        if self._idle >= _MOST_IDLE:
            return self._memory_words()
        if self._in_a_row >= _MOST_IN_A_ROW:
            advice = self._memory_words() if self._by_memory >= 2 else self.memory_advice()
            return f"{self._in_a_row} worker processes died one after the other: {advice}"
        return None

    def memory_advice(self) -> str:
        """Return how a worker gets more memory."""
        return (
            f"raise cluster.memory_limit (now {self._limit_words()}) to at least {_MEGABYTES} MB for each "
            "thread, or start fewer workers (cluster.workers)"
        )

    def _memory_words(self) -> str:
        return (
            f"{self._by_memory} workers died because they held more memory than cluster.memory_limit allows "
            f"(the last one {self._bytes / 1e6:,.0f} MB): {self.memory_advice()}"
        )

    def _limit_words(self) -> str:
        setting = self._settings.memory_limit
        return setting if self._limit is None else f"{setting}: {self._limit / 1e6:,.0f} MB"


def _words(exit_code: int) -> str:
    """Say how a process ended, by its exit code."""
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    return f"{name}, as where the machine has no memory left" if -exit_code == signal.SIGKILL else name
