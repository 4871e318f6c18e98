import subprocess
import sys
from logging import getLogger

import pytest
from distributed.worker_memory import parse_memory_limit
from pydantic import ValidationError

from churn.config.cluster import ClusterSettings, FargateSettings
from churn.config.settings import Settings
from churn.scoring.cluster.size import expected_threads

DIGEST = "sha256:" + "ab" * 32
REQUIRED = {
    "image": f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/churn@{DIGEST}",
    "vpc": "vpc-0123", "subnets": ["subnet-0123"], "security_groups": ["sg-0123"],
    "execution_role": "arn:aws:iam::123456789012:role/churn-execution",
    "task_role": "arn:aws:iam::123456789012:role/churn-task", "log_group": "/churn/dask",
}  # fmt: skip


def fargate(**changes):
    return FargateSettings(**{**REQUIRED, **changes})


def test_what_is_required_is_enough():
    settings = ClusterSettings(kind="fargate", workers=8, fargate=REQUIRED)
    assert settings.fargate == fargate()
    assert expected_threads(settings) == 8
    assert ClusterSettings.model_validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize("missing", REQUIRED)
def test_nothing_is_guessed(missing):
    with pytest.raises(ValidationError, match=missing):
        FargateSettings(**{key: value for key, value in REQUIRED.items() if key != missing})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"image": "churn:latest"}, "image"),
        ({"image": "daskdev/dask@sha256:12"}, "image"),
        ({"subnets": []}, "subnets"),
        ({"security_groups": ["default"]}, "security_groups"),
        ({"task_role": "churn-task"}, "task_role"),
        ({"worker_cpu": 1000}, "worker_cpu must be one of 256, 512, 1024"),
        ({"worker_memory": 1024}, "worker_memory must be 2048 to 8192 in steps of 1024 for worker_cpu 1024"),
        ({"worker_cpu": 8192, "worker_memory": 17 * 1024}, "16384 to 61440 in steps of 4096"),
        ({"scheduler_cpu": 256, "scheduler_memory": 512}, "scheduler_memory must be 1024 to 2048"),
        ({"environment": {"AWS_SECRET_ACCESS_KEY": "x"}}, "must hold no secrets"),
        ({"environment": {"db_password": "x"}}, "must hold no secrets"),
        ({"tags": {"churn:run": "x"}}, "given by others: churn:run"),
        ({"tags": {"createdBy": "x"}}, "given by others: createdBy"),
        ({"idle_timeout": 60}, "at least start_timeout"),
        ({"tls_secret": "my-secret"}, "tls_secret"),
        ({"public_ip": True}, "public_ip"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_with_the_reason(change, told):
    with pytest.raises(ValidationError, match=told):
        fargate(**change)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"kind": "fargate", "workers": 2}, r"\[cluster.fargate\]"),
        ({"kind": "fargate", "fargate": REQUIRED}, "needs workers"),
        ({"kind": "fargate", "workers": 2, "threads_per_worker": 2, "fargate": REQUIRED}, "has 1 vCPU"),
        ({"kind": "address", "address": "tls://a:1", "tls_ca": "a.pem"}, "needed together"),
        ({"tls_ca": "a", "tls_cert": "b", "tls_key": "c"}, "go with kind 'address'"),
    ],
    ids=str,
)
def test_what_does_not_fit_together_is_refused(settings, told):
    with pytest.raises(ValidationError, match=told):
        ClusterSettings(**settings)


def test_a_vcpu_for_each_thread_is_enough():
    settings = ClusterSettings(
        kind="fargate", workers=3, threads_per_worker=2,
        fargate={**REQUIRED, "worker_cpu": 2048, "worker_memory": 4096},
    )  # fmt: skip
    assert expected_threads(settings) == 6


@pytest.mark.parametrize("limit", ["auto", "2GB", "1.5 GiB", "512MB", "0.5", ".25", "1"])
def test_a_limit_of_memory_is_as_dask_takes_it(limit):
    parsed = parse_memory_limit(ClusterSettings(memory_limit=limit).memory_limit, 1, logger=getLogger())
    assert parsed is not None
    assert parsed > 0


@pytest.mark.parametrize("limit", ["lots", "", "-1GB", "2", "0", "0.0", "2 apples", "nan"])
def test_a_limit_of_memory_that_is_none_is_refused(limit):
    with pytest.raises(ValidationError, match="memory_limit"):
        ClusterSettings(memory_limit=limit)


def test_fargate_can_stand_in_a_file_that_another_profile_uses():
    assert ClusterSettings(fargate=REQUIRED).kind == "local"


def test_workers_of_fargate_need_a_lake_that_they_can_reach(tmp_path):
    cluster = ClusterSettings(kind="fargate", workers=2, fargate=REQUIRED)
    with pytest.raises(ValidationError, match="needs a lake on S3"):
        Settings(data=tmp_path, out=tmp_path, cluster=cluster)
    with pytest.raises(ValidationError, match=r"did you mean s3://acme-churn/lake\?"):
        Settings(data=tmp_path, out=tmp_path, cluster=cluster, store={"lake": "acme-churn/lake"})
    assert Settings(data=tmp_path, out=tmp_path, cluster=cluster, store={"lake": "s3://acme-churn/lake"})


@pytest.mark.process
def test_a_local_run_does_not_import_aws_libraries():
    code = "import sys, churn.scoring.cluster.client, flows.cli; print({'boto3', 'dask_cloudprovider', 'aiobotocore'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"
