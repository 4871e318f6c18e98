"""The command line, called in this process and leaving no trace in it."""

import logging
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import flows.cli

_LOGGERS = ("churn", "churn.core.timing", "churn.core.live", "churn.jobs.backtest")


def exit_code(arguments: Sequence[str]) -> int:
    """Call the program; return its exit code. What it said is with ``capsys``."""
    with _restored():
        try:
            flows.cli.main(arguments)
        except SystemExit as stop:
            return stop.code if isinstance(stop.code, int) else 1
    return 0


@contextmanager
def _restored() -> Iterator[None]:
    """Put back what a program may set for its process: variables, log handlers, signal handlers."""
    variables = dict(os.environ)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    logs = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(variables)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for logger, kept, level, propagate in logs:
            logger.handlers[:] = kept
            logger.setLevel(level)
            logger.propagate = propagate
