"""Which region AWS is asked in, and what is said where it does not answer."""

import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
)

from churn.config.store import StoreSettings
from churn.core.aws import region_of
from churn.core.errors import RunError
from churn.lake.filesystem import s3_options
from churn.scoring.cluster.ecs import aws_client, explain_ecs_errors


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "none")
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)


def test_the_settings_go_first_then_what_boto_knows_then_aws_region(monkeypatch: pytest.MonkeyPatch) -> None:
    assert region_of(None) is None
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert region_of(None) == "eu-west-1"
    assert region_of("eu-west-2") == "eu-west-2"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
    assert region_of(None) is None, "boto finds it, as everything else in the process does"


def test_aws_region_alone_is_enough_for_clients_and_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert aws_client("ecs", None).meta.region_name == "eu-west-1"
    assert s3_options(StoreSettings())["client_kwargs"] == {"region_name": "eu-west-1"}


def test_without_a_region_the_message_names_the_setting_and_both_variables() -> None:
    with pytest.raises(RunError, match=r"set cluster\.fargate\.region, AWS_REGION or AWS_DEFAULT_REGION"):
        aws_client("ecs", None)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NoCredentialsError(), "AWS was not asked to look, as this process has no credentials for it"),
        (
            PartialCredentialsError(provider="env", cred_var="aws_secret_access_key"),
            "AWS was not asked to look, as this process has no credentials for it",
        ),
        (
            EndpointConnectionError(endpoint_url="https://ecs.example.org"),
            "AWS was not reached to look (EndpointConnectionError): check the network",
        ),
        (
            ClientError({"Error": {"Code": "AccessDenied", "Message": "arn:aws:iam::1:role/x"}}, "ListTasks"),
            "AWS did not let this process look (AccessDenied): check the role or profile",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_not_asked_not_reached_and_refused_are_told_apart(error: Exception, said: str) -> None:
    with pytest.raises(RunError) as raised, explain_ecs_errors("look"):
        raise error
    assert said in str(raised.value)
    assert "arn:" not in str(raised.value)
