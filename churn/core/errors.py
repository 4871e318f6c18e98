"""The errors that churn raises on purpose.

Every message names what was wrong, where, and what to do about it. The command line prints a
``ChurnError`` as one paragraph without a traceback; anything else is a bug and keeps its traceback.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

ResultT = TypeVar("ResultT")


class ChurnError(Exception):
    """The base class: something that a person can fix."""


class UsageError(ChurnError):
    """An argument cannot be used: an unknown product, a date that is not a Sunday, an unsafe name."""


class NotScoredError(UsageError):
    """A user has no score in a run."""


class ConfigError(ChurnError):
    """Settings or product definitions are wrong; the message lists every fault."""


class SourceError(ChurnError):
    """Source data is missing, or lacks a table, a column, a type or enough history."""


class IncompleteWeekError(SourceError):
    """Activity of a week is missing, without which a date can neither be scored nor judged."""


class CheckError(ChurnError):
    """Data broke one or more checks between two stages.

    Attributes:
        failures: one sentence per broken check.
    """

    def __init__(self, stage: str, failures: Sequence[str]) -> None:
        """Keep the failures and join them into one message."""
        self.stage = stage
        self.failures = tuple(failures)
        lines = "\n".join(f"  - {failure}" for failure in self.failures)
        super().__init__(f"{stage}: {len(self.failures)} check(s) failed\n{lines}")

    def __reduce__(self) -> tuple[type["CheckError"], tuple[str, Sequence[str]]]:
        """Let it pass from a worker to the flow."""
        return type(self), (self.stage, self.failures)


class RunError(ChurnError):
    """A run could not be completed or committed; nothing that was committed before has changed."""


# Retrying cannot help: a person must fix data, settings or command.
BY_HAND = (UsageError, ConfigError, SourceError, CheckError)


def passing_over(failures: list[str] | None, action: Callable[[], ResultT]) -> ResultT | None:
    """Return the result of an action; on a RunError, add its message to ``failures`` and return None.

    Raises:
        RunError: the action raised it, and ``failures`` is None.
    """
    try:
        return action()
    except RunError as error:
        if failures is None:
            raise
        failures.append(str(error))
        return None
