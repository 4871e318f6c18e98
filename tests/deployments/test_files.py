"""What is deployed, read without a server: the job template of the ECS pool, and how it becomes an ECS task."""

import asyncio
import copy
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import boto3
import pytest
import yaml
from moto import mock_aws
from prefect_aws.workers.ecs_worker import ECSJobConfiguration, ECSWorker

from churn.config.load import builtin_products

ROOT = Path(__file__).parents[2]
TEMPLATE: dict[str, Any] = json.loads((ROOT / "deployments" / "ecs-job-template.json").read_text("utf-8"))
DEPLOYMENTS: dict[str, Any] = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text("utf-8"))
PAGE = (ROOT / "docs" / "schedules.md").read_text("utf-8")
REGION = "eu-west-1"
SECRET = f"arn:aws:secretsmanager:{REGION}:123456789012:secret:prefect-key"


class Variables:
    """Prefect variables without a server."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    async def read_variable_by_name(self, name: str) -> SimpleNamespace | None:
        return SimpleNamespace(value=self._values[name]) if name in self._values else None


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """An account with a cluster and a network; yields the values of the Prefect variables."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "not-a-key")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with mock_aws():
        ec2 = boto3.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnets = [
            ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24")["Subnet"]["SubnetId"]
            for number in range(2)
        ]
        group = ec2.create_security_group(GroupName="churn", Description="churn", VpcId=vpc)["GroupId"]
        boto3.client("ecs").create_cluster(clusterName="churn")
        role = "arn:aws:iam::123456789012:role/churn-{}".format
        yield {
            "churn_cluster": "churn",
            "churn_vpc_id": vpc,
            "churn_subnets": subnets,
            "churn_security_groups": [group],
            "churn_execution_role_arn": role("execution"),
            "churn_task_role_arn": role("flow"),
            "churn_log_group": "/churn/flow",
            "churn_prefect_api_key_secret_arn": SECRET,
        }


def configuration(
    variables: dict[str, Any], template: dict[str, Any] = TEMPLATE, **job_variables: Any
) -> ECSJobConfiguration:
    """What the worker makes of the template for one run."""
    made: ECSJobConfiguration = asyncio.run(
        ECSJobConfiguration.from_template_and_values(
            base_job_template=template, values=job_variables, client=Variables(variables)
        )
    )
    # The key that the worker itself has, as Prefect adds it to every run.
    made.env |= {"PREFECT_API_KEY": "the-workers-own", "PREFECT_API_URL": "https://api.example.org"}
    made.command = "python -m prefect.engine"
    if made.prefect_api_key_secret_arn:
        del made.env["PREFECT_API_KEY"]  # as `prepare_for_flow_run` does
    return made


