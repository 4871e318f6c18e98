"""What a calibration asks workers: partitions that do nothing, and how much a worker has used."""

import resource
import sys
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Nothing:
    """A partition without work, and what comes of it."""

    index: int
    rows: int = 0

    @property
    def name(self) -> str:
        """Its name in messages."""
        return f"nothing-{self.index:06d}"


def do_nothing(task: Nothing) -> Nothing:
    """Return the task."""
    return task


def cpu_seconds() -> float:
    """Return the CPU seconds of this process, of all its threads."""
    return time.process_time()


def peak_bytes() -> float:
    """Return the largest resident set that this process ever had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else 1024 * peak)
