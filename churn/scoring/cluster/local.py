"""Worker processes on this machine.

Made for a command line: nothing listens beyond 127.0.0.1, there is no dashboard, logs are silent, and
workers import ``churn.worker`` and nothing else of this program. On Linux they are forked from one small
server that has imported it already: workers share that memory, and one that died is back in a tenth of a
second. Elsewhere each worker is a fresh interpreter.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from typing import Any

import dask.config
from dask.system import CPU_COUNT
from distributed import LocalCluster, Nanny
from distributed.system import MEMORY_LIMIT
from distributed.utils import get_mp_context

from churn.config.cluster import ClusterSettings

WORKER_MODULE = "churn.worker"
MINIMUM_ALLOWED_FAILURES = 3
MEMORY_PER_WORKER = 600_000_000  # bytes; fewer workers than cores where memory is short
_SILENT = logging.CRITICAL + 1
_METHOD = "forkserver" if sys.platform == "linux" else "spawn"

# Dask's threads are the parallelism: one OpenMP thread for each of them uses a core once.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), 1)

# Defaults, so that a Dask configuration file or DASK_... variables of the user win. They must last as long as
# the process: a nanny reads them again when it replaces a worker.
dask.config.update_defaults(
    {
        "distributed": {
            # The sampling profiler is for a dashboard, which there is none of here.
            "worker": {"multiprocessing-method": _METHOD, "profile": {"enabled": False}},
            "nanny": {"pre-spawn-environ": ONE_THREAD},
        }
    }
)

_logger = logging.getLogger(__name__)


def local_size(settings: ClusterSettings) -> int:
    """Return how many workers a local cluster gets: as set, else by cores and memory (of the container)."""
    if settings.workers is not None:
        return settings.workers
    by_cores = CPU_COUNT // settings.threads_per_worker
    by_memory = MEMORY_LIMIT // MEMORY_PER_WORKER
    return int(max(1, min(by_cores, by_memory)))


@contextmanager
def local_cluster(settings: ClusterSettings) -> Iterator[Any]:
    """Yield a cluster of worker processes on the loopback interface."""
    preload: list[str] = []
    if dask.config.get("distributed.worker.multiprocessing-method") == "forkserver":
        get_mp_context().set_forkserver_preload(["distributed.nanny", WORKER_MODULE])
        _start_fork_server()
    else:
        preload = [WORKER_MODULE]
    allowed = max(MINIMUM_ALLOWED_FAILURES, dask.config.get("distributed.scheduler.allowed-failures"))
    _silence_logs()
    # After this time the cluster closes a nanny whose worker it does not see. A nanny that is just replacing
    # a worker would be closed too, for the death of an earlier one, and the cluster would stay smaller.
    never = dask.config.set({"distributed.deploy.lost-worker-timeout": "365 days"})
    with (
        never,
        LocalCluster(
            n_workers=local_size(settings),
            threads_per_worker=settings.threads_per_worker,
            memory_limit=settings.memory_limit,
            worker_class=_Nanny,
            # The fork server keeps the environment of its own start, which may be long ago.
            env={name: value for name, value in os.environ.items() if name.startswith("AWS_")},
            preload=preload,
            silence_logs=_SILENT,
            # Without a dashboard Dask still serves its health pages: on any free loopback port.
            dashboard_address=None,
            scheduler_kwargs={
                "dashboard": False,
                "dashboard_address": "127.0.0.1:0",
                "allowed_failures": allowed,
            },
        ) as cluster,
    ):
        yield cluster


def _start_fork_server() -> None:
    """Start the server that workers are forked from, out of reach of Ctrl-C.

    A terminal sends that to every process of its group. The cluster is closed in order by this one; a server
    that is stopped while it imports, and workers, would only print how they were interrupted.
    """
    resource_tracker.ensure_running()  # it is started on the way, and lifts the mask of this thread
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which a new process inherits
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _silence_logs() -> None:
    """Make Dask's loggers say nothing, whatever handlers the program has, until the process ends.

    They report each step of closing a cluster, some with a traceback; what matters is raised or logged here.
    """
    for name in list(logging.Logger.manager.loggerDict):
        if name.partition(".")[0] == "distributed":
            logging.getLogger(name).setLevel(_SILENT)


class _Nanny(Nanny):  # type: ignore[misc]  # distributed has no types
    """Keeps one worker process alive, and keeps the parent's main module out of it.

    ``multiprocessing`` would import that module again in each worker: for the command line, a deployment or a
    notebook that is Prefect and the flows, seconds of work that a worker must not have done for it.
    """

    _started = False

    async def instantiate(self) -> Any:
        """Start the worker process."""
        if self._started:
            _logger.warning("a worker died; another takes its place")
        self._started = True
        with _main_hidden:
            return await super().instantiate()


class _MainHidden:
    """While entered (by any number of threads), ``__main__`` does not say where it came from."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entered = 0
        self._origin: dict[str, Any] = {}

    def __enter__(self) -> None:
        with self._lock:
            self._entered += 1
            if self._entered == 1:
                main = vars(sys.modules["__main__"])
                self._origin = {name: main[name] for name in ("__spec__", "__file__") if name in main}
                main["__spec__"] = None
                main.pop("__file__", None)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._entered -= 1
            if self._entered == 0:
                vars(sys.modules["__main__"]).update(self._origin)


_main_hidden = _MainHidden()
