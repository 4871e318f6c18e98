"""A Dask cluster of Fargate tasks, made for one run and taken down with it.

Roles, network and log group are there already. Task definitions are made here for each cluster, with the
image, the secret for TLS and the variables in them, and given to the library, whose own ones would outlive
the process. Whatever the library does, all that carries the cluster's tags is removed at the end.
"""

import json
import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any

import dask.config
from distributed import Client, Security

from churn.config.cluster import ClusterSettings, FargateSettings
from churn.core.aws import missing_library_error
from churn.core.errors import ChurnError, ConfigError, RunError
from churn.scoring.cluster.ecs import (
    PREFIX,
    Resource,
    aws_client,
    aws_tags,
    explain_ecs_errors,
    find,
    remove,
    running_tasks,
    tags_of,
)
from churn.scoring.cluster.local import MINIMUM_ALLOWED_FAILURES, NEVER_PAUSE, ONE_THREAD, WORKER_MODULE
from churn.scoring.cluster.tls import load_security as tls_security

if TYPE_CHECKING:
    from churn.scoring.cluster.fargate_cluster import RefillingFargateCluster

_PORT = 8786
_LOST_SECONDS = 60  # a worker that a nanny replaces is back by then; else its task is stopped and replaced
_LOOK_SECONDS = 0.5
_LOOKS, _LOOK_PAUSE = 10, 1.0  # ECS may list a new task late: look until there is none left
_STOP_SECONDS = 120  # that Fargate leaves a task to end by itself, the most that it allows

_VARIABLES: Mapping[str, str] = {
    **{name: str(threads) for name, threads in ONE_THREAD.items()},
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": str(MINIMUM_ALLOWED_FAILURES),
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    **{
        f"DASK_DISTRIBUTED__WORKER__MEMORY__{name.upper()}": str(never) for name, never in NEVER_PAUSE.items()
    },
}
# Where Dask looks for PEM, by key of the secret.
_TLS_VARIABLES: Mapping[str, str] = {
    "DASK_DISTRIBUTED__COMM__TLS__CA_FILE": "ca",
    **{f"DASK_DISTRIBUTED__COMM__TLS__{role}__CERT": "cert" for role in ("SCHEDULER", "WORKER", "CLIENT")},
    **{f"DASK_DISTRIBUTED__COMM__TLS__{role}__KEY": "key" for role in ("SCHEDULER", "WORKER", "CLIENT")},
}

_logger = logging.getLogger(__name__)


@contextmanager
def fargate_client(
    settings: ClusterSettings, labels: Mapping[str, str], stop: threading.Event
) -> Iterator[Client]:
    """Start a cluster, wait for a first worker, and yield a client; take everything down at the end.

    Args:
        settings: with ``fargate``.
        labels: ``run`` and ``product``, for the tags.
        stop: once it is set, the start is given up.

    Raises:
        ConfigError: AWS' libraries are not installed, or the secret for TLS cannot be used.
        RunError: AWS refused, or scheduler or workers did not come in time; it says what was waited for.
    """
    fargate = _required(settings)
    library = _library()
    check_fargate(settings)
    ecs = aws_client("ecs", fargate.region)
    name = f"{PREFIX}{secrets.token_hex(6)}"
    tags = {**fargate.tags, **tags_of(name, labels)}
    deadline = time.monotonic() + fargate.start_timeout
    with closing(ecs), _taken_down(ecs, name) as places, ExitStack() as stack:
        security = _security(fargate)
        places.append(fargate.ecs_cluster or _make_ecs_cluster(ecs, name, tags))
        stack.enter_context(dask.config.set({"distributed.deploy.lost-worker-timeout": f"{_LOST_SECONDS} s"}))
        made: list[RefillingFargateCluster] = []
        stack.callback(_end, made)
        try:
            arguments = _arguments(ecs, settings, places[0], name, tags, security)
            cluster = library(stop, deadline, made, **arguments)
        except (OSError, RuntimeError, ValueError) as error:
            if stop.is_set():
                raise RunError("the start of the Fargate cluster was given up, as the run ends") from error
            raise RunError(_not_started(ecs, fargate, places[0], name, error)) from error
        client = stack.enter_context(Client(cluster, set_as_default=False))
        cluster.maintain(settings.workers or 1)
        while not client.scheduler_info(n_workers=-1)["workers"]:
            if stop.wait(_LOOK_SECONDS):
                raise RunError("the start of the Fargate cluster was given up, as the run ends")
            if time.monotonic() > deadline:
                raise RunError(_not_started(ecs, fargate, places[0], name, None))
        yield client


