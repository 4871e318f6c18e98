"""Who scores the partitions of a run: threads of this process, or a Dask cluster.

A cluster takes seconds to start. So it begins as soon as it is known that it is needed, beside the work that
does not need it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from churn.config.cluster import ClusterSettings
from churn.scoring.cluster.size import expected_threads, in_process, starts_processes
from churn.scoring.runner import Runner
from churn.scoring.threads import InProcess


class Workers:
    """Chooses who scores, once it is known how much there is to score."""

    def __init__(self, settings: ClusterSettings, start_cluster: Callable[[], Callable[[], Runner]]) -> None:
        """Start a cluster that is needed in any case.

        Args:
            settings: the cluster.
            start_cluster: starts a cluster beside other work; returns a function that waits for it.
        """
        self._settings = settings
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
                runner = InProcess(expected_threads(self._settings))
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
    with ExitStack() as stack:

        def start_cluster() -> Callable[[], Runner]:
            from churn.scoring.cluster.client import client_in_background, fan_out  # Dask is slow to import

            client = stack.enter_context(client_in_background(settings, labels))
            return lambda: fan_out(client(), settings)

        yield Workers(settings, start_cluster)