@pytest.mark.process
def test_a_run_becomes_an_ecs_task_of_ours(aws: dict[str, Any]) -> None:
    pool = DEPLOYMENTS["deployments"][0]["work_pool"]
    image = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/churn@sha256:" + "0" * 64
    made = configuration(aws, **{**pool["job_variables"], "image": image})
    worker = ECSWorker(work_pool_name="churn-ecs")
    flow_run: Any = SimpleNamespace(id=uuid4(), deployment_id=uuid4(), flow_id=uuid4())
    ecs = boto3.client("ecs")
    asked = worker._prepare_task_definition(made, REGION, flow_run)
    arn = worker._register_task_definition(logging.getLogger("test"), ecs, asked)
    definition = ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"]
    worker._validate_task_definition(definition, made)
    assert (definition["family"], definition["cpu"], definition["memory"]) == ("churn-flow", "4096", "16384")
    assert definition["executionRoleArn"] == aws["churn_execution_role_arn"]
    assert definition["requiresCompatibilities"] == ["FARGATE"]
    (container,) = definition["containerDefinitions"]
    assert (container["name"], container["image"]) == ("flow", image)
    assert container["secrets"] == [{"name": "PREFECT_API_KEY", "valueFrom": SECRET}]
    assert container["logConfiguration"]["options"] == {
        "awslogs-create-group": "false",
        "awslogs-group": "/churn/flow",
        "awslogs-region": REGION,
        "awslogs-stream-prefix": "flow",
    }
    assert container["stopTimeout"] == 120
    request = worker._prepare_task_run_request(made, definition, arn, True)
    assert request["networkConfiguration"]["awsvpcConfiguration"] == {
        "subnets": aws["churn_subnets"],
        "securityGroups": aws["churn_security_groups"],
        "assignPublicIp": "DISABLED",
    }
    assert request["overrides"]["taskRoleArn"] == aws["churn_task_role_arn"]
    (override,) = request["overrides"]["containerOverrides"]
    given = {each["name"]: each["value"] for each in override["environment"]}
    assert given["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "60"
    assert "the-workers-own" not in json.dumps([request, definition], default=str)


def test_a_server_that_wants_no_key_needs_no_secret(aws: dict[str, Any]) -> None:
    del aws["churn_prefect_api_key_secret_arn"]
    assert not configuration(aws, image="churn").prefect_api_key_secret_arn


def test_what_the_pool_gives_every_run_stands_beside_what_a_deployment_gives(aws: dict[str, Any]) -> None:
    template = copy.deepcopy(TEMPLATE)
    template["variables"]["properties"]["env"]["default"] = {"CHURN_SEED": "2", "DO_NOT_TRACK": "0"}
    given = configuration(aws, template, image="churn", env={"DO_NOT_TRACK": "1"}).env
    assert (given["CHURN_SEED"], given["DO_NOT_TRACK"]) == ("2", "1")


def test_the_job_template_is_prefects_own_with_our_defaults() -> None:
    own, theirs = TEMPLATE["job_configuration"], ECSWorker.get_default_base_job_template()
    unused = {"aws_credentials", "stream_output", "task_start_timeout_seconds", "task_watch_poll_interval"}
    assert set(theirs["job_configuration"]) - set(own) == unused
    assert own["task_run_request"] == theirs["job_configuration"]["task_run_request"]
    left, right = TEMPLATE["variables"]["properties"], theirs["variables"]["properties"]
    assert set(right) - set(left) == {"aws_credentials"}
    for name, described in left.items():
        assert {**described, "default": None} == {**right[name], "default": None}, name


def test_no_place_for_keys_is_in_the_template() -> None:
    text = json.dumps(TEMPLATE).lower()
    assert not re.search(r"access_key|session_token|password|credential|akia", text)


def test_there_is_a_deployment_for_each_built_in_product_and_one_for_all() -> None:
    found = {each["name"]: each for each in DEPLOYMENTS["deployments"]}
    assert set(found) == {*builtin_products(), "all"}
    for name in builtin_products():
        assert found[name]["parameters"]["product"] == name
        (schedule,) = found[name]["schedules"]
        assert (schedule["cron"], schedule["timezone"]) == ("0 18 * * 1", "Europe/London")
    assert found["all"]["schedules"] == []


def test_the_wait_between_tries_is_one_number_which_prefects_server_takes() -> None:
    for each in DEPLOYMENTS["deployments"]:
        env = each["work_pool"]["job_variables"]["env"]
        assert int(env["PREFECT_FLOWS_DEFAULT_RETRY_DELAY_SECONDS"]) > 0
        assert int(env["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]) >= 30


def test_every_variable_that_the_files_use_is_documented() -> None:
    text = (ROOT / "deployments" / "prefect.yaml").read_text("utf-8")
    used = set(re.findall(r"\$(DEPLOY_[A-Z]+)", text))
    assert used == set(re.findall(r"^\| `(DEPLOY_[A-Z]+)` \|", PAGE, flags=re.M))
    assert used == set(re.findall(r"\b(DEPLOY_[A-Z]+)=", PAGE))
    variables = set(re.findall(r"prefect\.variables\.(\w+)", json.dumps(TEMPLATE)))
    assert variables == set(re.findall(r"^prefect variable set (\w+)", PAGE, flags=re.M))
