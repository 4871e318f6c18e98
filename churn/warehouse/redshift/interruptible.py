"""Runs a statement that logs its progress and ends when the caller is interrupted."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
_GLANCE = 0.5  # seconds between checks for an interrupt


def run_interruptible(
    work: Callable[[], Result], *, label: str, cancel: Callable[[], None], every: float
) -> Result:
    """Run ``work`` in a thread of its own and wait for it, so that the wait can be interrupted.

    Drivers wait for the server in C, where neither Ctrl-C nor a flow's cancellation reaches them.

    Args:
        work: one statement.
        label: names it in the log.
        cancel: asks the server to end it after an interrupt. If that has no effect, the wait goes on until
            the connection breaks: the connection cannot be used before.
        every: seconds between two lines in the log.
    """
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # the waiting thread raises it again
            future.set_exception(error)

    threading.Thread(target=run, name=f"sql {label}", daemon=True).start()
    try:
        _wait(future, label, every)
    except BaseException:
        if not future.done():
            logger.warning("%s: cancelled; waiting for the warehouse to end it", label)
            cancel()
            _wait(future, label, every)
        raise
    return future.result()


def _wait(future: Future[Result], label: str, every: float) -> None:
    started = logged = time.monotonic()
    while not wait([future], min(_GLANCE, every)).done:
        now = time.monotonic()
        if now - logged >= every:
            logged = now
            logger.info("%s: still running after %.0f s", label, now - started)
