"""Worker processes on this machine.

Made for a command line: nothing listens beyond 127.0.0.1 or without a certificate, there is no page, logs
are silent, and workers import ``churn.worker`` and nothing else of this program. On Linux they are forked
from one small server that has imported it already: workers share that memory, and one that died is back in a
tenth of a second. Elsewhere each worker is a fresh interpreter.

Other people of the machine can reach its loopback ports, and a scheduler runs what it is sent. So scheduler,
workers and client of each cluster speak TLS with a key that is made for it and is in no file.
"""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import forkserver, resource_tracker

import dask.config
from distributed import Security, SpecCluster
from distributed.utils import get_mp_context
from distributed.worker_memory import parse_memory_limit

from churn.config.cluster import ClusterSettings
from churn.core.machine import memory_bytes
from churn.core.tempdirs import temporary_folder
from churn.scoring.cluster.closed import ClosedScheduler
from churn.scoring.cluster.deaths import Deaths
from churn.scoring.cluster.nanny import WorkerNanny
from churn.scoring.cluster.size import local_size

WORKER_MODULE = "churn.worker"
MINIMUM_ALLOWED_FAILURES = 3
_SILENT = logging.CRITICAL + 1
_METHOD = "forkserver" if sys.platform == "linux" else "spawn"
_HOST, _PROTOCOL = "127.0.0.1", "tls://"
_OPENINGS = 3  # of a cluster whose processes die while it starts

# Dask's threads are the parallelism: one OpenMP thread for each of them uses a core once.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), 1)
# A worker stores no results that it could move to disk. Paused, it would wait for memory that nothing frees.
NEVER_PAUSE = {"target": False, "spill": False, "pause": False}

# Defaults, so that a Dask configuration file or DASK_... variables of the user win. They must last as long as
# the process: a nanny reads them again when it replaces a worker.
dask.config.update_defaults(
    {
        "distributed": {
            # The sampling profiler is for a dashboard, which there is none of here.
            "worker": {
                "multiprocessing-method": _METHOD,
                "profile": {"enabled": False},
                "memory": NEVER_PAUSE,
            },
            "nanny": {"pre-spawn-environ": ONE_THREAD},
        }
    }
)

_logger = logging.getLogger(__name__)


class LocalProcesses(SpecCluster):  # type: ignore[misc]  # distributed has no types
    """A scheduler in this process, and worker processes of this machine.

    Attributes:
        deaths: those of its workers.
    """

    deaths: Deaths

    def __init__(self, settings: ClusterSettings, preload: list[str]) -> None:
        """Start scheduler and workers."""
        security = Security.temporary()
        threads = settings.threads_per_worker
        limit = _memory_limit(settings)
        self.deaths = Deaths(settings, limit)
        allowed = max(MINIMUM_ALLOWED_FAILURES, dask.config.get("distributed.scheduler.allowed-failures"))
        common = {"host": _HOST, "protocol": _PROTOCOL, "security": security}
        worker = {
            "cls": WorkerNanny,
            "options": {
                **common,
                "nthreads": threads,
                "memory_limit": limit,
                # The fork server keeps the environment of its own start, which may be long ago.
                "env": {name: value for name, value in os.environ.items() if name.startswith("AWS_")},
                "preload": preload,
                "silence_logs": _SILENT,
                "deaths": self.deaths,
            },
        }
        super().__init__(
            name="churn",
            scheduler={
                "cls": ClosedScheduler,
                "options": {**common, "port": 0, "dashboard": False, "allowed_failures": allowed},
            },
            workers=dict.fromkeys(range(local_size(settings)), worker),
            security=security,
            silence_logs=_SILENT,
        )


def _memory_limit(settings: ClusterSettings) -> int | None:
    """Return the bytes of each worker; None without a limit.

    Dask's own ``auto`` is a share by cores, however few workers there are.
    """
    if settings.memory_limit == "auto":
        return memory_bytes() // local_size(settings)
    limit: int | None = parse_memory_limit(settings.memory_limit, settings.threads_per_worker, logger=_logger)
    return limit


@contextmanager
def local_cluster(settings: ClusterSettings) -> Iterator[LocalProcesses]:
    """Yield a cluster of worker processes on the loopback interface."""
    _silence_logs()
    # After this time the cluster closes a nanny whose worker it does not see. A nanny that is just replacing
    # a worker would be closed too, for the death of an earlier one, and the cluster would stay smaller.
    options = {"distributed.deploy.lost-worker-timeout": "365 days"}
    with ExitStack() as stack:
        if not dask.config.get("temporary-directory"):
            # Dask puts its scratch folder first on the path of imports. By default that is in a folder that
            # anybody on the machine can make first, and put modules into.
            options["temporary-directory"] = str(stack.enter_context(temporary_folder()))
        stack.enter_context(dask.config.set(options))
        yield stack.enter_context(_opened(settings))


def _opened(settings: ClusterSettings) -> LocalProcesses:
    """Start a cluster; start again, a few times, if a process dies on the way."""
    for attempt in range(1, _OPENINGS + 1):
        try:
            preload = _prepare_processes()
            return LocalProcesses(settings, preload)
        except (OSError, RuntimeError, EOFError) as error:
            if attempt == _OPENINGS:
                raise
            _logger.warning("the worker processes did not start (%s); they are started again", error)
    raise AssertionError("unreachable")


def _prepare_processes() -> list[str]:
    """Start the fork server where there is one; return what each worker imports by itself."""
    if dask.config.get("distributed.worker.multiprocessing-method") != "forkserver":
        return [WORKER_MODULE]
    get_mp_context().set_forkserver_preload(["distributed.nanny", WORKER_MODULE])
    _start_fork_server()
    return []


def _start_fork_server() -> None:
    """Start the server that workers are forked from, out of reach of Ctrl-C and of a terminal that closes.

    A terminal sends both to every process of its group. The cluster is closed in order by this one; a server
    that is stopped while it imports, and workers, would only print how they were interrupted.
    """
    out_of_reach = {signal.SIGINT, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, out_of_reach)  # which a new process inherits
    try:
        resource_tracker.ensure_running()  # the server needs it; it lifts part of the mask
        signal.pthread_sigmask(signal.SIG_BLOCK, out_of_reach)
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