def _end(made: "list[RefillingFargateCluster]") -> None:
    for cluster in made:
        cluster.end()


def check_fargate(settings: ClusterSettings) -> str:
    """Look whether everything that the settings name is there; nothing is made.

    Returns:
        What would be started, in words.

    Raises:
        ConfigError: AWS' libraries are not installed.
        RunError: AWS refused, or something is not there or not as it must be; all faults are listed.
    """
    fargate = _required(settings)
    faults = []
    with closing(aws_client("ecs", fargate.region)) as ecs, explain_ecs_errors("look at ECS"):
        setting = ecs.list_account_settings(name="taskLongArnFormat", effectiveSettings=True)["settings"]
        if [each["value"] for each in setting] != ["enabled"]:
            faults.append("the account setting taskLongArnFormat is not enabled: tasks would have no tags")
        if fargate.ecs_cluster:
            described = ecs.describe_clusters(clusters=[fargate.ecs_cluster])["clusters"]
            faults += _faults_of_cluster(fargate, described)
    with closing(aws_client("ec2", fargate.region)) as ec2, explain_ecs_errors("look at the network"):
        named = [{"Name": "subnet-id", "Values": [*fargate.subnets]}]
        subnets = ec2.describe_subnets(Filters=named)["Subnets"]
        named = [{"Name": "group-id", "Values": [*fargate.security_groups]}]
        groups = ec2.describe_security_groups(Filters=named)["SecurityGroups"]
    in_vpc = {each["SubnetId"] for each in subnets if each["VpcId"] == fargate.vpc}
    in_vpc |= {each["GroupId"] for each in groups if each["VpcId"] == fargate.vpc}
    faults += [
        f"{each} is not in {fargate.vpc}"
        for each in (*fargate.subnets, *fargate.security_groups)
        if each not in in_vpc
    ]
    with closing(aws_client("logs", fargate.region)) as logs, explain_ecs_errors("look at log groups"):
        named = logs.describe_log_groups(logGroupNamePrefix=fargate.log_group)["logGroups"]
    if fargate.log_group not in [each["logGroupName"] for each in named]:
        faults.append(f"the log group {fargate.log_group} does not exist")
    if faults:
        raise RunError("Fargate is not ready:\n" + "\n".join(f"  - {fault}" for fault in faults))
    kind = "Spot" if fargate.spot else "on demand"
    return f"each run starts {settings.workers} Fargate worker(s), {kind}; what they need is there"


def _faults_of_cluster(fargate: FargateSettings, described: list[dict[str, Any]]) -> list[str]:
    if not described or described[0]["status"] != "ACTIVE":
        return [f"{fargate.ecs_cluster} does not exist, or is not active"]
    wanted = {"FARGATE", "FARGATE_SPOT"} if fargate.spot else set()
    lacking = sorted(wanted - set(described[0].get("capacityProviders") or []))
    if lacking:
        return [f"{fargate.ecs_cluster} lacks the capacity provider(s) {', '.join(lacking)}"]
    return []


def _required(settings: ClusterSettings) -> FargateSettings:
    if settings.fargate is None:
        raise ConfigError("cluster.kind is 'fargate' but there is no table [cluster.fargate]")
    return settings.fargate


def _library() -> "type[RefillingFargateCluster]":
    try:
        from churn.scoring.cluster.fargate_cluster import RefillingFargateCluster  # slow to import
    except ImportError as error:
        raise missing_library_error(error.name or "dask-cloudprovider", "Fargate") from error
    return RefillingFargateCluster


