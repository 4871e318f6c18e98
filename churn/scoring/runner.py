"""What every way to run partitions has in common: progress, results and the words of an error.

``threads.InProcess`` runs them in this process, ``fanout.FanOut`` on a Dask cluster. This module imports
neither, so that a run that needs no cluster does not import Dask.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from churn.core.errors import RunError
from churn.core.io_errors import disk_advice


class Counted(Protocol):
    """What a task returns: a small picklable object with a number of rows."""

    @property
    def rows(self) -> int:
        """Rows the task wrote."""


TaskT = TypeVar("TaskT")
RowT = TypeVar("RowT", bound=Counted)


@dataclass(frozen=True)
class Done(Generic[RowT]):
    """Progress after one finished task."""

    name: str
    row: RowT  # what the task returned
    done: int  # finished tasks, with this one
    total: int
    rows: int  # rows of the finished tasks
    seconds: float  # wall time since the start

    @property
    def rows_per_second(self) -> float:
        """Rows per second of wall time."""
        return self.rows / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float:
        """Estimated wall time of the remaining tasks, from the mean of the finished ones."""
        return self.seconds / self.done * (self.total - self.done)


class Runner(Protocol):
    """Runs a function on every task; each implementation says what it survives."""

    def run(
        self,
        function: Callable[[TaskT], RowT],
        tasks: Sequence[TaskT],
        *,
        key: Callable[[TaskT], str] = str,
        on_done: Callable[[Done[RowT]], None] | None = None,
    ) -> list[RowT]:
        """Run ``function`` on every task and return the rows in the order of the tasks.

        Args:
            function: called with one task.
            tasks: small objects.
            key: the unique name of a task, for messages.
            on_done: called in this thread after each finished task.

        Raises:
            RunError: a task failed; the message names it.
        """
        ...


def unique_names(tasks: Sequence[TaskT], key: Callable[[TaskT], str]) -> list[str]:
    """Return the name of each task.

    Raises:
        RunError: two tasks have the same name.
    """
    names = [key(task) for task in tasks]
    if len(set(names)) < len(names):
        raise RunError("two tasks of a fan-out have the same name: this is a bug; report it")
    return names


def task_error(name: str, error: BaseException) -> RunError:
    """Return the error of a run whose task failed; raise it from ``error``."""
    return RunError(f"{name} failed: {error_words(error)}")


def error_words(error: BaseException) -> str:
    """Return what happened in words: advice for a full disk, else the error's type and text."""
    advice = disk_advice(error)  # of a worker's disk, too
    if advice is not None:
        return advice
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
