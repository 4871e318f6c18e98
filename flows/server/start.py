"""Start Prefect's temporary server, keep it alive, and end it.

Prefect would start one itself, but anybody on the machine may ask that one, it takes twice the CPU time, and
it ends in a traceback where it does not come up. This one answers only those who have its throw-away key.
"""

import atexit
import contextlib
import json
import logging
import os
import re
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import warnings
from pathlib import Path
from typing import IO, TYPE_CHECKING

from churn.core.errors import ConfigError, RunError
from flows.console import stop_because
from flows.server.database import prepare_database

if TYPE_CHECKING:
    from prefect.settings import Settings

_RESTARTS = 2
_STOP_SECONDS = 10.0
_PATIENCE = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"
_SETTINGS = {
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT_SERVER_UI_ENABLED": "false",
    # Block types are registered by what uses them, and by `prefect server start`.
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
    "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
}

logger = logging.getLogger("churn.flows.server")


class _Server:
    """A server and the thread that watches it.

    Attributes:
        ready: whether it has answered.
    """

    def __init__(self, settings: "Settings", current: bool) -> None:
        """Start the process; ``current`` says that its database needs no migration."""
        self._home = settings.home
        self._seconds = settings.server.ephemeral.startup_timeout_seconds
        self._key = secrets.token_urlsafe(32)
        self._current = current
        self._stopping = threading.Event()
        self.ready = False
        # Bound once and kept, so that requests wait while a server that was killed is started again.
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._launch()

    def _launch(self) -> None:
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as the process lives
        self._control, theirs = socket.socketpair()
        with theirs:
            descriptors = (theirs.fileno(), self._listening.fileno())
            self._process = subprocess.Popen(
                # Neither the current folder nor that of app.py is searched for modules.
                [sys.executable, "-P", str(Path(__file__).with_name("app.py")), *map(str, descriptors)],
                pass_fds=descriptors,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
            )
        mine = {
            **_SETTINGS,
            "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false" if self._current else "true",
            "PREFECT_SERVER_API_AUTH_STRING": self._key,
            "PREFECT_API_AUTH_STRING": self._key,
        }
        with contextlib.suppress(OSError):  # it has ended: `wait` says why
            self._control.sendall(json.dumps(mine).encode() + b"\n")

    def wait(self) -> None:
        """Wait until the server answers.

        Raises:
            RunError: it does not; it is stopped.
        """
        self._control.settimeout(self._seconds)
        answered, fault = False, ""
        try:
            answered = bool(self._control.recv(1))
        except TimeoutError:
            fault = f"did not start within {self._seconds} s: give it longer with {_PATIENCE}"
        except OSError:  # it ended before it had read all
            pass
        if answered:
            self._control.settimeout(None)
            self.ready = self._current = True
            return
        if not fault:
            fault = f"did not start ({self._why()}): set PREFECT_HOME to a folder where it can"
        self.stop()
        raise RunError(
            f"Prefect's temporary server {fault}, or set PREFECT_API_URL to a server that runs. Its "
            f"PREFECT_HOME is {self._home}"
        )

    def watch(self) -> None:
        """Start the server again when it dies, in a thread; end the run if it keeps dying."""
        threading.Thread(target=self._watch, name="churn-prefect-server", daemon=True).start()

    def _watch(self) -> None:
        for left in reversed(range(_RESTARTS + 1)):
            with contextlib.suppress(OSError):
                self._control.recv(1)
            if self._stopping.is_set():
                return
            self._process.wait()
            why = self._why()
            self._close()
            if left:
                logger.warning("Prefect's temporary server ended (%s), and is started again", why)
                self._launch()
                try:
                    self.wait()
                except RunError as error:
                    if not self._stopping.is_set():
                        self._give_up(str(error))
                    return
        self._give_up(
            f"Prefect's temporary server ended {_RESTARTS + 1} times, at last with {why}; its PREFECT_HOME "
            f"is {self._home}. Is memory short? Run again, or set PREFECT_API_URL to a server that runs"
        )

    def _give_up(self, fault: str) -> None:
        self._listening.close()  # so that requests are refused rather than wait
        stop_because(fault)

    def settings(self) -> dict[str, str]:
        """Return the settings of clients: address and key."""
        port = self._listening.getsockname()[1]
        return {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "PREFECT_API_AUTH_STRING": self._key}

    def _why(self) -> str:
        """Return how the process ended, in the words of the last error that it wrote if it wrote one."""
        try:
            code = self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            return "it does not say why"
        if code < 0:
            return f"signal {-code}, {signal.strsignal(-code)}"
        self._log.seek(0)
        errors = re.findall(
            r"^(?:\w+\.)*\w*(?:Error|Exception): .*$",
            self._log.read().decode("utf-8", "replace"),
            re.MULTILINE,
        )
        return errors[-1].rpartition("Error: ")[2] if errors else f"exit code {code}"

    def _close(self) -> None:
        self._control.close()
        self._log.close()

    def stop(self) -> None:
        """End the server, and wait until it has ended."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)  # the sign to stop, which also wakes the watching thread
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close()
        self._listening.close()


_server: _Server | None = None


def start_server(*, wait: bool = True) -> None:
    """Start Prefect's temporary server, unless another server is set up or it runs already.

    It ends with this process. Until then every client of Prefect in this process uses it.

    Args:
        wait: return when it answers; otherwise a later call waits for it.

    Raises:
        ConfigError: PREFECT_HOME cannot be used, or no server is set up and a temporary one is not allowed.
        RunError: it did not start; the message says why.
    """
    global _server
    if _server is None:
        settings = _prefect_settings()
        if settings.api.url:
            return
        if not settings.server.ephemeral.enabled:
            raise ConfigError(
                "Prefect may not start a temporary server (PREFECT_SERVER_ALLOW_EPHEMERAL_MODE is off in "
                f"{settings.home} or in the environment), and PREFECT_API_URL is not set: set one of them"
            )
        _server = _Server(settings, _prepared(settings))
        atexit.register(stop_server)
    if wait and not _server.ready:
        _server.wait()
        _server.watch()
        _use(_server.settings())


def stop_server() -> None:
    """End the temporary server, if one was started."""
    global _server
    if _server is not None:
        _server.stop()
        _server = None


def _prefect_settings() -> "Settings":
    """Return Prefect's settings as the user has set them up.

    Raises:
        ConfigError: the folder that Prefect writes into cannot be made, or Prefect refuses a setting.
    """
    if not (os.environ.get("PREFECT_API_URL") or "prefect.context" in sys.modules):
        _make_home()  # before Prefect tries: it warns, and goes on
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is wrong with the home is said below
        from prefect.settings import get_current_settings
    return get_current_settings()


def _make_home() -> None:
    home = Path(os.environ.get("PREFECT_HOME") or "~/.prefect")
    try:
        home = home.expanduser()
        home.mkdir(mode=0o700, exist_ok=True)  # not its parents, as Prefect does it
    except (OSError, RuntimeError) as error:
        raise _no_home(home, error) from error


def _prepared(settings: "Settings") -> bool:
    """Make the database where it is Prefect's usual one; return whether no migration is left to do."""
    path = settings.home / "prefect.db"
    if str(settings.server.database.connection_url.get_secret_value()) != f"sqlite+aiosqlite:///{path}":
        return False
    try:
        return prepare_database(path)
    except (sqlite3.Error, OSError) as error:
        raise _no_home(settings.home, error) from error


def _no_home(home: Path, error: Exception) -> ConfigError:
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return ConfigError(
        f"Prefect's temporary server cannot keep its database in {home} ({why}): set PREFECT_HOME to a "
        "folder that this user can write into, or PREFECT_API_URL to a server that runs"
    )


def _use(clients: dict[str, str]) -> None:
    """Let every client of Prefect in this process use a server, also those in other threads.

    The key stays in Prefect's settings and out of the environment, which processes started later inherit.
    """
    from prefect.context import refresh_global_settings_context

    before = {name: os.environ.get(name) for name in clients}
    os.environ.update(clients)
    try:
        refresh_global_settings_context()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