@contextmanager
def _taken_down(ecs: Any, name: str) -> Iterator[list[str]]:
    """Yield a list for the ECS cluster's ARN; whatever happens then, remove all that carries the name."""
    places: list[str] = []
    try:
        yield places
    finally:
        try:
            remaining = _remove_all(ecs, places[0] if places else None, name)
        except ChurnError as error:
            remaining = [str(error)]
        if remaining:
            _logger.error(
                "parts of the Fargate cluster %s may be left behind and cost money; run `churn sweep`: %s",
                name,
                "; ".join(remaining),
            )


def _remove_all(ecs: Any, place: str | None, name: str) -> list[str]:
    """Remove what carries the name until nothing was seen twice in a row; return what is left."""
    empty, found, failure = 0, list[Resource](), ""
    for _ in range(_LOOKS):
        found = find(ecs, place, name)
        empty = empty + 1 if not found else 0
        if empty == 2:
            return []
        try:
            remove(ecs, found)
        except RunError as error:
            failure = str(error)
        time.sleep(_LOOK_PAUSE)
    return [failure] if failure else [f"{each.kind} {each.arn}" for each in found]


def _make_ecs_cluster(ecs: Any, name: str, tags: Mapping[str, str]) -> str:
    with explain_ecs_errors("make an ECS cluster"):
        created = ecs.create_cluster(
            clusterName=name, tags=aws_tags(tags), capacityProviders=["FARGATE", "FARGATE_SPOT"]
        )
    return str(created["cluster"]["clusterArn"])


def _arguments(
    ecs: Any, settings: ClusterSettings, place: str, name: str, tags: Mapping[str, str], security: Security
) -> dict[str, Any]:
    """Return the library's arguments: everything is given, so that it makes, finds or guesses nothing."""
    fargate = _required(settings)
    encrypted = ["--protocol", "tls"] if fargate.tls_secret else []
    # ECS calls what started a task by 36 characters at most.
    started_by = {"startedBy": name}
    return {
        "name": name,
        "image": fargate.image,
        "cpu_architecture": fargate.cpu_architecture,
        "region_name": ecs.meta.region_name,
        "cluster_arn": place,
        "vpc": fargate.vpc,
        "subnets": [*fargate.subnets],
        "security_groups": [*fargate.security_groups],
        "execution_role_arn": fargate.execution_role,
        "task_role_arn": fargate.task_role,
        "task_role_policies": [],
        "cloudwatch_logs_group": fargate.log_group,
        "cloudwatch_logs_stream_prefix": name,
        "fargate_use_private_ip": True,
        "fargate_spot": fargate.spot,
        "scheduler_cpu": fargate.scheduler_cpu,
        "scheduler_mem": fargate.scheduler_memory,
        "scheduler_port": _PORT,
        "scheduler_timeout": f"{fargate.idle_timeout:g} seconds",
        # Its health pages are served all the same, without TLS: to nobody but the task itself.
        "scheduler_extra_args": ["--no-dashboard", "--dashboard-address", "127.0.0.1:0", *encrypted],
        "scheduler_task_definition_arn": _register(ecs, settings, "scheduler", name, tags),
        "scheduler_task_kwargs": started_by,
        "worker_cpu": fargate.worker_cpu,
        "worker_mem": fargate.worker_memory,
        "worker_nthreads": settings.threads_per_worker,
        "worker_extra_args": ["--no-dashboard", "--preload", WORKER_MODULE, *encrypted],
        "worker_task_definition_arn": _register(ecs, settings, "worker", name, tags),
        "worker_task_kwargs": started_by,
        "n_workers": 0,  # `keep` starts them, one by one and again
        "environment": {},
        "tags": dict(tags),
        "skip_cleanup": True,  # it has deleted what belonged to others
        "security": security,
    }


