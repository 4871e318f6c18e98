"""A scheduler and workers as real processes on 127.0.0.1, which tests kill, stop and start at will."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from churn.config.cluster import ClusterSettings
from tests.stand_ins.certificates import Pair

ROOT = Path(__file__).parents[2]
DASK = str(Path(sys.executable).parent / "dask")
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


@dataclass
class Processes:
    """A cluster of processes that belong to one test.

    Attributes:
        folder: for their files and output.
        pair: certificates, where they speak TLS.
        variables: of all of them.
        port: the scheduler's.
        started: every process, by name.
    """

    folder: Path
    pair: Pair | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    port: int = 0
    started: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.files = self.pair.write(self.folder) if self.pair else {}

    @property
    def address(self) -> str:
        """The scheduler's."""
        return f"{'tls' if self.pair else 'tcp'}://127.0.0.1:{self.port}"

    @property
    def settings(self) -> ClusterSettings:
        """Settings that lead here."""
        return ClusterSettings(kind="address", address=self.address, **self.files)

    def _start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        tls = [f"--{key.replace('_', '-')}={path}" for key, path in self.files.items()]
        tls = [each.replace("--tls-ca=", "--tls-ca-file=") for each in tls]
        variables = {
            **os.environ, **_ONE_THREAD, "PYTHONPATH": str(ROOT), "DASK_TEMPORARY_DIRECTORY": str(self.folder),
            "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False", **self.variables,
        }  # fmt: skip
        if self.pair:
            tls += ["--protocol", "tls"]
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [DASK, *arguments, "--host", "127.0.0.1", "--no-dashboard", *tls],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=variables, cwd=self.folder,
                start_new_session=True,
            )  # fmt: skip
        self.started[name] = process
        return process

    def scheduler(self, *arguments: str) -> None:
        """Start the scheduler, at the same port each time, and wait until it listens."""
        process = self._start(
            "scheduler",
            "scheduler",
            "--port",
            str(self.port),
            "--dashboard-address",
            "127.0.0.1:0",
            *arguments,
        )
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert process.poll() is None, (self.folder / "scheduler.log").read_text()
                assert time.monotonic() < end
                time.sleep(0.05)

    def worker(self, name: str, *arguments: str, nanny: bool = False, memory: str = "0") -> None:
        """Start a worker; it comes when it is ready."""
        self._start(
            name, "worker", self.address, "--name", name, "--nthreads", "1", "--memory-limit", memory,
            "--nanny" if nanny else "--no-nanny", "--preload", "churn.worker", *arguments,
        )  # fmt: skip

    def workers(self, names: Sequence[str], client: Any = None, **options: Any) -> None:
        """Start several and, with a client, wait for them."""
        for name in names:
            self.worker(name, **options)
        end = time.monotonic() + 60
        while client is not None and not set(names) <= self.present(client):
            assert time.monotonic() < end, "the workers did not come"
            time.sleep(0.05)

    def present(self, client: Any) -> set[str]:
        """Names of the workers that the scheduler knows."""
        return {each["name"] for each in client.scheduler_info(n_workers=-1)["workers"].values()}

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a process and those that it started."""
        process = self.started[name]
        if process.poll() is None:
            os.killpg(process.pid, number)
        if number == signal.SIGKILL:
            process.wait()

    def close(self) -> None:
        """End everything, at once."""
        for name in self.started:
            self.signal(name, signal.SIGKILL)


@contextmanager
def dask_processes(
    folder: Path, pair: Pair | None = None, variables: Mapping[str, str] | None = None
) -> Iterator[Processes]:
    """Yield a running scheduler without workers; end everything afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    processes = Processes(folder, pair, variables or {})
    try:
        processes.scheduler()
        yield processes
    finally:
        processes.close()
