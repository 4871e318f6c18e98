"""Transactions that may succeed when run again: a few attempts, with growing pauses."""

import logging
import random
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from churn.core.errors import RunError
from churn.warehouse.base import LostConnectionError, SerialisationError

logger = logging.getLogger(__name__)

ATTEMPTS = 6
_DDL_ATTEMPTS = 3
_FIRST_PAUSE = 0.1  # seconds; doubles with each attempt

Result = TypeVar("Result")


def retry_transaction(transaction: Callable[[], Result], name: str) -> Result:
    """Return what ``transaction`` returns; retry conflicts and lost connections.

    Args:
        transaction: a whole transaction that finds out whether it was done already, since a connection that
            is lost at the commit leaves that open.
        name: names the transaction in the log.

    Raises:
        SerialisationError, LostConnectionError: the last attempt failed.
    """

    def log(state: RetryCallState) -> None:
        logger.warning("%s is tried again in %.1f s: %s", name, state.upcoming_sleep, error_of(state))

    return Retrying(
        stop=stop_after_attempt(ATTEMPTS),
        # Spread, so that two transactions do not meet again.
        wait=lambda state: _FIRST_PAUSE * 2 ** (state.attempt_number - 1) * random.uniform(0.5, 1.5),
        retry=retry_if_exception_type((SerialisationError, LostConnectionError)),
        before_sleep=log,
        reraise=True,
    )(transaction)


def run_ddl_once(make: Callable[[], object]) -> None:
    """Run idempotent DDL; retry if another session created the object first.

    Args:
        make: runs statements with ``if not exists``, each a transaction of its own. Of two sessions that find
            nothing, the later one fails on the catalogue's row; its next attempt finds the object.
    """
    Retrying(
        stop=stop_after_attempt(_DDL_ATTEMPTS),
        retry=retry_if_exception_type(RunError),
        before_sleep=lambda state: logger.debug("running the DDL again: %s", error_of(state)),
        reraise=True,
    )(make)


def error_of(state: RetryCallState) -> BaseException | None:
    """Return the error of the last attempt; None if it returned."""
    return state.outcome.exception() if state.outcome else None
