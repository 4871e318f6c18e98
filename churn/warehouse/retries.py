"""Transactions that failed by no fault of theirs are tried again, a few times, after pauses that grow."""

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

import duckdb

from churn.core.errors import RunError
from churn.warehouse.base import LostConnectionError, SerialisationError

logger = logging.getLogger(__name__)

ATTEMPTS = 6
_MAKING = 3  # times for what two may begin at the same moment, of which one is told that it is too late
_FIRST_PAUSE = 0.1  # seconds; doubled each time, and shaken by half so that two do not meet again

Result = TypeVar("Result")


def retry_transaction(transaction: Callable[[], Result], what: str) -> Result:
    """Return what ``transaction`` returns; try again where it gave way to another or lost its connection.

    Args:
        transaction: a whole one, which finds out by itself if it was done already: a connection lost at the
            commit does not tell.
        what: names it in messages.

    Raises:
        SerialisationError: it gave way each time.
        LostConnectionError: the last connection was lost too.
    """
    for attempt in range(1, ATTEMPTS):
        try:
            return transaction()
        except RunError as error:
            if not _passes(error):
                raise
            pause = _FIRST_PAUSE * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)
            logger.warning("%s is tried again in %.1f s: %s", what, pause, error)
        time.sleep(pause)
    return transaction()


def run_ddl_once(make: Callable[[], object]) -> None:
    """Make a schema or a table, of which two at once are told in any words that one was quicker.

    Args:
        make: statements with ``if not exists``, each a transaction of its own: both find nothing there, and
            the later one then meets the other's row in the catalogue. The next time it finds what is there.

    Raises:
        RunError: the warehouse refused each time.
    """
    for _ in range(_MAKING - 1):
        try:
            make()
        except RunError as error:
            logger.debug("made once more, if another has not: %s", error)
        else:
            return
    make()


def _passes(error: RunError) -> bool:
    """Say whether the same again may succeed.

    The embedded warehouse has no locks: it lets transactions run beside each other, and refuses the later one
    where both change a row or a table, or insert the same key.
    """
    if isinstance(error, SerialisationError | LostConnectionError):
        return True
    cause = error.__cause__
    repeated_key = isinstance(cause, duckdb.ConstraintException) and "Duplicate key" in str(cause)
    return repeated_key or isinstance(cause, duckdb.TransactionException)
