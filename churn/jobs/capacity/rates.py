"""How fast this machine scores: what a calibration has measured."""

from collections.abc import Mapping
from dataclasses import dataclass

from churn.core.errors import UsageError


@dataclass(frozen=True)
class Rates:
    """What scoring takes, for a model of one size. Seconds are CPU seconds where nothing else is said."""

    features: int
    trees: int
    depth: int  # of a tree, at most
    user_s: float  # of a worker, for each user
    partition_s: float  # of a worker, for each partition besides its users: task, files, checks
    load_s: float  # of a worker, once: model and compiled loops
    start_s: float  # of a worker, once: interpreter and imports
    start_wall_s: float  # wall seconds until a cluster answers on this machine
    task_s: float  # of client and scheduler together, for each partition
    watch: float  # share of a core that client and scheduler take while they wait for workers
    watch_worker: float  # the same, for each worker: its heartbeats, and locally its nanny
    merge_partition_s: float  # of the client, for each partition: row, sums, stamps in the manifest
    merge_user_s: float  # of the client, for each user: the score for the report
    hash_byte_s: float  # of the client, for each byte of features: their stamp at the commit
    tasks_a_second: float  # empty partitions through scheduler and client of this machine
    read_bytes: float  # features, for each user
    written_bytes: Mapping[str, float]  # for each user, by dataset
    effects_bytes: float  # of a partition's sums, which do not grow with its users
    worker_bytes: float  # a worker's peak memory
    stages: Mapping[str, float]  # CPU seconds for each user, by stage of scoring
    took_s: float = 0.0  # wall seconds of the calibration
    load_average: float = 0.0  # above `cores`, do not trust wall seconds
    cores: int = 1

    def __post_init__(self) -> None:
        """Raise UsageError for rates that no machine can have measured."""
        positive = ("user_s", "tasks_a_second", "read_bytes", "worker_bytes")
        wrong = [name for name in positive if not getattr(self, name) > 0]
        others = [name for name, value in vars(self).items() if isinstance(value, float)]
        wrong += [name for name in others if name not in positive and not getattr(self, name) >= 0]
        if wrong:
            raise UsageError(
                f"these rates cannot be: {', '.join(wrong)}; calibrate again on a calmer machine"
            )

    @property
    def busy(self) -> bool:
        """Whether others had the machine too."""
        return self.load_average > self.cores
