"""The library's FargateCluster, made to keep its workers, to give up in time, and to end in any case."""

import asyncio
import logging
import threading
import time
import warnings
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from botocore.config import Config
from dask_cloudprovider.aws import FargateCluster
from distributed.core import Status

_LOOK_SECONDS = 0.2
_REFILL_SECONDS = 15.0
_CLOSE_SECONDS = 60.0
_PACE = 0.05  # seconds between two requests, all workers together: what ECS allows for long
_TRIES = {"max_attempts": 8, "mode": "standard"}

# Every start on Fargate takes longer than the ten seconds after which the library is surprised.
warnings.filterwarnings("ignore", "Creating your cluster is taking a surprisingly long time")

_logger = logging.getLogger(__name__)


class RefillingFargateCluster(FargateCluster):  # type: ignore[misc]  # the library has no types
    """A FargateCluster with the scheduler's task; workers come and are replaced once ``keep`` was called.

    The library starts workers once and does not replace those that Spot takes; it waits for a task without
    end, asks for its state as fast as it can, and after a failed start leaves its thread and what it had
    begun to the end of the process.

    Args:
        stop: once it is set, the start is given up.
        deadline: by ``time.monotonic``, until when the scheduler must answer.
        made: the cluster puts itself here, as a constructor that fails returns nothing to close.
        arguments: the library's own.
    """

    def __init__(
        self,
        stop: threading.Event,
        deadline: float,
        made: "list[RefillingFargateCluster]",
        **arguments: Any,
    ) -> None:
        """Start the scheduler's task and connect to it."""
        self._stop = stop
        self._deadline = deadline
        self._last = 0.0
        self._kept: asyncio.Task[None] | None = None
        self._open = AsyncExitStack()
        self._clients: dict[str, Any] = {}
        made.append(self)
        super().__init__(**arguments)

    async def _start(self) -> None:
        self._opening = asyncio.Lock()
        starting = asyncio.ensure_future(super()._start())
        while not starting.done():
            if self._stop.is_set() or time.monotonic() > self._deadline:
                starting.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await starting
                raise TimeoutError
            await asyncio.wait({starting}, timeout=_LOOK_SECONDS)
        await starting

    def _check_scheduler_tls_config(self) -> None:
        """Say nothing: the library never sees TLS here, and warns although it is there."""

    def _client(self, name: str) -> Any:
        return self._paced_client(name)

    @asynccontextmanager
    async def _paced_client(self, name: str) -> AsyncIterator[Any]:
        """Yield one client for all requests to a service; the library would make one for each."""
        now = asyncio.get_running_loop().time()
        self._last = max(self._last + _PACE, now)
        await asyncio.sleep(self._last - now)
        async with self._opening:
            if name not in self._clients:
                client = self.session.create_client(
                    name, region_name=self._region_name, config=Config(retries=_TRIES)
                )
                self._clients[name] = await self._open.enter_async_context(client)
        yield self._clients[name]

    def maintain(self, workers: int) -> None:
        """Start so many workers and, whenever some are lost, others in their place."""
        self.loop.add_callback(self._begin_to_maintain, workers)

    def _begin_to_maintain(self, workers: int) -> None:
        self._kept = asyncio.ensure_future(self._keep(workers))

    async def _keep(self, workers: int) -> None:
        while len(self.worker_spec) < workers:
            self.worker_spec.update(self.new_worker_spec())
        while self.status == Status.running:
            for name, worker in list(self.workers.items()):
                if worker.status != Status.running:  # it never started
                    del self.workers[name]
            try:
                await self._correct_state()
            except Exception as error:  # the library raises RuntimeError with AWS' whole answer, and others
                _logger.warning("a Fargate worker did not start, and is tried again: %s", str(error)[:300])
            await asyncio.sleep(_REFILL_SECONDS)

    def end(self) -> None:
        """Close the cluster as far as that is possible, and stop its thread, with all that still waits in it.

        What the library may leave running in AWS is to be looked for afterwards.
        """
        try:
            self.sync(self._end)
        finally:
            self._loop_runner.stop()

    async def _end(self) -> None:
        if self._kept is not None:
            self._kept.cancel()
        pending = [worker for worker in self._created if worker.status == Status.created]
        for worker in pending:  # the library insists that what it created has an end
            worker.status = Status.failed
        try:
            await asyncio.wait_for(self._close(), _CLOSE_SECONDS)
        except Exception as error:  # whatever it is: tasks are looked for and stopped afterwards
            _logger.info("closing the Dask cluster ended with %s: %s", type(error).__name__, error)
        self.status = Status.closed
        with suppress(Exception):  # connections that are broken already
            await self._open.aclose()
