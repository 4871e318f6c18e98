"""How long each stage of a run took and how many rows it made: for terminal, manifest and report."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageRecord:
    """One stage that ended well.

    Attributes:
        name: the stage, for SQL steps the table they made.
        part: which part of the run it belongs to: ``prepare``, ``train``, ``score`` or ``publish``.
        seconds: wall time.
        rows: rows made, where that means anything.
    """

    name: str
    part: str
    seconds: float
    rows: int | None


@dataclass
class Count:
    """What a stage fills in while it runs."""

    rows: int | None = None


@dataclass
class StageTimer:
    """The stages of one run, in the order in which they ended. Safe to use from several threads."""

    product: str
    records: list[StageRecord] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @contextmanager
    def stage(self, name: str, part: str) -> Iterator[Count]:
        """Time a block, log one line when it ends well, and keep the record."""
        count, start = Count(), time.perf_counter()
        yield count
        record = StageRecord(name, part, time.perf_counter() - start, count.rows)
        with self._lock:
            self.records.append(record)
        rows = "" if record.rows is None else f"{record.rows:,} rows"
        logger.info("%-10s %-8s %-20s %16s %7.1f s", self.product, part, name, rows, record.seconds)

    def log(self, part: str, sentence: str) -> None:
        """Log how far a stage is."""
        logger.info("%-10s %-8s %s", self.product, part, sentence)

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each stage; the steps of one graph run side by side, so they may overlap."""
        return {f"{record.part}.{record.name}": round(record.seconds, 3) for record in self.records}
