"""Seconds and rows of each stage of a run, for the terminal, the manifest and the report."""

import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

logger = logging.getLogger(__name__)
live = logging.getLogger("churn.core.live")  # for a terminal: each message takes the place of the one before
live.setLevel(logging.WARNING)  # nothing, unless the command line has a terminal

_LIVE_SECONDS, _LOG_SECONDS = 1.0, 30.0


@dataclass(frozen=True)
class StageRecord:
    """One stage that succeeded.

    Attributes:
        name: the stage; for an SQL step its table.
        part: the part of the run: ``prepare``, ``train``, ``score`` or ``publish``.
        seconds: wall time.
        rows: rows made; None if the stage makes no rows.
    """

    name: str
    part: str
    seconds: float
    rows: int | None


@dataclass
class Count:
    """Holds the number of rows that a stage sets while it runs."""

    rows: int | None = None


@dataclass
class StageTimer:
    """Records of the stages of one run, in the order in which they ended. Thread-safe."""

    product: str
    records: list[StageRecord] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _shown_at: float = -math.inf
    _logged_at: float = math.inf

    @contextmanager
    def stage(self, name: str, part: str) -> Iterator[Count]:
        """Time a block; if it succeeds, log one line and keep a record."""
        count, start = Count(), time.perf_counter()
        try:
            yield count
        finally:
            live.info("")
        record = StageRecord(name, part, time.perf_counter() - start, count.rows)
        with self._lock:
            self.records.append(record)
        rows = "" if record.rows is None else f"{record.rows:,} rows"
        logger.info("%-10s %-8s %-20s %16s %7.1f s", self.product, part, name, rows, record.seconds)

    def log(self, part: str, sentence: str) -> None:
        """Log how far a stage is."""
        logger.info("%-10s %-8s %s", self.product, part, sentence)

    def progress(self, part: str, sentence: str) -> None:
        """Show how far a stage is: on a terminal once a second, in a log every half minute.

        Log records have the attribute ``progress``, so that a handler can leave them out.
        """
        now = time.monotonic()
        self._logged_at = min(self._logged_at, now)
        if now - self._shown_at >= _LIVE_SECONDS:
            self._shown_at = now
            live.info("%-10s %-8s %s", self.product, part, sentence)
        if now - self._logged_at >= _LOG_SECONDS:
            self._logged_at = now
            logger.info("%-10s %-8s %s", self.product, part, sentence, extra={"progress": True})

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each stage. Stages may run in parallel, so the sum can exceed wall time."""
        return {f"{record.part}.{record.name}": round(record.seconds, 3) for record in self.records}
