"""How many partitions are scored at once, and whether that is worth worker processes.

This module imports no cluster.
"""

from dask.system import CPU_COUNT

from churn.config.cluster import ClusterSettings
from churn.core.machine import memory_bytes

MEMORY_PER_WORKER = 600_000_000  # bytes; fewer workers than cores where memory is short
# From here on worker processes are worth their start. 100 million values (users times features) are 7 CPU
# seconds of scoring with 300 trees of depth 6. Processes cost 2.4 CPU seconds and 1 to 2 seconds to start.
# Threads share Python's lock, which scoring holds for a fifth of its time: they use five cores at most.
PROCESSES_FROM = 100_000_000
_THREADS_ELSEWHERE = 8  # of a cluster that is not asked; several partitions for each of many more, too


def local_size(settings: ClusterSettings) -> int:
    """Return how many workers this machine gets: as set, else by cores and memory (of the container)."""
    if settings.workers is not None:
        return settings.workers
    by_cores = CPU_COUNT // settings.threads_per_worker
    by_memory = memory_bytes() // MEMORY_PER_WORKER
    return int(max(1, min(by_cores, by_memory)))


def expected_threads(settings: ClusterSettings) -> int:
    """Return how many partitions will be scored at once; a guess for a scheduler by address."""
    if settings.kind == "address":
        return _THREADS_ELSEWHERE
    workers = local_size(settings) if settings.kind == "local" else settings.workers or 1
    return workers * settings.threads_per_worker


def fit_threads(settings: ClusterSettings, *, in_process: bool) -> int:
    """Return how many threads one fit uses: those of its worker.

    Args:
        settings: the cluster.
        in_process: whether this process fits, which has all of the machine's cores.
    """
    return CPU_COUNT if in_process else settings.threads_per_worker


def in_process(settings: ClusterSettings, values: int) -> bool:
    """Return whether this process scores by itself.

    Args:
        settings: the cluster.
        values: what there is to score, users times features.
    """
    if settings.kind != "local" or starts_processes(settings):
        return False
    return settings.processes is False or values < PROCESSES_FROM


def starts_processes(settings: ClusterSettings) -> bool:
    """Return whether the settings ask for worker processes, however little there is to score.

    Only a process can be held to a limit of memory.
    """
    return settings.processes is True or (settings.processes is None and settings.memory_limit != "auto")
