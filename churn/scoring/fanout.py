"""The fan-out contract: many small tasks over a Dask cluster whose workers may die.

A bounded number of futures is in flight, each is released as soon as it is done, a task that was lost with
its worker is submitted again, and an error of the code itself ends the run at once. Tasks must be idempotent,
because a worker can die after its work and before its answer; they return a small row, never a frame.

Dask itself runs a task again when its worker dies, ``distributed.scheduler.allowed-failures`` times, and
blames every task that the worker held. A task that is given up like that (``KilledWorker``) is therefore only
a suspect: it runs once more with nothing else in flight. If it kills workers then too, it is the culprit and
is named; its neighbours are not.
"""

import logging
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from distributed import Client, Future, KilledWorker, as_completed
from distributed.client import ClosedClientError

from churn.core.errors import RunError
from churn.core.io_errors import disk_advice

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05  # seconds
_CENSUS_SECONDS = 2.0
_RESULT_SECONDS = 30.0

_GONE = (OSError, RuntimeError, ClosedClientError)

_logger = logging.getLogger(__name__)


class Counted(Protocol):
    """What a task returns: any small picklable object that says how many rows it stands for."""

    @property
    def rows(self) -> int:
        """Rows that the task has written."""


TaskT = TypeVar("TaskT")
RowT = TypeVar("RowT", bound=Counted)


@dataclass(frozen=True)
class Done(Generic[RowT]):
    """Progress: one task that is done, and how far the whole is.

    Attributes:
        name: the task's name.
        row: what it returned.
        done: tasks done, this one included.
        total: tasks in all.
        rows: rows of the tasks done.
        seconds: wall time since the start.
    """

    name: str
    row: RowT
    done: int
    total: int
    rows: int
    seconds: float

    @property
    def rows_per_second(self) -> float:
        """Rows done for each second of wall time."""
        return self.rows / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float:
        """Wall time that the remaining tasks will take, if they take as long as those done."""
        return self.seconds / self.done * (self.total - self.done)


class FanOut:
    """Runs a function over many tasks on a Dask cluster; see the module for what is promised.

    Args:
        client: a connected Dask client.
        in_flight: futures in flight at most; None = twice the threads that the cluster has just now.
        resubmissions: how often one task that was lost with its worker is submitted again.
        worker_timeout: seconds to wait for a worker while the cluster has none.
    """

    def __init__(
        self,
        client: Client,
        *,
        in_flight: int | None = None,
        resubmissions: int = 3,
        worker_timeout: float = 300.0,
    ) -> None:
        """Keep the settings; nothing is submitted yet."""
        self.client = client
        self.in_flight = in_flight
        self.resubmissions = resubmissions
        self.worker_timeout = worker_timeout

    def run(
        self,
        function: Callable[[TaskT], RowT],
        tasks: Sequence[TaskT],
        *,
        key: Callable[[TaskT], str] = str,
        on_done: Callable[[Done[RowT]], None] | None = None,
    ) -> list[RowT]:
        """Run ``function`` on every task and return the rows in the order of the tasks.

        Whatever ends the run early (an error, an interrupt, an error in ``on_done``), everything else is
        cancelled first; a task that a worker has begun still runs to its end there.

        Args:
            function: a function that a worker can import; called with one task.
            tasks: picklable objects, small.
            key: the unique name of a task, for messages.
            on_done: called in this thread after each task.

        Raises:
            RunError: naming the task, and chained to its cause: ``function`` raised an error, or the task
                killed its workers, or it was lost too often; or the cluster has no workers or is gone.
        """
        names = [key(task) for task in tasks]
        if len(set(names)) < len(names):
            raise RunError("two tasks of a fan-out have the same name: this is a fault of the program")
        job = _Job(self, function, tasks, names)
        try:
            return job.finish(on_done)
        finally:
            job.cancel()


