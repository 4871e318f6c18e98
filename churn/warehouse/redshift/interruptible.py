"""Long statements, watched: how long they have run is told, and a caller who gives up ends them."""

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
_GLANCE = 0.5  # seconds between looks for an interrupt; a statement's end is seen at once


def run_interruptible(
    work: Callable[[], Result], *, label: str, cancel: Callable[[], None], every: float
) -> Result:
    """Run ``work`` in a thread of its own and wait for it, so that the waiting can be interrupted.

    Drivers wait for the server in C, where neither Ctrl-C nor a flow's cancellation reaches them.

    Args:
        work: one statement.
        label: names it in the log.
        cancel: asks the server to end it; called from here when the waiting is interrupted. When it has no
            effect, the wait goes on until the connection breaks, as nobody else may use it before.
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
        except BaseException as error:  # raised again by the thread that waits
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
    started = time.monotonic()
    told = started
    while not done.wait(min(_GLANCE, every)):
        now = time.monotonic()
        if now - told >= every:
            told = now
            logger.info("%s: still running after %.0f s", label, now - started)
