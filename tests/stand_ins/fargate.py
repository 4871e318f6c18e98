"""A stand-in for Fargate: moto's ECS over HTTP, whose tasks are real processes on this machine.

A task runs the image's entry point with the overridden command, and the definition's variables and secrets, and listens on the
address that its network interface has in moto: one of the loopback network. Linux only, as elsewhere most of
that network is not there.
"""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import moto.backends
import moto.ecs.models
import pytest
from moto.core.exceptions import JsonRESTError
from moto.secretsmanager import secretsmanager_backends

from churn.config.cluster import ClusterSettings, FargateSettings
from tests.stand_ins.certificates import Pair
from tests.stand_ins.s3 import REGION, S3Server, environment
from tests.support.fixtures_aws import use_s3

ROOT = Path(__file__).parents[2]
ENTRY_POINT = ROOT / "deployments" / "start.sh"  # of the image
ACCOUNT = "123456789012"
IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/churn@sha256:{'0123456789abcdef' * 4}"
LOG_GROUP = "/churn/dask"
CANNOT_PULL = "CannotPullContainerError: pull image manifest has been retried 7 time(s)"
NO_CAPACITY = (
    "Capacity is unavailable at this time. Please try again later or in a different availability zone"
)
_GRACE_SECONDS = 5.0


