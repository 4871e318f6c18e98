"""The terminal: stage lines on standard error, silent libraries, and an orderly end after a signal."""

import logging
import math
import os
import shutil
import signal
import sys
import threading
import time
import warnings
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

_LIVE = "churn.core.live"
# A second signal within this time belongs to the first one: the clean-up is under way.
_SAME_STOP_SECONDS = 10.0

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_stop_requested = threading.Event()
_ending = threading.Event()
_last_stop = -math.inf
_installed = False
_signal: int = signal.SIGINT
_fault: str | None = None


class _Lines(logging.Handler):
    """Prints a line for each record; a live one stays on the last line of a terminal until the next one."""

    def __init__(self) -> None:
        super().__init__()
        self._live = False  # whether the last line is one

    def emit(self, record: logging.LogRecord) -> None:
        import click

        # A signal for the whole process group ends the workers too: nobody needs to read that they died.
        if stop_requested() and record.name.startswith("churn.scoring"):
            return
        if getattr(record, "progress", False):
            return  # for logs that nobody watches; a terminal has the live line
        if self._live:
            click.echo("\r\x1b[K", nl=False, err=True)
        self._live = record.name == _LIVE and bool(record.getMessage())
        if record.name == _LIVE:
            if self._live:
                width = shutil.get_terminal_size().columns - 1
                click.echo(f"  {record.getMessage()}"[:width], nl=False, err=True)
            return
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
    """Let Ctrl-C, SIGTERM and SIGHUP unwind the program. Under ``nohup`` SIGHUP stays ignored."""
    global _installed
    _ending.clear()
    _installed = True
    for number in _STOPS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop)


def restore_signal_handlers() -> None:
    """Install the handlers again where Prefect's engine has put its own for the time of a flow run.

    Its handler raises another error, and then lets the program's own interrupt what the engine does about it.
    Does nothing in a process that never had the program's handlers, such as a deployment's.
    """
    if _installed and threading.current_thread() is threading.main_thread() and not _ending.is_set():
        signal.signal(signal.SIGTERM, _stop)


def _stop(number: int, _frame: FrameType | None) -> None:
    global _last_stop, _signal
    now = time.monotonic()
    if _ending.is_set() or now - _last_stop < _SAME_STOP_SECONDS:
        return
    _last_stop = now
    _signal = number
    _stop_requested.set()
    raise KeyboardInterrupt


def stop_because(fault: str) -> None:
    """End the program in order, from any thread, with a sentence and exit code 1."""
    global _fault
    _fault = fault
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGINT)


def at_exit() -> None:
    """Ignore further signals: only Prefect's server is left to stop."""
    _ending.set()


def stop_requested() -> bool:
    """Return whether a signal asked this process to end."""
    return _stop_requested.is_set()


def stopped() -> tuple[str, int]:
    """Return the sentence and the exit code of a program that was asked to end."""
    # Python notes an interrupt inside `exec` (of dataclasses, for instance), and would end by a signal
    # instead of the exit code; another `exec` takes that back.
    exec("")
    if _fault is not None:
        return _fault, 1
    return "stopped; nothing half-written is to be seen", 128 + _signal


def show_progress() -> None:
    """Print one line a stage to standard error, and churn's warnings."""
    log = logging.getLogger("churn")
    log.handlers[:] = [_Lines()]
    log.setLevel(logging.WARNING)
    log.propagate = False
    for name in ("churn.core.timing", "churn.jobs.backtest"):
        logging.getLogger(name).setLevel(logging.INFO)
    logging.getLogger(_LIVE).setLevel(logging.INFO if sys.stderr.isatty() else logging.WARNING)
