"""The terminal: stage lines on standard error, silent libraries, and orderly ends on Ctrl-C and SIGTERM."""

import contextvars
import logging
import math
import os
import signal
import threading
import time
import warnings
from concurrent.futures import Future
from pathlib import Path
from types import FrameType

# Prefect, MLflow and Dask read these as they are imported. Variables that are set already win.
_QUIET = {
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    "PREFECT_CLI_PROMPT": "false",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # XGBoost's threads sleep while they wait: spinning on a busy machine made training ten times slower.
    "OMP_WAIT_POLICY": "PASSIVE",
}

# A second signal within this time belongs to the first one: the clean-up is under way.
_SAME_STOP_SECONDS = 10.0

_stop_requested = threading.Event()
_ending = threading.Event()
_last_stop = -math.inf


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        import click

        mark = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        click.echo(f"  {mark}{record.getMessage()}", err=True)


def silence_libraries(prefect_home: Path | None = None) -> None:
    """Prepare the process for a run or back-test from the command line. Call before Prefect is imported.

    Args:
        prefect_home: where Prefect keeps its local database. With it the user's Prefect profile is ignored,
            so that nothing leaves the machine. Default: Prefect as the user has set it up.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if prefect_home is not None:
        os.environ["PREFECT_HOME"] = str(prefect_home.resolve())
        for name in ("PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"):
            os.environ.pop(name, None)
    warnings.simplefilter("ignore", DeprecationWarning)


def install_signal_handlers() -> None:
    """Let Ctrl-C and SIGTERM unwind the program; an unhandled SIGTERM leaves Prefect's server running."""
    _ending.clear()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)


def _stop(_number: int, _frame: FrameType | None) -> None:
    global _last_stop
    now = time.monotonic()
    if _ending.is_set() or now - _last_stop < _SAME_STOP_SECONDS:
        return
    _last_stop = now
    _stop_requested.set()
    raise KeyboardInterrupt


def at_exit() -> None:
    """Ignore further signals: only Prefect's server is left to stop."""
    _ending.set()


def stop_requested() -> bool:
    """Return whether Ctrl-C or SIGTERM asked this process to end."""
    return _stop_requested.is_set()


def show_progress() -> None:
    """Print one line a stage to standard error, and churn's warnings."""
    log = logging.getLogger("churn")
    log.handlers[:] = [_Lines()]
    log.setLevel(logging.WARNING)
    log.propagate = False
    for name in ("churn.core.timing", "churn.jobs.backtest"):
        logging.getLogger(name).setLevel(logging.INFO)


def start_server() -> None:
    """Start Prefect's temporary server, if no other server is set up, and wait until it answers.

    The server ignores Ctrl-C, which a terminal sends to the whole process group: a stopped run still has to
    report how it ended. The server ends with this process.
    """
    from prefect.client.orchestration import get_client

    started: Future[None] = Future()

    def start() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the server inherits the mask
        try:
            get_client(sync_client=True)
            started.set_result(None)
        except Exception as error:
            started.set_exception(error)

    # A separate thread has its own signal mask. As a daemon it does not delay an end during start-up.
    context = contextvars.copy_context()  # holds Prefect's settings
    threading.Thread(target=context.run, args=(start,), name="churn-prefect", daemon=True).start()
    started.result()
