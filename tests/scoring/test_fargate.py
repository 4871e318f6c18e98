"""Clusters of Fargate tasks: what is asked of ECS, real work on them, and that nothing is left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from churn.core.errors import ConfigError, RunError
from churn.scoring.cluster.client import client_in_background, open_client
from churn.scoring.cluster.ecs import CREATED_TAG, NAME_TAG, aws_tags
from churn.scoring.cluster.fargate import check_fargate
from churn.scoring.cluster.sweep import sweep
from churn.scoring.fanout import FanOut
from churn.scoring.scorer import score_partition
from tests.stand_ins.certificates import issue
from tests.stand_ins.fargate import ACCOUNT, CANNOT_PULL, IMAGE, LOG_GROUP, ROOT, Fargate, fargate
from tests.stand_ins.s3 import REGION
from tests.support.command_line import exit_code
from tests.support.fanout_tasks import Task, perform
from tests.support.small_models import partition_task, small_model, snapshots

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs all of the loopback network"),
    pytest.mark.process,
]

RUN = {"run": "20260629t180000z-3fa1c2", "product": "food"}


@pytest.fixture
def aws(tmp_path, monkeypatch, s3_server):
    monkeypatch.setattr("churn.scoring.cluster.fargate._LOOK_PAUSE", 0.2)
    with fargate(tmp_path / "tasks", monkeypatch, s3_server) as stand_in:
        stand_in.threads = threads()
        yield stand_in


def assert_nothing_left(aws: Fargate):
    wait_until(lambda: not aws.alive())
    assert aws.definitions() == []
    clusters = aws.ecs.describe_clusters(clusters=aws.ecs.list_clusters()["clusterArns"])["clusters"]
    assert [each["clusterName"] for each in clusters if each["status"] == "ACTIVE"] == ["house"]
    assert threads() <= aws.threads


def threads():
    """Threads of Dask's clusters and clients, and of this program's."""
    return {each for each in threading.enumerate() if each.name.startswith(("IO loop", "churn-cluster"))}


def wait_until(true, seconds=30):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def test_partitions_are_scored_by_fargate_tasks_over_tls_and_then_nothing_is_left(aws, tmp_path):
    pair = issue()
    secret = aws.keep_secret(pair)
    settings = aws.settings(
        2, tls_secret=secret, spot=True, environment={"AWS_MAX_ATTEMPTS": "7"}, tags={"team": "audience"},
        worker_cpu=2048, worker_memory=4096,
    )  # fmt: skip
    model = small_model()
    tasks = [partition_task(tmp_path / "run", snapshots(300, i), model, index=i) for i in range(4)]

    with open_client(settings, RUN) as client:
        assert client.scheduler.address.startswith("tls://127.")
        client.wait_for_workers(2, timeout=60)
        assert client.run(os.getenv, "AWS_MAX_ATTEMPTS").popitem()[1] == "7"
        rows = FanOut(client).run(score_partition, tasks, key=lambda task: task.name)
        scheduler, *workers = aws.tasks
        definitions = {
            task.who: aws.ecs.describe_task_definition(
                taskDefinition=task.task_definition_arn, include=["TAGS"]
            )
            for task in (scheduler, workers[0])
        }
        described = aws.ecs.describe_tasks(
            cluster=settings.fargate.ecs_cluster,
            tasks=[task.task_arn for task in aws.tasks],
            include=["TAGS"],
        )["tasks"]
    assert [row.rows for row in rows] == [300] * 4
    assert_nothing_left(aws)

    assert [task.who for task in aws.tasks] == ["scheduler", "worker", "worker"]
    assert [task["capacityProviderName"] for task in described] == ["FARGATE", "FARGATE_SPOT", "FARGATE_SPOT"]
    for task in aws.tasks:
        network = task.network_configuration["awsvpcConfiguration"]
        assert network == {
            "subnets": list(aws.network["subnets"]), "securityGroups": list(aws.network["security_groups"]),
            "assignPublicIp": "DISABLED",
        }  # fmt: skip
    address = f"tls://{scheduler.address}:8786"
    assert scheduler.command == [
        "dask-scheduler", "--idle-timeout", "120 seconds", "--no-dashboard",
            "--dashboard-address", "127.0.0.1:0", "--protocol", "tls",
    ]  # fmt: skip
    assert sorted(task.command[3] for task in workers) == ["0", "1"]
    for task in workers:
        assert [*task.command[:3], *task.command[4:]] == [
            "dask-worker", address, "--name", "--nthreads", "1", "--memory-limit", "4GB", "--death-timeout", "60",
            "--no-dashboard", "--preload", "churn.worker", "--protocol", "tls",
        ]  # fmt: skip
    sizes = {"scheduler": ("1024", "4096"), "worker": ("2048", "4096")}
    for who, answer in definitions.items():
        definition = answer["taskDefinition"]
        assert (definition["cpu"], definition["memory"]) == sizes[who]
        assert definition["requiresCompatibilities"] == ["FARGATE"]
        assert definition["networkMode"] == "awsvpc"
        role = {"scheduler": "churn-scheduler", "worker": "churn-task"}[who]
        assert definition["taskRoleArn"] == f"arn:aws:iam::{ACCOUNT}:role/{role}"
        assert definition["executionRoleArn"] == f"arn:aws:iam::{ACCOUNT}:role/churn-execution"
        [container] = definition["containerDefinitions"]
        assert container["image"] == IMAGE
        options = container["logConfiguration"]["options"]
        assert (options["awslogs-group"], options["awslogs-region"]) == (LOG_GROUP, REGION)
        assert {each["valueFrom"].split(":")[-3] for each in container["secrets"]} == {"ca", "cert", "key"}
        assert pair.key not in str(answer)
        check_tags({tag["key"]: tag["value"] for tag in answer["tags"]})
    for task in described:
        check_tags({tag["key"]: tag["value"] for tag in task["tags"]})


def check_tags(tags):
    assert tags["churn:run"] == RUN["run"]
    assert tags["churn:product"] == "food"
    assert tags["team"] == "audience"
    assert tags["churn:cluster"].startswith("churn-")
    age = datetime.now(UTC) - datetime.fromisoformat(tags["churn:created"])
    assert timedelta(0) <= age < timedelta(minutes=5)


@pytest.mark.slow
def test_without_a_cluster_of_its_own_one_is_made_for_the_run_and_a_lost_worker_is_replaced(aws, monkeypatch):
    monkeypatch.setattr("churn.scoring.cluster.fargate._LOST_SECONDS", 1)
    monkeypatch.setattr("churn.scoring.cluster.fargate_cluster._REFILL_SECONDS", 0.5)
    with client_in_background(aws.settings(1, ecs_cluster=None), RUN) as ask:
        time.sleep(0.2)
        assert aws.tasks == []  # it is paid by the second: nothing starts before it is asked for
        client = ask()
        [made] = [arn for arn in aws.ecs.list_clusters()["clusterArns"] if not arn.endswith("/house")]
        assert {task.cluster_arn for task in aws.tasks} == {made}
        [lost] = aws.of("worker")
        lost.end(signal.SIGKILL)  # Spot took it
        wait_until(lambda: len(aws.of("worker")) == 2 and client.nthreads(), 60)
        assert client.submit(sum, [1, 2]).result(timeout=60) == 3
        assert aws.of("worker")[1].lives
    assert_nothing_left(aws)


def test_after_an_error_in_the_middle_of_the_work_nothing_is_left(aws, tmp_path):
    tasks = [Task(0, str(tmp_path), deed="fail")]
    with (
        pytest.raises(RunError, match="part-00000 failed"),
        open_client(aws.settings(), RUN) as client,
    ):
        FanOut(client).run(perform, tasks, key=lambda task: task.name)
    assert len(aws.tasks) == 2
    assert_nothing_left(aws)


@pytest.mark.parametrize(
    ("deeds", "told"),
    [
        ({"scheduler": "hang"}, r"no scheduler answered within 2 s; tasks: 1 scheduler PENDING\..*/churn/dask"),
        ({"scheduler": "fail"}, rf"the scheduler did not start.*1 scheduler STOPPED \({CANNOT_PULL[:20]}"),
        pytest.param(
            {"worker": "hang"}, r"no first worker answered within 12 s; tasks: 1 scheduler RUNNING, 2 worker PENDING",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"worker": "fail"}, rf"no first worker answered within 12 s.* worker STOPPED \({CANNOT_PULL[:20]}",
            marks=pytest.mark.slow,
        ),
    ],
    ids=str,
)  # fmt: skip
def test_a_start_that_fails_half_way_says_what_was_waited_for_and_leaves_nothing(aws, deeds, told):
    aws.deeds.update(deeds)
    seconds = 2 if deeds.get("scheduler") == "hang" else 12
    with pytest.raises(RunError, match=told), open_client(aws.settings(2, start_timeout=seconds), RUN):
        pass
    assert aws.tasks
    assert_nothing_left(aws)


@pytest.mark.slow
def test_some_workers_for_which_there_is_no_capacity_do_not_keep_the_others_from_working(aws, monkeypatch):
    monkeypatch.setattr("dask_cloudprovider.aws.ecs.Timeout", impatient)
    monkeypatch.setattr("churn.scoring.cluster.fargate_cluster._REFILL_SECONDS", 0.5)
    aws.deeds["worker"] = "refuse"
    settings = aws.settings(1, spot=True)
    with client_in_background(settings, RUN) as ask:
        waiting = threading.Thread(target=ask)
        waiting.start()
        wait_until(lambda: aws.of("scheduler"))
        time.sleep(4)
        assert aws.of("worker") == []
        del aws.deeds["worker"]
        assert ask().submit(sum, [1, 2]).result(timeout=60) == 3
        waiting.join()
    assert_nothing_left(aws)


def impatient(_, message):
    from dask_cloudprovider.utils.timeout import Timeout

    return Timeout(1, message)


def test_a_run_that_is_stopped_does_not_wait_for_the_start(aws):
    aws.deeds["scheduler"] = "hang"
    raised = []

    def ask_and_keep():
        try:
            ask()
        except RunError as error:
            raised.append(str(error))

    with client_in_background(aws.settings(), RUN) as ask:
        waiting = threading.Thread(target=ask_and_keep)
        waiting.start()
        wait_until(lambda: aws.tasks)
        began = time.monotonic()
    waiting.join()
    assert time.monotonic() - began < 20
    assert "given up" in raised[0]
    assert_nothing_left(aws)


def test_a_secret_that_holds_no_certificates_is_an_error_before_anything_is_made(aws):
    secret = aws.client("secretsmanager").create_secret(Name="empty", SecretString="{}")["ARN"]
    with pytest.raises(ConfigError, match="ca, cert and key"), open_client(aws.settings(tls_secret=secret)):
        pass
    assert aws.tasks == []
    assert_nothing_left(aws)


def test_everything_that_is_missing_is_listed_before_anything_is_made(aws):
    aws.ecs.put_account_setting(name="taskLongArnFormat", value="disabled")
    wrong = {
        "ecs_cluster": f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/nowhere", "subnets": ("subnet-0123",),
        "security_groups": ("sg-0123",), "log_group": "/nowhere",
    }  # fmt: skip
    with pytest.raises(RunError) as caught, open_client(aws.settings(**wrong)):
        pass
    for told in ("taskLongArnFormat", "cluster/nowhere does not exist", "subnet-0123 is not in vpc-",
                 "sg-0123 is not in vpc-", "log group /nowhere does not exist"):  # fmt: skip
        assert told in str(caught.value)
    assert aws.tasks == []


def test_the_check_finds_what_is_ready(aws):
    assert check_fargate(aws.settings(3, spot=True)).startswith("each run starts 3 Fargate worker(s), Spot")
    assert aws.tasks == []


# --- sweep ---


def lay(aws, name, tags, hours=0.0):
    """Start a task by a definition of its own; return both ARNs."""
    created = datetime.now(UTC) - timedelta(hours=hours)
    tags = {**tags, **({CREATED_TAG: f"{created:%Y-%m-%dT%H:%M:%SZ}"} if NAME_TAG in tags else {})}
    definition = aws.ecs.register_task_definition(
        family=f"{name}-worker", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256",
        memory="512", tags=aws_tags(tags),
        containerDefinitions=[{"name": "dask-worker", "image": IMAGE, "memory": 512}],
    )["taskDefinition"]["taskDefinitionArn"]  # fmt: skip
    network = {
        "subnets": list(aws.network["subnets"]),
        "securityGroups": list(aws.network["security_groups"]),
    }
    started = aws.ecs.run_task(
        cluster=aws.network["ecs_cluster"], taskDefinition=definition, launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": network}, tags=aws_tags(tags), count=1,
    )  # fmt: skip
    return definition, started["tasks"][0]["taskArn"]


def test_a_sweep_removes_what_is_old_and_ours_and_nothing_else(aws):
    aws.deeds["worker"] = "hang"
    old = lay(aws, "churn-old", {NAME_TAG: "churn-old"}, hours=30)
    young = lay(aws, "churn-young", {NAME_TAG: "churn-young"}, hours=1)
    foreign = [
        lay(aws, "churn-api", {"createdBy": "dask-cloudprovider"}),
        lay(aws, "other", {NAME_TAG: "other-team"}, hours=99),
    ]
    aws.ecs.create_cluster(
        clusterName="churn-old", tags=aws_tags({NAME_TAG: "churn-old", CREATED_TAG: "2026-01-01T00:00:00Z"})
    )
    settings = aws.settings(ecs_cluster=None)

    dry = sweep(settings, timedelta(hours=24), dry_run=True)
    assert Counter(each.kind for each in dry.stale) == {"task": 1, "task definition": 1, "ECS cluster": 1}
    assert dry.recent == 2
    assert len(aws.definitions()) == 4
    assert len(aws.alive()) == 4

    assert sweep(settings, timedelta(hours=24), dry_run=False).stale == dry.stale
    kept = [young, *foreign]
    assert set(aws.definitions()) == {definition for definition, _ in kept}
    assert {task.task_arn for task in aws.alive()} == {task for _, task in kept}
    assert old[1] not in {task.task_arn for task in aws.alive()}
    assert sweep(settings, timedelta(hours=24), dry_run=False).stale == ()


def test_the_command_only_shows_until_it_is_told_to_do_it(aws, tmp_path, capsys):
    aws.deeds["worker"] = "hang"
    lay(aws, "churn-old", {NAME_TAG: "churn-old", "churn:product": "food"}, hours=30)

    def said(*more):
        assert exit_code(["sweep", "--data", str(tmp_path / "none"), "--older-than", "24", *more]) == 0
        return capsys.readouterr().out

    shown = said()
    assert "Would remove 2 resource(s)" in shown
    assert "food" in shown
    assert len(aws.alive()) == 1
    assert "Removed 2 resource(s)" in said("--yes")
    assert aws.alive() == []
    assert "nothing to do" in said("--yes")


SCRIPT = """
import sys, time
from churn.scoring.cluster.client import open_client
from churn.config.cluster import ClusterSettings
with open_client(ClusterSettings.model_validate_json(sys.argv[1]), {"product": "food"}) as client:
    print("up", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize(
    "swept", [pytest.param(True, marks=pytest.mark.slow), pytest.param(False, marks=pytest.mark.chaos)]
)
def test_what_a_killed_run_leaves_is_swept_and_its_tasks_end_by_themselves(aws, swept):
    settings = aws.settings(1, start_timeout=25, idle_timeout=25)
    killed = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, settings.model_dump_json()],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    with killed:
        assert killed.stdout.readline() == "up\n"
        killed.kill()
    assert [task.who for task in aws.alive()] == ["scheduler", "worker"]
    if not swept:
        wait_until(lambda: not aws.alive(), 90)
    left = sweep(settings, timedelta(seconds=-5), dry_run=False).stale
    assert Counter(each.kind for each in left) == {"task definition": 2, **({"task": 2} if swept else {})}
    assert {each.product for each in left} == {"food"}
    assert_nothing_left(aws)
