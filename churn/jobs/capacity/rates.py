"""How fast this machine scores: what a calibration has measured."""

from collections.abc import Mapping
from dataclasses import dataclass

from churn.core.errors import UsageError


@dataclass(frozen=True)
class Rates:
    """What scoring takes, for a model of one size. Seconds are CPU seconds where nothing else is said.

    Attributes:
        features: features of the model.
        trees: trees of the model.
        depth: depth of a tree, at most.
        user_s: of a worker, for each user.
        partition_s: of a worker, for each partition besides its users: task, files, checks.
        load_s: of a worker, once: model and compiled loops.
        start_s: of a worker, once: interpreter and imports.
        start_wall_s: wall seconds until a cluster answers on this machine.
        task_s: of client and scheduler together, for each partition.
        watch: share of a core that client and scheduler take while they wait for workers, however many.
        watch_worker: the same, for each worker: its heartbeats, and locally its nanny.
        merge_partition_s: of the client, for each partition: its row, its sums, its stamps in the manifest.
        merge_user_s: of the client, for each user: the score, for the report.
        hash_byte_s: of the client, for each byte of features, which it stamps when it commits.
        tasks_a_second: partitions that did nothing, through scheduler and client of this machine.
        read_bytes: features, for each user.
        written_bytes: for each user, by dataset.
        effects_bytes: of a partition's sums, which do not grow with its users.
        worker_bytes: largest memory that a worker ever had.
        stages: CPU seconds for each user, by stage of scoring.
        took_s: wall seconds of the calibration.
        load_average: of the machine meanwhile; above its cores, seconds of wall are not to be trusted.
        cores: of the machine.
    """

    features: int
    trees: int
    depth: int
    user_s: float
    partition_s: float
    load_s: float
    start_s: float
    start_wall_s: float
    task_s: float
    watch: float
    watch_worker: float
    merge_partition_s: float
    merge_user_s: float
    hash_byte_s: float
    tasks_a_second: float
    read_bytes: float
    written_bytes: Mapping[str, float]
    effects_bytes: float
    worker_bytes: float
    stages: Mapping[str, float]
    took_s: float = 0.0
    load_average: float = 0.0
    cores: int = 1

    def __post_init__(self) -> None:
        """Refuse what no machine can have measured.

        Raises:
            UsageError: a rate that must be above 0 is not, or one is below 0.
        """
        positive = ("user_s", "tasks_a_second", "read_bytes", "worker_bytes")
        wrong = [name for name in positive if not getattr(self, name) > 0]
        others = (
            "partition_s",
            "load_s",
            "start_s",
            "task_s",
            "watch",
            "watch_worker",
            "merge_partition_s",
            "merge_user_s",
            "hash_byte_s",
        )
        wrong += [name for name in others if not getattr(self, name) >= 0]
        if wrong:
            raise UsageError(
                f"these rates cannot be: {', '.join(wrong)}; calibrate again on a calmer machine"
            )

    @property
    def busy(self) -> bool:
        """Whether others had the machine too."""
        return self.load_average > self.cores
