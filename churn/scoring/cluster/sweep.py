"""Tasks, task definitions and ECS clusters that a run left behind, as its process was killed or lost AWS."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from churn.config.cluster import ClusterSettings
from churn.scoring.cluster.ecs import Resource, aws_client, find, remove


@dataclass(frozen=True)
class Swept:
    """What a sweep found.

    Attributes:
        stale: what is old enough to have been left behind.
        recent: how many resources of this program are younger, and may belong to a run that goes on.
    """

    stale: tuple[Resource, ...]
    recent: int


def sweep(settings: ClusterSettings, older_than: timedelta, *, dry_run: bool) -> Swept:
    """Find what carries this program's tags and is older than any run takes and, unless dry, remove it.

    Args:
        settings: whose region, and ECS cluster, to look at; without ``fargate`` all of AWS' own region.
        older_than: age of the Dask cluster that it belongs to.
        dry_run: only look.

    Raises:
        ConfigError: AWS' libraries are not installed.
        RunError: AWS refused, or something could not be removed.
    """
    fargate = settings.fargate
    ecs = aws_client("ecs", fargate.region if fargate else None)
    found = find(ecs, fargate.ecs_cluster if fargate else None)
    limit = datetime.now(UTC) - older_than
    left = sorted((each for each in found if each.created < limit), key=lambda each: each.created)
    if not dry_run:
        remove(ecs, left)
    return Swept(tuple(left), len(found) - len(left))
