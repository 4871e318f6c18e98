"""Where scoring runs: worker processes here, a running Dask scheduler, or tasks of ECS on Fargate."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

_GIB = 1024  # MiB
# MiB of memory by CPU units (1024 = 1 vCPU).
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html
FARGATE_MEMORY: Mapping[int, range] = {
    256: range(_GIB, 3 * _GIB, _GIB),  # and 512, in which no worker of this program fits
    512: range(_GIB, 5 * _GIB, _GIB),
    1024: range(2 * _GIB, 9 * _GIB, _GIB),
    2048: range(4 * _GIB, 17 * _GIB, _GIB),
    4096: range(8 * _GIB, 31 * _GIB, _GIB),
    8192: range(16 * _GIB, 61 * _GIB, 4 * _GIB),
    16384: range(32 * _GIB, 121 * _GIB, 8 * _GIB),
}
_UNITS_A_CPU = 1024
# As Dask takes it: by itself, a share of the machine's memory, or an amount.
_MEMORY = r"^(auto|0?\.\d*[1-9]\d*|1(\.0+)?|\d+(\.\d+)?\s?[kKMGT]i?B)$"
_SECRET_NAME = re.compile(r"SECRET|PASSWORD|TOKEN|ACCESS_KEY|PRIVATE_KEY")
_OWN_TAG = re.compile(r"(?i)(churn|aws):|(createdBy|cluster|dask_cluster_name)\Z")
_MOST_TAGS = 40  # of the 50 that AWS allows

Image = Annotated[str, StringConstraints(pattern=r"^[^@\s]+@sha256:[0-9a-f]{64}$")]
Role = Annotated[str, StringConstraints(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/\S+$")]
EcsCluster = Annotated[
    str, StringConstraints(pattern=r"^arn:aws[a-z-]*:ecs:[a-z0-9-]+:\d{12}:cluster/[\w-]+$")
]
Secret = Annotated[
    str, StringConstraints(pattern=r"^arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:[^:\s]+$")
]
Vpc = Annotated[str, StringConstraints(pattern=r"^vpc-[0-9a-z]+$")]
Subnet = Annotated[str, StringConstraints(pattern=r"^subnet-[0-9a-z]+$")]
SecurityGroup = Annotated[str, StringConstraints(pattern=r"^sg-[0-9a-z]+$")]
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FargateSettings(_Frozen):
    """A cluster that is made for one run out of Fargate tasks, in a network that is there already.

    Attributes:
        image: the container image of scheduler and workers, pinned: ``repository@sha256:...``.
        cpu_architecture: which one the image is made for.
        region: AWS region; none = as AWS' own configuration says.
        ecs_cluster: ARN of the ECS cluster to run the tasks in; none = one is made for each run.
        vpc: the network, for ``churn check``.
        subnets: subnets that tasks may run in; private ones.
        security_groups: what the tasks belong to; they must let each other in.
        execution_role: role by which ECS pulls the image, writes logs and reads the secret.
        task_role: role that workers act as.
        scheduler_role: role that the scheduler acts as, which needs no rights; none = ``task_role``.
        log_group: CloudWatch log group, which must exist.
        scheduler_cpu: CPU units of the scheduler; 1024 = 1 vCPU.
        scheduler_memory: MiB of the scheduler.
        worker_cpu: CPU units of each worker.
        worker_memory: MiB of each worker.
        spot: whether workers run on Spot capacity, which AWS may take back; the scheduler never does.
        tls_secret: ARN of a secret, JSON with ``ca``, ``cert`` and ``key`` in PEM: all speak TLS with it.
        environment: variables of scheduler and workers; no secrets.
        tags: further tags of all that is made.
        start_timeout: seconds until scheduler and a first worker must answer.
        idle_timeout: seconds without work after which the scheduler ends, and workers with it.
    """

    image: Image
    cpu_architecture: Literal["X86_64", "ARM64"] = "X86_64"
    region: str | None = Field(default=None, pattern=r"^[a-z0-9-]{1,40}$")
    ecs_cluster: EcsCluster | None = None
    vpc: Vpc
    subnets: tuple[Subnet, ...] = Field(min_length=1)
    security_groups: tuple[SecurityGroup, ...] = Field(min_length=1)
    execution_role: Role
    task_role: Role
    scheduler_role: Role | None = None
    log_group: str = Field(pattern=r"^[A-Za-z0-9_./#-]+$", max_length=512)
    scheduler_cpu: int = 1024
    scheduler_memory: int = 4096
    worker_cpu: int = 1024
    worker_memory: int = 2048
    spot: bool = False
    tls_secret: Secret | None = None
    environment: Mapping[VariableName, str] = Field(default_factory=dict)
    tags: Mapping[str, str] = Field(default_factory=dict, max_length=_MOST_TAGS)
    start_timeout: float = Field(default=600.0, gt=0, le=3600)
    idle_timeout: float = Field(default=600.0, ge=5, le=86_400)

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        for who in ("scheduler", "worker"):
            _check_size(who, getattr(self, f"{who}_cpu"), getattr(self, f"{who}_memory"))
        secret = sorted(name for name in self.environment if _SECRET_NAME.search(name.upper()))
        if secret:
            raise ValueError(
                f"environment must hold no secrets ({', '.join(secret)}): it is shown and kept; give the "
                "task role the right instead"
            )
        if self.idle_timeout < self.start_timeout:
            raise ValueError("idle_timeout must be at least start_timeout: the scheduler waits for workers")
        own = sorted(name for name in self.tags if _OWN_TAG.match(name))
        if own:
            raise ValueError(f"tags are given by others: {', '.join(own)}")
        return self


def _check_size(who: str, cpu: int, memory: int) -> None:
    if cpu not in FARGATE_MEMORY:
        raise ValueError(f"{who}_cpu must be one of {', '.join(map(str, FARGATE_MEMORY))}")
    if memory not in FARGATE_MEMORY[cpu]:
        sizes = FARGATE_MEMORY[cpu]
        raise ValueError(
            f"{who}_memory must be {sizes[0]} to {sizes[-1]} in steps of {sizes.step} for {who}_cpu {cpu}"
        )


class ClusterSettings(_Frozen):
    """A local cluster sized from the machine, a running scheduler by address, or Fargate.

    Attributes:
        kind: which of them.
        workers: worker processes (local) or tasks (Fargate); none = by cores and memory, local only.
        threads_per_worker: partitions that each worker scores at once.
        processes: whether local workers are processes; if not, they are threads of the run. None = processes
            for a large audience, or with a ``memory_limit``.
        memory_limit: of each local worker process, beyond which Dask restarts it: ``2GB``; ``0.5``, a share
            of the machine's; ``auto``, a fair share.
        address: the scheduler's, with ``kind`` address.
        tls_ca: PEM file of the authority that signed everybody's certificates, with ``kind`` address.
        tls_cert: PEM file of this process's certificate.
        tls_key: PEM file of its private key.
        fargate: what Fargate needs, with ``kind`` fargate.
    """

    kind: Literal["local", "address", "fargate"] = "local"
    workers: int | None = Field(default=None, ge=1)
    threads_per_worker: int = Field(default=1, ge=1)
    processes: bool | None = None
    memory_limit: str = Field(default="auto", pattern=_MEMORY, examples=["auto", "2GB", "0.5"])
    address: str | None = None
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    fargate: FargateSettings | None = None

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        given = [name for name in ("tls_ca", "tls_cert", "tls_key") if getattr(self, name) is not None]
        if 0 < len(given) < 3:
            raise ValueError("tls_ca, tls_cert and tls_key are needed together")
        if given and self.kind != "address":
            raise ValueError("tls_ca, tls_cert and tls_key go with kind 'address'")
        if self.processes is False and self.memory_limit != "auto":
            raise ValueError(
                "memory_limit is for worker processes: leave it out, or do not set processes to false"
            )
        if self.kind == "fargate":
            self._check_fargate()
        return self

    def _check_fargate(self) -> None:
        if self.fargate is None:
            raise ValueError("kind 'fargate' needs a table [cluster.fargate]")
        if self.workers is None:
            raise ValueError("kind 'fargate' needs workers: how many tasks to start")
        vcpus = max(1, self.fargate.worker_cpu // _UNITS_A_CPU)
        if self.threads_per_worker > vcpus:
            raise ValueError(
                f"threads_per_worker is {self.threads_per_worker}, but a worker has {vcpus} vCPU: "
                "each thread scores one partition at a time, which keeps a vCPU busy"
            )
