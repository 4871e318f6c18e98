"""What keeps one worker process of this machine alive."""

import sys
import threading
from typing import Any

from distributed import Nanny
from distributed.core import Status
from tornado.ioloop import PeriodicCallback

from churn.scoring.cluster.closed import ClosedWorker
from churn.scoring.cluster.deaths import Deaths

_STARTS = 5  # of the first process; a later one is started as often as it dies
_LOOK_MS = 500.0


class WorkerNanny(Nanny):  # type: ignore[misc]  # distributed has no types
    """Keeps one worker process alive, and keeps the parent's main module out of it.

    ``multiprocessing`` would import that module again in each worker: for the command line, a deployment or a
    notebook that is Prefect and the flows, seconds of work that a worker must not have done for it.

    Dask gives up a nanny whose first process dies before its first report, and does not see a process that
    dies just after it. This class starts both again.
    """

    def __init__(self, *arguments: Any, deaths: Deaths, **options: Any) -> None:
        """Keep count of the cluster's deaths."""
        super().__init__(*arguments, worker_class=ClosedWorker, **options)
        self._deaths = deaths
        self._began = False  # whether a process was started
        self._exit_code: int = 0  # of the last process
        self.periodic_callbacks["revive"] = PeriodicCallback(self._revive, _LOOK_MS)

    async def instantiate(self) -> Any:
        """Start the worker process, and start it again if it dies on the way to its first report.

        Raises:
            RuntimeError: workers die one after the other.
        """
        status: Any = Status.failed
        for _ in range(_STARTS if self.status == Status.init else 1):
            if self._began:
                self._deaths.ended(self._exit_code)
            hopeless = self._deaths.hopeless()
            if hopeless is not None:
                raise RuntimeError(hopeless)
            self._began = True
            with _main_hidden:
                status = await super().instantiate()
            if status == Status.running or self.status in (Status.closing, Status.closed):
                break
        return status

    async def _revive(self) -> None:
        gone = self.process is not None and self.process.status == Status.stopped
        if self.status == Status.running and gone and self._deaths.hopeless() is None:
            await self.instantiate()

    def _on_worker_exit_sync(self, exitcode: int) -> None:
        self._exit_code = exitcode
        super()._on_worker_exit_sync(exitcode)

    def log_event(self, topic: Any, msg: Any) -> None:
        """Note that the worker is stopped for its memory, of which Dask makes an event."""
        if topic == "worker-restart-memory":
            self._deaths.over_limit(msg["rss"], idle=self._is_idle())
        super().log_event(topic, msg)

    def _is_idle(self) -> bool:
        """Return whether the scheduler, which is in this process, has given the worker nothing to do."""
        cluster = self._cluster() if hasattr(self, "_cluster") else None
        worker = None if cluster is None else cluster.scheduler.workers.get(self.worker_address)
        return worker is None or not worker.processing


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