@dataclass
class Fargate:
    """The running stand-in.

    Attributes:
        endpoint: of moto.
        folder: for the processes' own files and output.
        deeds: what happens to the tasks that are started, by ``scheduler`` or ``worker``: ``run``, ``hang`` (they
            stay in PENDING), ``fail`` (they stop, as the image is not there) or ``refuse`` (there is no capacity).
        tasks: every task that was started, in order.
        network: settings that name what is there.
        threads: of this process, before the test.
    """

    endpoint: str
    folder: Path
    deeds: dict[str, str] = field(default_factory=dict)
    tasks: list["ProcessTask"] = field(default_factory=list)
    network: dict[str, Any] = field(default_factory=dict)
    threads: set[threading.Thread] = field(default_factory=set)

    def client(self, service: str) -> Any:
        """A client of a service."""
        return boto3.client(
            service, endpoint_url=self.endpoint, region_name=REGION, aws_access_key_id="test",
            aws_secret_access_key="test",
        )  # fmt: skip

    @cached_property
    def ecs(self) -> Any:
        """A client of ECS."""
        return self.client("ecs")

    def ready(self) -> None:
        """Make what a cluster needs to find."""
        self.ecs.put_account_setting(name="taskLongArnFormat", value="enabled")
        place = self.ecs.create_cluster(
            clusterName="house", capacityProviders=["FARGATE", "FARGATE_SPOT"], tags=[]
        )
        ec2, iam = self.client("ec2"), self.client("iam")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})  # moto's tasks need names
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
        group = ec2.create_security_group(GroupName="churn-dask", Description="Dask", VpcId=vpc)["GroupId"]
        roles = {
            role: iam.create_role(RoleName=f"churn-{role}", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
            for role in ("execution", "task", "scheduler")
        }
        self.client("logs").create_log_group(logGroupName=LOG_GROUP)
        self.network = {
            "ecs_cluster": place["cluster"]["clusterArn"], "vpc": vpc, "subnets": (subnet,),
            "security_groups": (group,), "execution_role": roles["execution"], "task_role": roles["task"],
            "scheduler_role": roles["scheduler"],
        }  # fmt: skip

    def reset(self) -> None:
        """Forget what tests have made in the services that are used here."""
        for service in ("ecs", "ec2", "iam", "logs", "secretsmanager"):
            for account in moto.backends.get_backend(
                service
            ).values():  # its own `reset` is one of all services
                account.reset()

    def keep_secret(self, pair: Pair) -> str:
        """Put certificates into Secrets Manager; return the secret's ARN."""
        text = json.dumps({"ca": pair.ca, "cert": pair.cert, "key": pair.key})
        made = self.client("secretsmanager").create_secret(
            Name=f"tls-{random.randrange(10**9)}", SecretString=text
        )
        return str(made["ARN"])

    def settings(self, workers: int = 1, **changes: Any) -> ClusterSettings:
        """Settings that lead here."""
        given = {
            "image": IMAGE, "region": REGION, "log_group": LOG_GROUP, "start_timeout": 60, "idle_timeout": 120,
            **self.network, **changes,
        }  # fmt: skip
        return ClusterSettings(kind="fargate", workers=workers, fargate=FargateSettings(**given))

    def alive(self) -> list["ProcessTask"]:
        """The tasks that are not stopped, and whose process lives."""
        return [task for task in self.tasks if task.status != "STOPPED" or task.lives]

    def of(self, who: str) -> list["ProcessTask"]:
        """The tasks of scheduler or workers."""
        return [task for task in self.tasks if task.who == who]

    def definitions(self) -> list[str]:
        """ARNs of active task definitions."""
        return list(self.ecs.list_task_definitions(status="ACTIVE")["taskDefinitionArns"])

    def close(self) -> None:
        """End every process."""
        for task in self.tasks:
            task.end(signal.SIGKILL)


class ProcessTask(moto.ecs.models.Task):
    """A task of moto's whose container is a process of this machine."""

    stand_in: Fargate

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        super().__init__(*arguments, **named)
        definition = named["task_definition"]
        self.definition = definition
        self.who = definition.container_definitions[0]["name"].removeprefix("dask-")
        self.deed = self.stand_in.deeds.get(self.who, "run")
        if self.deed == "refuse":
            raise JsonRESTError("ClientException", NO_CAPACITY)
        if self.deed == "fail":
            self.stopped_reason, self.desired_status = CANNOT_PULL, "STOPPED"
        self.stand_in.tasks.append(self)
        if self.deed == "run":
            self._run()

    @property
    def address(self) -> str:
        """The interface's private address."""
        details = {each["name"]: each["value"] for each in self.attachments[0]["details"]}
        return details["privateIPv4Address"]

    @property
    def command(self) -> list[str]:
        """What the override says."""
        return list(self.overrides["containerOverrides"][0]["command"])

    def _run(self) -> None:
        [container] = self.definition.container_definitions
        variables = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "DASK_TEMPORARY_DIRECTORY": str(self.stand_in.folder),
            **environment(self.stand_in.endpoint),
            **{each["name"]: each["value"] for each in container.get("environment", [])},
            **{each["name"]: _secret(each["valueFrom"]) for each in container.get("secrets", [])},
            **{
                each["name"]: each["value"]
                for each in self.overrides["containerOverrides"][0].get("environment", [])
            },
        }
        # In a container there is one address to take; here there are many.
        command = ["/bin/sh", str(ENTRY_POINT), *self.command, "--host", self.address]
        with (self.stand_in.folder / f"{self.who}-{self.id}.log").open("wb") as log:
            self.process = subprocess.Popen(
                command, env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.stand_in.folder, start_new_session=True,
            )  # fmt: skip

    @property
    def stopped_reason(self) -> str:
        """The first reason for which the task stopped."""
        return self._reason

    @stopped_reason.setter
    def stopped_reason(self, value: str) -> None:
        self._reason = getattr(self, "_reason", "") or value or ""

    @property
    def lives(self) -> bool:
        """Whether the process is there."""
        return self.process is not None and self.process.poll() is None

    @property
    def status(self) -> str:
        """As ECS tells it: by the process, unless the task was stopped."""
        if self._status == "STOPPED":
            return "STOPPED"
        if self.deed == "hang":
            return "PENDING"
        if self.lives:
            return "RUNNING"
        self.stopped_reason = "Essential container in task exited"
        self.desired_status = "STOPPED"
        return "STOPPED"

    @status.setter
    def status(self, value: str) -> None:
        self._status = value
        if value == "STOPPED" and self.lives:
            threading.Thread(target=self.end, args=[signal.SIGTERM], daemon=True).start()

    def end(self, sign: signal.Signals) -> None:
        """End the process and those that it started; the hard way if it takes too long."""
        if self.process is None or self.process.poll() is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, sign)
        try:
            self.process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def _secret(value_from: str) -> str:
    arn, key = value_from[: -len("::")].rsplit(":", 1)
    kept = secretsmanager_backends[ACCOUNT][REGION].get_secret_value(arn, "", "")
    return str(json.loads(kept["SecretString"])[key])


@contextmanager
def fargate(folder: Path, patch: pytest.MonkeyPatch, server: S3Server) -> Iterator[Fargate]:
    """Yield the stand-in, which the environment of this process leads to.

    Args:
        folder: for files of the processes; it is made.
        patch: takes back what is set for the test.
        server: moto's, which has more to offer than S3. Its memory is shared with any other in this process.
    """
    folder.mkdir()
    stand_in = Fargate(server.endpoint, folder)
    # Not two test processes at once on the same addresses.
    network = f"127.{random.randrange(16, 250)}.{random.randrange(250)}"
    addresses = (f"{network}.{last}" for last in itertools.count(2))
    patch.setattr("moto.ecs.models.Task", type("Task", (ProcessTask,), {"stand_in": stand_in}))
    patch.setattr("moto.ecs.models.random_private_ip", lambda: next(addresses))
    use_s3(patch, server.endpoint)
    stand_in.reset()
    stand_in.ready()
    try:
        yield stand_in
    finally:
        stand_in.close()
        stand_in.reset()
