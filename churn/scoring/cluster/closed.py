"""A scheduler and a worker that serve no page.

Dask's own ones answer HTTP on a port of their own, without TLS and to everybody on the machine, even where
there is no dashboard.
"""

from typing import Any

from distributed import Scheduler, Worker


class _NoPages:
    """Opens no port for HTTP."""

    def start_http_server(self, *_: Any, **__: Any) -> None:
        """Do nothing."""


class ClosedScheduler(_NoPages, Scheduler):  # type: ignore[misc]  # distributed has no types
    """A scheduler that can be reached in Dask's own protocol only."""


class ClosedWorker(_NoPages, Worker):  # type: ignore[misc]  # distributed has no types
    """A worker that can be reached in Dask's own protocol only."""
