"""What to do when a cluster's workers fail: it depends on who starts them."""

from dataclasses import dataclass

from churn.config.cluster import ClusterSettings
from churn.scoring.cluster.deaths import Deaths


@dataclass(frozen=True)
class Advice:
    """Ends of sentences for the errors of a fan-out.

    Attributes:
        memory: how a worker gets more memory.
        workers: what to do if there are no workers.
        logs: where to look for the reason.
        deaths: of worker processes that this process started; None if somebody else starts them.
    """

    memory: str = "start workers with a larger --memory-limit"
    workers: str = "start workers for its scheduler"
    logs: str = "look at the logs of its scheduler and workers"
    deaths: Deaths | None = None


def local_advice(deaths: Deaths) -> Advice:
    """Return advice for worker processes of this machine."""
    return Advice(
        memory=deaths.memory_advice(),
        workers="its worker processes do not start: free memory on this machine, or set cluster.processes to "
        "false to score without them",
        logs="look in the system's log for what ended them, such as a shortage of memory",
        deaths=deaths,
    )


def remote_advice(settings: ClusterSettings, address: str) -> Advice:
    """Return advice for a scheduler that somebody runs at an address, or for Fargate."""
    if settings.kind == "fargate" and settings.fargate is not None:
        fargate = settings.fargate
        return Advice(
            memory=f"raise cluster.fargate.worker_memory (now {fargate.worker_memory} MiB)",
            workers="see in ECS why its tasks stopped"
            + (", and whether there is Spot capacity (cluster.fargate.spot)" if fargate.spot else ""),
            logs=f"look at the log streams of its tasks in {fargate.log_group}",
        )
    return Advice(workers=f"start workers for its scheduler at {address}")
