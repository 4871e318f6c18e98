"""Who runs the fits and partitions of a run: threads of this process, or a Dask cluster.

A cluster takes seconds to start. So it begins as soon as it is known that it is needed, beside the work that
does not need it. Runs of several products side by side share one cluster (``shared_cluster``).
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

from churn.config.cluster import ClusterSettings
from churn.scoring.cluster.size import expected_threads, in_process, starts_processes
from churn.scoring.runner import Runner
from churn.scoring.threads import InProcess


class Workers:
    """Chooses who scores, once it is known how much there is to score."""

    def __init__(
        self,
        settings: ClusterSettings,
        start_cluster: Callable[[], Callable[[], Runner]],
        runs_at_once: int = 1,
    ) -> None:
        """Start a cluster that is needed in any case.

        Args:
            settings: the cluster.
            start_cluster: starts a cluster beside other work; returns a function that waits for it.
            runs_at_once: runs that share this process, and its threads.
        """
        self._settings = settings
        self._runs_at_once = runs_at_once
        self._start_cluster = start_cluster
        self._runner: Callable[[], Runner] | None = None
        if settings.kind != "local" or starts_processes(settings):
            self._runner = start_cluster()

    def expect(self, values: int) -> None:
        """Choose who scores, and start a cluster if that is the one. Only the first call chooses.

        Args:
            values: what there is to score, users times features.
        """
        self._chosen(values)

    def runner(self) -> Runner:
        """Wait for the cluster, if there is one, and return who scores.

        Raises:
            ConfigError: the settings name a cluster that cannot be used.
            RunError: the cluster did not start.
        """
        return self._chosen(0)()

    def _chosen(self, values: int) -> Callable[[], Runner]:
        if self._runner is None:
            if in_process(self._settings, values):
                runner = InProcess(max(1, expected_threads(self._settings) // self._runs_at_once))
                self._runner = lambda: runner
            else:
                self._runner = self._start_cluster()
        return self._runner


@contextmanager
def open_workers(settings: ClusterSettings, labels: Mapping[str, str] | None = None) -> Iterator[Workers]:
    """Yield who will score; a cluster that was made is closed afterwards.

    Example:
        >>> with open_workers(settings.cluster) as workers:
        ...     workers.expect(20_000 * 124)
        ...     rows = workers.runner().run(score_partition, tasks)

    Args:
        settings: the cluster.
        labels: run and product, for the tags of Fargate's tasks.
    """
    shared = _shared.get()
    if shared is not None:
        yield Workers(settings, shared.start, shared.runs_at_once)
        return
    with ExitStack() as stack:
        yield Workers(settings, _Cluster(settings, labels, stack).start)


class _Cluster:
    """A cluster that is started once, by whoever needs it first."""

    def __init__(
        self,
        settings: ClusterSettings,
        labels: Mapping[str, str] | None,
        stack: ExitStack,
        runs_at_once: int = 1,
    ) -> None:
        self.runs_at_once = runs_at_once
        self._settings, self._labels, self._stack = settings, labels, stack
        self._lock = threading.Lock()
        self._runner: Callable[[], Runner] | None = None

    def start(self) -> Callable[[], Runner]:
        """Start the cluster beside other work; return a function that waits for it."""
        from churn.scoring.cluster.client import client_in_background, fan_out  # Dask is slow to import

        with self._lock:
            if self._runner is None:
                client = self._stack.enter_context(client_in_background(self._settings, self._labels))
                self._runner = lambda: fan_out(client(), self._settings)
            return self._runner


_shared: ContextVar[_Cluster | None] = ContextVar("churn_shared_cluster", default=None)


@contextmanager
def shared_cluster(settings: ClusterSettings, runs_at_once: int) -> Iterator[None]:
    """Let all runs of this block use one cluster; it is closed afterwards.

    Threads that run them need a copy of this context (``contextvars.copy_context``).

    Args:
        settings: the cluster.
        runs_at_once: runs that go on at the same time.
    """
    with ExitStack() as stack:
        token = _shared.set(_Cluster(settings, None, stack, runs_at_once))
        try:
            yield
        finally:
            _shared.reset(token)
