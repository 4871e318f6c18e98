"""Run tasks in threads of this process: for audiences where worker processes cost more than they save.

It opens no socket and starts no process. Scoring releases Python's lock for four fifths of its time, so
threads use several cores. A task that kills its process ends the run, which a later one resumes.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from churn.scoring.runner import Done, RowT, TaskT, task_error, unique_names

_WAIT_SECONDS = 0.5

_of_thread = threading.local()


def is_over() -> bool:
    """Return whether the run that this thread works for has ended early: a long task then gives up."""
    over = getattr(_of_thread, "over", None)
    return over is not None and over.is_set()


@dataclass(frozen=True)
class InProcess:
    """Run a function over many tasks in threads.

    Example:
        >>> rows = InProcess(2).run(score_partition, tasks, key=lambda task: task.name)
    """

    threads: int  # tasks at once; each holds one batch in memory

    def run(
        self,
        function: Callable[[TaskT], RowT],
        tasks: Sequence[TaskT],
        *,
        key: Callable[[TaskT], str] = str,
        on_done: Callable[[Done[RowT]], None] | None = None,
    ) -> list[RowT]:
        """Run ``function`` on every task and return the rows in the order of the tasks.

        If anything ends the run early (also an interrupt or an error in ``on_done``), no other task begins,
        and this method waits for those that have begun; ``is_over`` tells them.

        Args:
            function: called with one task, in a thread.
            tasks: what to run.
            key: the unique name of a task, for messages.
            on_done: called in this thread after each finished task.

        Raises:
            RunError: ``function`` raised an error; the message names the task.
        """
        names = unique_names(tasks, key)
        results: dict[int, RowT] = {}
        positions: dict[Future[RowT], int] = {}
        start, rows = time.monotonic(), 0
        over = threading.Event()
        pool = ThreadPoolExecutor(
            max(1, self.threads), "churn-score", lambda: setattr(_of_thread, "over", over)
        )
        try:
            positions |= {pool.submit(function, task): index for index, task in enumerate(tasks)}
            while positions:
                # Not for ever: an interrupt of this thread is noticed between two waits only.
                for future in wait(positions, _WAIT_SECONDS, FIRST_COMPLETED).done:
                    index = positions.pop(future)
                    error = future.exception()
                    if error is not None:
                        raise task_error(names[index], error) from error
                    row = results[index] = future.result()
                    rows += row.rows
                    if on_done is not None:
                        seconds = time.monotonic() - start
                        on_done(Done(names[index], row, len(results), len(tasks), rows, seconds))
        finally:
            over.set()
            pool.shutdown(cancel_futures=True)
        return [results[index] for index in range(len(tasks))]
