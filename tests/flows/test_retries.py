"""What is tried again, and how the run page tells of it."""

from datetime import date
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError, NoRegionError
from prefect.states import Failed

from churn.core.errors import CheckError, ConfigError, RunError, SourceError, UsageError
from churn.core.io_errors import storage_errors
from churn.jobs.weekly import job
from flows.weekly_all import outcome_message
from tasks import weekly
from tasks.artifacts import show_products


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (RunError("MLflow does not answer"), True),
        (ConnectionError("reset by peer"), True),
        (UsageError("unknown product"), False),
        (ConfigError("seed: too small"), False),
        (SourceError("no activity"), False),
        (CheckError("scoring", ["12 users are missing"]), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_person_must_put_right_is_not_tried_again(error: Exception, again: bool) -> None:
    anything: Any = SimpleNamespace()
    assert weekly.may_pass(anything, anything, Failed(data=error)) is again


def test_only_what_replaces_its_first_try_is_tried_again() -> None:
    tried = {stage.__name__ for stage, task in weekly._TASKS.items() if task.retries}
    assert tried == {"publish", "track"}
    assert weekly._TASKS[job.publish].retry_delay_seconds == [5, 10]


def test_the_message_names_every_product() -> None:
    assert outcome_message(["a", "b", "c"], ["b"], {"a": "no data", "c": "no disk"}) == (
        "2 of 3 products failed: a, c; published: b\n  - a: no data\n  - c: no disk"
    )
    assert "published: none" in outcome_message(["a"], [], {"a": "no data"})


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (NoCredentialsError(), "give this process a role, a profile (AWS_PROFILE)"),
        (NoRegionError(), "set store.region, AWS_REGION or AWS_DEFAULT_REGION"),
        (EndpointConnectionError(endpoint_url="https://s3.example.org"), "check the network"),
        (ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject"), "check the bucket, the rights"),
        (
            FileNotFoundError("The specified bucket does not exist"),
            "check that the folder or bucket (store.lake) exists",
        ),
        (OSError("reset"), "check that the disk or store is healthy"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_store_does_not_do_is_told_with_what_to_do(error: Exception, told: str) -> None:
    with pytest.raises(RunError, match="and run again") as raised, storage_errors("writing", "s3://b/lake"):
        raise error
    assert told in str(raised.value)


def test_nothing_is_shown_where_no_flow_runs() -> None:
    show_products(date(2026, 6, 28), [], {"a": "no data"})  # it would ask a server
