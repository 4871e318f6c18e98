"""Run many small tasks on a Dask cluster whose workers may die.

The number of futures in flight is bounded, and each is released as soon as it is done. A task lost with its
worker is submitted again; an exception in the task ends the run. Tasks must be idempotent, because a worker
can die after its work and before its answer. They return a small row, never a table.

When a worker dies, Dask retries its tasks ``distributed.scheduler.allowed-failures`` times and blames every
task that the worker held. So a task that ends in ``KilledWorker`` is only a suspect: it runs once more with
nothing else in flight. If it kills its worker again, the error names it.
"""

import logging
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Generic

from distributed import Client, Future, KilledWorker, as_completed
from distributed.client import ClosedClientError

from churn.core.errors import RunError
from churn.scoring.cluster.advice import Advice
from churn.scoring.runner import Done, RowT, TaskT, error_words, task_error, unique_names

__all__ = ["Done", "FanOut"]

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05  # seconds
_CENSUS_SECONDS = 2.0
_RESULT_SECONDS = 30.0
_RESUBMISSIONS = 3  # of a task lost with its worker

_GONE = (OSError, RuntimeError, ClosedClientError)

_logger = logging.getLogger(__name__)


@dataclass
class FanOut:
    """Run a function over many tasks on a Dask cluster; the module describes the guarantees.

    Example:
        >>> rows = FanOut(client).run(score_partition, tasks, key=lambda task: task.name)
    """

    client: Client
    _: KW_ONLY
    in_flight: int | None = None  # most futures in flight; None = twice the cluster's current threads
    worker_timeout: float = 300.0  # seconds to wait while the cluster has no worker
    advice: Advice = field(default_factory=Advice)  # what to do when workers fail

    def run(
        self,
        function: Callable[[TaskT], RowT],
        tasks: Sequence[TaskT],
        *,
        key: Callable[[TaskT], str] = str,
        on_done: Callable[[Done[RowT]], None] | None = None,
    ) -> list[RowT]:
        """Run ``function`` on every task and return the rows in the order of the tasks.

        If anything ends the run early (also an interrupt or an error in ``on_done``), the other tasks are
        cancelled; a task that a worker has begun still runs to its end.

        Args:
            function: a function that a worker can import; called with one task.
            tasks: picklable objects, small.
            key: the unique name of a task, for messages.
            on_done: called in this thread after each finished task.

        Raises:
            RunError: ``function`` raised an error, or a task killed its workers or was lost too often (the
                message names the task); or the cluster has no workers or is gone.
        """
        job = _Job(self, function, tasks, unique_names(tasks, key))
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
    in_flight: dict[Future, int] = field(default_factory=dict)
    results: dict[int, RowT] = field(default_factory=dict)
    resubmitted: Counter[int] = field(default_factory=Counter)
    alone: int | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        self.waiting = deque(range(len(self.tasks)))
        self.client = self.settings.client
        self.advice = self.settings.advice
        self.completed = as_completed(loop=self.client.loop)
        self.prefix = getattr(self.function, "__name__", "task")
        self.token = uuid.uuid4().hex
        self.counted_at = -_CENSUS_SECONDS
        self.last_worker_at = time.monotonic()

    def finish(self, on_done: Callable[[Done[RowT]], None] | None) -> list[RowT]:
        start, rows = time.monotonic(), 0
        while len(self.results) < len(self.tasks):
            self._submit_waiting()
            position = self._next_result()
            if position is None:
                continue
            row = self.results[position]
            rows += row.rows
            if on_done is not None:
                seconds = time.monotonic() - start
                on_done(Done(self.names[position], row, len(self.results), len(self.tasks), rows, seconds))
        return [self.results[position] for position in range(len(self.tasks))]

    def cancel(self) -> None:
        if self.in_flight and self.client.status == "running":
            with suppress(*_GONE):  # the cluster is gone, and its tasks with it
                self.client.cancel(list(self.in_flight), force=True)
        self.completed.clear()
        self.in_flight.clear()

    def _submit_waiting(self) -> None:
        if self.alone is not None:
            return
        self._count_threads()
        limit = self.settings.in_flight or max(1, 2 * self.threads)
        while self.waiting and len(self.in_flight) < limit:
            self._submit(self.waiting.popleft())
        if self.suspects and not self.in_flight and not self.waiting:
            self.alone = self.suspects.popleft()
            self._submit(self.alone)

    def _submit(self, position: int) -> None:
        # A new key each time: Dask answers a known key with its earlier result.
        key = f"{self.prefix}-{self.names[position]}-{self.resubmitted[position]}-{self.token}"
        future = self._ask(
            lambda: self.client.submit(self.function, self.tasks[position], key=key, pure=False)
        )
        self.in_flight[future] = position
        self.completed.add(future)

    def _next_result(self) -> int | None:
        """Wait for a future to end, release it, and return its position if it has a row."""
        pause = _SHORTEST_PAUSE
        while not self.completed.has_ready():
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            self._count_threads()
        future = next(self.completed)
        try:
            row = future.result(timeout=_RESULT_SECONDS)
        except Exception as error:
            if isinstance(error, TimeoutError) and future.status != "error":
                self.completed.add(future)  # its worker died before the answer: Dask computes it again
                return None
            cancelled = future.status == "cancelled"
            position, was_alone = self._release(future)
            if isinstance(error, KilledWorker):
                self._suspect(position, was_alone, error)
            elif cancelled:
                self._resubmit(position, self.waiting, error)
            else:
                raise task_error(self.names[position], error) from error
            return None
        position, _ = self._release(future)
        self.results[position] = row
        if self.advice.deaths is not None:
            self.advice.deaths.scored()
        return position

    def _release(self, future: Future) -> tuple[int, bool]:
        """Release a future; return its task's position, and whether it ran alone."""
        position = self.in_flight.pop(future)
        future.release()
        was_alone = self.alone == position
        if was_alone:
            self.alone = None
        return position, was_alone

    def _suspect(self, position: int, was_alone: bool, error: KilledWorker) -> None:
        if was_alone:
            raise RunError(
                f"{self.names[position]} kills the worker that runs it, every time (last: "
                f"{error.last_worker.address}). Most often it needs more memory than a worker has: "
                f"{self.advice.memory}; or set a smaller partition_rows"
            ) from error
        self._resubmit(position, self.suspects, error)

    def _resubmit(self, position: int, queue: deque[int], error: BaseException) -> None:
        name = self.names[position]
        if self.resubmitted[position] >= _RESUBMISSIONS:
            raise RunError(
                f"{name} was lost with its worker {_RESUBMISSIONS + 1} times: the cluster's workers do not "
                f"live long enough; {self.advice.logs}"
            ) from error
        self.resubmitted[position] += 1
        _logger.warning(
            "%s was lost with its worker; it is submitted again (%d)", name, self.resubmitted[position]
        )
        queue.append(position)

    def _count_threads(self) -> None:
        """Count the cluster's threads, at most every two seconds.

        Raises:
            RunError: there has been no worker for longer than ``worker_timeout``, or workers of this machine
                die one after the other.
        """
        now = time.monotonic()
        if now - self.counted_at < _CENSUS_SECONDS:
            return
        self.counted_at = now
        hopeless = None if self.advice.deaths is None else self.advice.deaths.hopeless()
        if hopeless is not None:
            raise RunError(hopeless)
        self.threads = sum(self._ask(self.client.nthreads).values())
        if self.threads:
            self.last_worker_at = now
        elif now - self.last_worker_at > self.settings.worker_timeout:
            raise RunError(
                f"the cluster has had no worker for {self.settings.worker_timeout:.0f} s: "
                f"{self.advice.workers}, and run again"
            )

    def _ask(self, request: Callable[[], Any]) -> Any:
        try:
            return request()
        except _GONE as error:
            raise RunError(
                f"the cluster is gone ({error_words(error)}): {self.advice.logs}, and run again"
            ) from error
