"""Remove the tasks, task definitions and ECS clusters that killed runs left behind."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from churn.config.cluster import ClusterSettings
from churn.scoring.cluster.ecs import Resource, aws_client, find, remove


@dataclass(frozen=True)
class Swept:
    """The result of a sweep."""

    stale: tuple[Resource, ...]  # older than the limit
    recent: int  # number of younger ones, which a running run may use


def sweep(settings: ClusterSettings, older_than: timedelta, *, dry_run: bool) -> Swept:
    """Find this program's resources older than ``older_than`` and, unless it is a dry run, remove them.

    Args:
        settings: name the region and ECS cluster; without ``fargate``, every cluster of the default region.
        older_than: age of the Dask cluster they belong to.
        dry_run: remove nothing.

    Raises:
        ConfigError: AWS' libraries are not installed.
        RunError: AWS refused, or something could not be removed.
    """
    fargate = settings.fargate
    ecs = aws_client("ecs", fargate.region if fargate else None)
    resources = find(ecs, fargate.ecs_cluster if fargate else None)
    limit = datetime.now(UTC) - older_than
    stale = sorted((each for each in resources if each.created < limit), key=lambda each: each.created)
    if not dry_run:
        remove(ecs, stale)
    return Swept(tuple(stale), len(resources) - len(stale))