def _register(ecs: Any, settings: ClusterSettings, who: str, name: str, tags: Mapping[str, str]) -> str:
    """Register a task definition, with the container's name that the library overrides; return its ARN."""
    fargate = _required(settings)
    cpu, memory = getattr(fargate, f"{who}_cpu"), getattr(fargate, f"{who}_memory")
    role = (who == "scheduler" and fargate.scheduler_role) or fargate.task_role
    variables = {**_VARIABLES, **fargate.environment}
    secrets = []
    if fargate.tls_secret:
        variables["DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"] = "True"
        secrets = [
            {"name": variable, "valueFrom": f"{fargate.tls_secret}:{key}::"}
            for variable, key in _TLS_VARIABLES.items()
        ]
    container = {
        "name": f"dask-{who}",
        "image": fargate.image,
        "essential": True,
        # The image's entry point knows this word, by which the library calls what is now `dask worker`.
        "command": [f"dask-{who}"],
        "cpu": cpu,
        "memory": memory,
        "environment": [{"name": key, "value": value} for key, value in sorted(variables.items())],
        "secrets": secrets,
        "stopTimeout": _STOP_SECONDS,
        "ulimits": [{"name": "nofile", "softLimit": 65535, "hardLimit": 65535}],
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-region": ecs.meta.region_name,
                "awslogs-group": fargate.log_group,
                "awslogs-stream-prefix": name,
            },
        },
    }
    with explain_ecs_errors(f"register the {who}'s task definition"):
        registered = ecs.register_task_definition(
            family=f"{name}-{who}",
            taskRoleArn=role,
            executionRoleArn=fargate.execution_role,
            networkMode="awsvpc",
            containerDefinitions=[container],
            requiresCompatibilities=["FARGATE"],
            runtimePlatform={"cpuArchitecture": fargate.cpu_architecture, "operatingSystemFamily": "LINUX"},
            cpu=str(cpu),
            memory=str(memory),
            tags=aws_tags(tags),
        )
    return str(registered["taskDefinition"]["taskDefinitionArn"])


def _security(fargate: FargateSettings) -> Security:
    """Return what client, scheduler and workers show each other: the secret's certificate, or nothing."""
    if fargate.tls_secret is None:
        return Security(require_encryption=False)
    with (
        closing(aws_client("secretsmanager", fargate.region)) as client,
        explain_ecs_errors("read the secret for TLS"),
    ):
        text = client.get_secret_value(SecretId=fargate.tls_secret).get("SecretString")
    try:
        secret = json.loads(text or "")
        parts = [str(secret[key]) for key in ("ca", "cert", "key")]
    except (ValueError, KeyError, TypeError):
        raise ConfigError("cluster.fargate.tls_secret must be JSON with ca, cert and key, each PEM") from None
    return tls_security(*parts)


def _not_started(ecs: Any, fargate: FargateSettings, place: str, name: str, error: Exception | None) -> str:
    """Say what did not start, and how far its tasks have come as ECS sees them."""
    what = "scheduler" if error is not None else "first worker"
    if error is None or isinstance(error, TimeoutError):
        fault = f"no {what} answered within {fargate.start_timeout:g} s"
    else:
        fault = f"the {what} did not start ({str(error)[:300]})"
    try:
        states = _states(ecs, place, name)
    except RunError as unknown:
        states = str(unknown)
    return (
        f"the Fargate cluster did not start: {fault}; tasks: {states}. Look at the log streams {name}/... in "
        f"{fargate.log_group}, and whether the security groups let tasks and this process reach each other"
    )


def _states(ecs: Any, place: str, name: str) -> str:
    with explain_ecs_errors("look at the tasks"):
        tasks = [
            task
            for status in ("RUNNING", "STOPPED")
            for task in running_tasks(ecs, place, startedBy=name, desiredStatus=status)
        ]
    counted: Counter[str] = Counter()
    for task in tasks:
        who = "scheduler" if "-scheduler:" in task["taskDefinitionArn"] else "worker"
        why = task.get("stoppedReason")
        reasons = [each["reason"] for each in task.get("containers", []) if each.get("reason")]
        because = f" ({'; '.join([why, *reasons])})" if why else ""
        counted[f"{who} {task['lastStatus']}{because}"] += 1
    return ", ".join(f"{count} {state}" for state, count in sorted(counted.items())) or "none was started"