@dataclass
class _Job(Generic[TaskT, RowT]):
    """The state of one ``FanOut.run``: which tasks wait, which are in flight, which are suspects."""

    settings: FanOut
    function: Callable[[TaskT], RowT]
    tasks: Sequence[TaskT]
    names: list[str]
    waiting: deque[int] = field(init=False)
    suspects: deque[int] = field(default_factory=deque)
    flying: dict[Future, int] = field(default_factory=dict)
    results: dict[int, RowT] = field(default_factory=dict)
    again: Counter[int] = field(default_factory=Counter)
    alone: int | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        self.waiting = deque(range(len(self.tasks)))
        self.client = self.settings.client
        self.pool = as_completed(loop=self.client.loop)
        self.prefix = getattr(self.function, "__name__", "task")
        self.token = uuid.uuid4().hex
        self.counted_at = -_CENSUS_SECONDS
        self.manned_at = time.monotonic()

    def finish(self, on_done: Callable[[Done[RowT]], None] | None) -> list[RowT]:
        start, rows = time.monotonic(), 0
        while len(self.results) < len(self.tasks):
            self._submit_what_fits()
            position = self._take_one()
            if position is None:
                continue
            row = self.results[position]
            rows += row.rows
            if on_done is not None:
                seconds = time.monotonic() - start
                on_done(Done(self.names[position], row, len(self.results), len(self.tasks), rows, seconds))
        return [self.results[position] for position in range(len(self.tasks))]

    def cancel(self) -> None:
        if self.flying and self.client.status == "running":
            with suppress(*_GONE):  # a cluster that is gone has nothing left to cancel
                self.client.cancel(list(self.flying), force=True)
        self.pool.clear()
        self.flying.clear()

    def _submit_what_fits(self) -> None:
        if self.alone is not None:
            return
        self._count_threads()
        limit = self.settings.in_flight or max(1, 2 * self.threads)
        while self.waiting and len(self.flying) < limit:
            self._submit(self.waiting.popleft())
        if self.suspects and not self.flying and not self.waiting:
            self.alone = self.suspects.popleft()
            self._submit(self.alone)

    def _submit(self, position: int) -> None:
        # A fresh key each time: Dask would answer a known key with what became of it before.
        key = f"{self.prefix}-{self.names[position]}-{self.again[position]}-{self.token}"
        future = self._ask(
            lambda: self.client.submit(self.function, self.tasks[position], key=key, pure=False)
        )
        self.flying[future] = position
        self.pool.add(future)

    def _take_one(self) -> int | None:
        """Wait for a future to end, release it, and return its position if it has a row."""
        pause = _SHORTEST_PAUSE
        while not self.pool.has_ready():
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            self._count_threads()
        future = next(self.pool)
        try:
            row = future.result(timeout=_RESULT_SECONDS)
        except Exception as error:
            if isinstance(error, TimeoutError) and future.status != "error":
                self.pool.add(future)  # its worker died just after it was done: Dask computes it again
                return None
            cancelled = future.status == "cancelled"
            position, was_alone = self._release(future)
            if isinstance(error, KilledWorker):
                self._suspect(position, was_alone, error)
            elif cancelled:
                self._resubmit(position, self.waiting, error)
            else:
                raise RunError(f"{self.names[position]} failed: {_in_words(error)}") from error
            return None
        position, _ = self._release(future)
        self.results[position] = row
        return position

    def _release(self, future: Future) -> tuple[int, bool]:
        """Let go of a future; return its task's position, and whether it was the only one in flight."""
        position = self.flying.pop(future)
        future.release()
        was_alone = self.alone == position
        if was_alone:
            self.alone = None
        return position, was_alone

    def _suspect(self, position: int, was_alone: bool, error: KilledWorker) -> None:
        if was_alone or self.settings.resubmissions == 0:
            raise RunError(
                f"{self.names[position]} kills the worker that runs it, every time (last: "
                f"{error.last_worker.address}). Most often it needs more memory than a worker has: give "
                "workers more memory, or make partitions or batches smaller"
            ) from error
        self._resubmit(position, self.suspects, error)

    def _resubmit(self, position: int, queue: deque[int], error: BaseException) -> None:
        name = self.names[position]
        if self.again[position] >= self.settings.resubmissions:
            raise RunError(
                f"{name} was lost with its worker {self.again[position] + 1} times: the cluster's workers do "
                "not live long enough; look at their logs"
            ) from error
        self.again[position] += 1
        _logger.warning("%s was lost with its worker; it is submitted again (%d)", name, self.again[position])
        queue.append(position)

    def _count_threads(self) -> None:
        """Look up the cluster's threads every now and then.

        Raises:
            RunError: there has been no worker for longer than ``worker_timeout``.
        """
        now = time.monotonic()
        if now - self.counted_at < _CENSUS_SECONDS:
            return
        self.counted_at = now
        self.threads = sum(self._ask(self.client.nthreads).values())
        if self.threads:
            self.manned_at = now
        elif now - self.manned_at > self.settings.worker_timeout:
            raise RunError(
                f"the cluster has had no worker for {self.settings.worker_timeout:.0f} s: start workers for "
                f"its scheduler at {self.client.scheduler.address}, and run again"
            )

    def _ask(self, request: Callable[[], Any]) -> Any:
        try:
            return request()
        except _GONE as error:
            raise RunError(
                f"the cluster is gone ({_in_words(error)}): look at its scheduler's log, and run again"
            ) from error


def _in_words(error: BaseException) -> str:
    advice = disk_advice(error)  # of a worker's disk, too
    if advice is not None:
        return advice
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
