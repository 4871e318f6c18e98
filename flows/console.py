"""What the command line shows while flows run: the stages, and nothing of the libraries' own chatter."""

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

# Read by Prefect, MLflow and Dask when they are imported. A person's own choice wins.
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

# A stop that is asked for again within this time is the same one: what it takes away is being put away.
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
        prefect_home: where Prefect keeps its local database; with it, the profile of the person is not used,
            so that nothing leaves the machine. Default: as the person has set Prefect up.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if prefect_home is not None:
        os.environ["PREFECT_HOME"] = str(prefect_home.resolve())
        for name in ("PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"):
            os.environ.pop(name, None)
    warnings.simplefilter("ignore", DeprecationWarning)


def install_signal_handlers() -> None:
    """Let Ctrl-C and SIGTERM unwind the program: a SIGTERM by itself leaves Prefect's server running."""
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
    """Say that the program has done all it does: what is left is to end Prefect's server, undisturbed."""
    _ending.set()


def stop_requested() -> bool:
    """Tell whether Ctrl-C or SIGTERM asked this process to end."""
    return _stop_requested.is_set()


def show_progress() -> None:
    """Print a line a stage to standard error, and the warnings of ``churn``."""
    log = logging.getLogger("churn")
    log.handlers[:] = [_Lines()]
    log.setLevel(logging.WARNING)
    log.propagate = False
    for name in ("churn.core.timing", "churn.jobs.backtest"):
        logging.getLogger(name).setLevel(logging.INFO)


def start_server() -> None:
    """Start the server that Prefect keeps for itself where none is set up, and wait until it answers.

    Ctrl-C does not reach it: a terminal sends that to every process of its group, and a run that is stopped
    still has to tell the server how it ended. The server is ended with this process.
    """
    from prefect.client.orchestration import get_client

    started: Future[None] = Future()

    def start() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which a new process inherits
        try:
            get_client(sync_client=True)
            started.set_result(None)
        except Exception as error:
            started.set_exception(error)

    # A thread of its own has its own mask, and nobody waits for it when the start itself is stopped.
    context = contextvars.copy_context()  # which holds Prefect's settings
    threading.Thread(target=context.run, args=(start,), name="churn-prefect", daemon=True).start()
    started.result()
