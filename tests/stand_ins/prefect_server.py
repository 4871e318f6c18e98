"""A real Prefect server on the loopback interface, and the processes that speak to it; all end with it."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

ROOT = Path(__file__).parents[2]
_OURS = ("CHURN_", "PREFECT_", "MLFLOW_", "DASK_", "DEPLOY_")
T = TypeVar("T")


class PrefectServer:
    """A server in a process of its own.

    Attributes:
        url: of its API.
        environment: for every process that shall speak to it.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/api"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(_OURS)},
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
            # SQLite has one writer at a time; on a busy machine the others wait rather than lose an event.
            "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
            "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "60",
            "PREFECT_CLI_PROMPT": "false",
            "DO_NOT_TRACK": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "OMP_NUM_THREADS": "1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            **settings,
        }
        self.start("server", ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)])
        self._http = httpx.Client(base_url=self.url, timeout=120)  # a starved server is slow, not gone
        try:
            wait_for(self._healthy, 180, "the Prefect server answers")
        except BaseException:
            self.close()
            raise

    def _healthy(self) -> bool:
        try:
            return self._http.get("/health").is_success
        except httpx.TransportError:
            return False

    def start(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a process of a session of its own, whose words go to a file."""
        with open(self._folder / f"{name}.log", "wb") as log:
            started = subprocess.Popen(
                command,
                env={**self.environment, **(environment or {})},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started.append(started)
        return started

    def said(self, name: str) -> str:
        """What a process that was started has said."""
        return (self._folder / f"{name}.log").read_text("utf-8", "replace")

    def call(self, *command: str, stdin: str = "", **environment: str) -> str:
        """Run a command to its end; return what it said."""
        done = subprocess.run(
            command,
            env={**self.environment, **environment},
            cwd=ROOT,
            input=stdin,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def get(self, path: str) -> Any:
        """Read something by its path."""
        return self._ask("GET", path)

    def post(self, path: str, **body: Any) -> Any:
        """Ask for something, or make it."""
        return self._ask("POST", path, json=body)

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        for _ in range(20):
            answer = self._http.request(method, path, **more)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:  # the database was busy
                break
            time.sleep(1)
        return answer.raise_for_status().json()

    def processes(self) -> list[psutil.Process]:
        """Every process that lives with this server's settings."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("PREFECT_HOME") == self.environment["PREFECT_HOME"]:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def close(self) -> list[psutil.Process]:
        """End everything that was started, the server last; return what lived on, after killing it."""
        for process in reversed(self._started):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self._http.close()
        left = self.processes()
        for process in left:
            process.kill()
        return left


def wait_for(check: Callable[[], T], seconds: float, what: str, pause: float = 0.3) -> T:
    """Ask until the answer is something true; return it."""
    end = time.monotonic() + seconds
    while not (answer := check()):
        assert time.monotonic() < end, f"waited {seconds:.0f} s in vain until {what}"
        time.sleep(pause)
    return answer


@contextmanager
def listener() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Listen on the loopback interface; yield the address for Apprise, and the messages that have come."""
    messages: list[dict[str, Any]] = []

    class Take(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Take) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"json://127.0.0.1:{server.server_port}/", messages
        finally:
            server.shutdown()
            thread.join()
