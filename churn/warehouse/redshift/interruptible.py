"""Runs a statement that logs its progress and ends when the caller is interrupted."""

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
_GLANCE = 0.5  # seconds between checks for an interrupt


def run_interruptible(
    work: Callable[[], Result], *, label: str, cancel: Callable[[], None], every: float
) -> Result:
    """Run ``work`` in a thread of its own and wait for it, so that the waiting can be interrupted.

    Drivers wait for the server in C, where neither Ctrl-C nor a flow's cancellation reaches them.

    Args:
        work: one statement.
        label: names it in the log.
        cancel: asks the server to end it, when the wait is interrupted. If that has no effect, the wait goes
            on until the connection breaks: the connection cannot be used before.
        every: seconds between two lines in the log.

    Raises:
        BaseException: what ``work`` raised, or what interrupted the wait.
    """
    results: list[Result] = []
    errors: list[BaseException] = []
    done = threading.Event()

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # the waiting thread raises it again
            errors.append(error)
        finally:
            done.set()

    threading.Thread(target=run, name=f"sql {label}", daemon=True).start()
    try:
        _wait(done, label, every)
    except BaseException:
        if not done.is_set():
            logger.warning("%s: cancelled; waiting for the warehouse to end it", label)
            cancel()
            _wait(done, label, every)
        raise
    if errors:
        raise errors[0]
    return results[0]


def _wait(done: threading.Event, label: str, every: float) -> None:
    started = logged = time.monotonic()
    while not done.wait(min(_GLANCE, every)):
        now = time.monotonic()
        if now - logged >= every:
            logged = now
            logger.info("%s: still running after %.0f s", label, now - started)
