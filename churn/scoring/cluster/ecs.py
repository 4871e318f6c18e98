"""Find and remove what this program made in ECS, by its tags.

Everything it makes carries the name of its Dask cluster, the run and product, and the time. Nothing else is
touched.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

from churn.core.aws import aws_errors, explained, make_client, reason
from churn.core.errors import RunError

NAME_TAG, CREATED_TAG, RUN_TAG, PRODUCT_TAG = "churn:cluster", "churn:created", "churn:run", "churn:product"
PREFIX = "churn-"  # of the names of clusters, and so of families of task definitions
_CHUNK = 100  # what AWS describes at once
_DELETED_AT_ONCE = 10
_TRIES = {"max_attempts": 8, "mode": "adaptive"}
_EMPTY_SECONDS, _EMPTY_PAUSE = 120.0, 2.0  # for an ECS cluster to be rid of tasks that were stopped

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Resource:
    """Something in ECS that carries this program's tags."""

    kind: Literal["task", "task definition", "ECS cluster"]
    arn: str
    ecs_cluster: str  # a task's; else empty
    cluster: str  # name of its Dask cluster
    created: datetime  # when the Dask cluster was made
    run: str
    product: str


def tags_of(name: str, labels: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of all that belongs to a Dask cluster; labels may have ``run`` and ``product``."""
    optional = {RUN_TAG: labels.get("run"), PRODUCT_TAG: labels.get("product")}
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {NAME_TAG: name, CREATED_TAG: now, **{key: value for key, value in optional.items() if value}}


def aws_tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Return tags as ECS takes them."""
    return [{"key": key, "value": value} for key, value in sorted(tags.items())]


def aws_client(service: str, region: str | None) -> Any:
    """Return a client of an AWS service, which tries again where AWS is busy.

    Raises:
        ConfigError: AWS' library is not installed.
        RunError: no region is known.
    """
    with explain_ecs_errors(f"reach {service}"):
        return make_client(service, region, "Fargate", retries=_TRIES)


def explain_ecs_errors(what: str) -> AbstractContextManager[None]:
    """Explain AWS errors by the cluster's settings; see ``churn.core.aws.explained``."""
    return explained(what, "cluster.fargate.region", "the cluster's settings")


def find(ecs: Any, ecs_cluster: str | None, name: str | None = None) -> list[Resource]:
    """Return the running tasks, active task definitions and clusters with this program's tags.

    Args:
        ecs: a client of ECS.
        ecs_cluster: ARN of the only ECS cluster to look for tasks in; None = all of the region.
        name: of the only Dask cluster to look for; None = all.

    Raises:
        RunError: AWS refused.
    """
    resources: list[Resource] = []
    with explain_ecs_errors("look for tasks and task definitions"):
        active = {"familyPrefix": name or PREFIX, "status": "ACTIVE"}
        for family in _all_pages(ecs, "list_task_definition_families", "families", **active):
            active = {"familyPrefix": family, "status": "ACTIVE"}
            for arn in _all_pages(ecs, "list_task_definitions", "taskDefinitionArns", **active):
                described = ecs.describe_task_definition(taskDefinition=arn, include=["TAGS"])
                resources += _if_tagged("task definition", arn, "", described.get("tags", []))
        for cluster in _ecs_clusters(ecs, ecs_cluster):
            arn = cluster["clusterArn"]
            for task in running_tasks(ecs, arn):
                resources += _if_tagged("task", task["taskArn"], arn, task.get("tags", []))
            resources += _if_tagged("ECS cluster", arn, "", cluster.get("tags", []))
    return [each for each in resources if name is None or each.cluster == name]


def running_tasks(ecs: Any, ecs_cluster: str, **only: str) -> list[dict[str, Any]]:
    """Describe the tasks of an ECS cluster that are to run (or, with ``desiredStatus``, were stopped)."""
    asked = {"desiredStatus": "RUNNING", **only}
    arns = _all_pages(ecs, "list_tasks", "taskArns", cluster=ecs_cluster, **asked)
    return [
        task
        for chunk in _chunks(arns, _CHUNK)
        for task in ecs.describe_tasks(cluster=ecs_cluster, tasks=chunk, include=["TAGS"])["tasks"]
    ]


def _ecs_clusters(ecs: Any, only: str | None) -> list[dict[str, Any]]:
    arns = _all_pages(ecs, "list_clusters", "clusterArns") if only is None else [only]
    described = [
        cluster
        for chunk in _chunks(arns, _CHUNK)
        for cluster in ecs.describe_clusters(clusters=chunk, include=["TAGS"])["clusters"]
    ]
    return [cluster for cluster in described if cluster["status"] == "ACTIVE"]


def _all_pages(ecs: Any, operation: str, key: str, **arguments: str) -> list[str]:
    pages = ecs.get_paginator(operation).paginate(**arguments)
    return list(pages.build_full_result().get(key, []))


def _chunks(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _if_tagged(
    kind: Literal["task", "task definition", "ECS cluster"],
    arn: str,
    ecs_cluster: str,
    tags: Sequence[Mapping[str, str]],
) -> list[Resource]:
    """Return a list with the resource if it has this program's name and time tags, else an empty one."""
    values = {tag["key"]: tag.get("value", "") for tag in tags}
    name = values.get(NAME_TAG, "")
    try:
        created = datetime.strptime(values.get(CREATED_TAG, ""), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return []
    if not name.startswith(PREFIX):
        return []
    run, product = values.get(RUN_TAG, ""), values.get(PRODUCT_TAG, "")
    return [Resource(kind, arn, ecs_cluster, name, created, run, product)]


def remove(ecs: Any, resources: Sequence[Resource]) -> None:
    """Remove resources: task definitions first, so that they start no more tasks.

    Raises:
        RunError: some could not be removed; all others were.
    """
    failed: list[str] = []

    def attempt(what: Resource, action: Callable[..., Any], **arguments: str) -> None:
        try:
            action(**arguments)
        except aws_errors() as error:
            failed.append(f"{what.kind} {what.arn} ({reason(error)})")

    by_kind = {
        kind: [each for each in resources if each.kind == kind]
        for kind in ("task definition", "task", "ECS cluster")
    }
    for each in by_kind["task definition"]:
        attempt(each, ecs.deregister_task_definition, taskDefinition=each.arn)
    for each in by_kind["task"]:
        attempt(
            each, ecs.stop_task, cluster=each.ecs_cluster, task=each.arn, reason=f"{each.cluster} is over"
        )
    for chunk in _chunks([each.arn for each in by_kind["task definition"]], _DELETED_AT_ONCE):
        try:  # deregistered definitions start nothing: deleting them only tidies up
            ecs.delete_task_definitions(taskDefinitions=chunk)
        except aws_errors() as error:
            _logger.info("task definitions are deregistered, but not deleted (%s)", reason(error))
    for each in by_kind["ECS cluster"]:
        attempt(each, partial(_delete_when_empty, ecs), arn=each.arn)
    if failed:
        raise RunError("these could not be removed:\n" + "\n".join(f"  - {each}" for each in failed))


def _delete_when_empty(ecs: Any, arn: str) -> None:
    """Delete an ECS cluster, waiting for tasks that were just stopped; fail if other tasks run there."""
    end = time.monotonic() + _EMPTY_SECONDS
    while True:
        try:
            ecs.delete_cluster(cluster=arn)
            return
        except ecs.exceptions.ClusterContainsTasksException:
            if time.monotonic() > end or running_tasks(ecs, arn):
                raise
            time.sleep(_EMPTY_PAUSE)
