import json
from typing import Any

import pytest
from pydantic import ValidationError

from churn.config.warehouse import WarehouseSettings

ROLE = "arn:aws:iam::123456789012:role/churn"
WHOLE: dict[str, Any] = {
    "kind": "redshift",
    "host": "cluster.abc.eu-west-1.redshift.amazonaws.com",
    "database": "prod",
    "iam_role": ROLE,
    "cluster_identifier": "cluster",
    "db_user": "churn",
}


def fault(**changes: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        WarehouseSettings(**{**WHOLE, **changes})
    return "; ".join(f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in caught.value.errors())


def test_the_embedded_warehouse_needs_nothing() -> None:
    assert WarehouseSettings().kind == "duckdb"


def test_what_redshift_needs_is_listed_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        WarehouseSettings(kind="redshift")
    for name in ("host", "database", "iam_role", "cluster_identifier (or workgroup)"):
        assert f"{name} is needed" in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"cluster_identifier": None, "db_user": None, "workgroup": "churn"},
        {"auth": "secret", "secret": "prod/redshift-AbCdEf", "cluster_identifier": None},
        {"auth": "environment", "cluster_identifier": None, "db_user": None},
        {"iam_role": "default"},
        {"iam_role": f"{ROLE},arn:aws:iam::210987654321:role/theirs"},
        {"host": "127.0.0.1", "ssl": "prefer"},
    ],
)
def test_each_way_to_log_in_needs_its_own(changes: dict[str, Any]) -> None:
    assert WarehouseSettings(**{**WHOLE, **changes}).kind == "redshift"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"db_user": None}, "db_user is needed"),
        ({"auth": "secret"}, "secret is needed"),
        ({"workgroup": "churn"}, "not both"),
        ({"ssl": "prefer"}, "does not verify the server"),
        ({"ssl": "disable"}, "ssl"),
        ({"iam_role": "role"}, "iam_role must be"),
        ({"kms_key": "x y"}, "kms_key must be"),
        ({"port": 0}, "port"),
        ({"group": "Robert'); drop"}, "group"),
        ({"database": "a;b"}, "database"),
        ({"region": "Dublin"}, "region"),
        ({"keepalive": 400}, "keepalive"),
    ],
)
def test_what_cannot_be_is_said(changes: dict[str, Any], said: str) -> None:
    assert said in fault(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"password": "canary-7"},
        {"user": "canary-7"},
        {"host": "redshift://me:canary-7@host:5439/db"},
        {"host": "me:canary-7@host"},
        {"database": "db?password=canary-7 x"},
        {"iam_role": "aws_secret_access_key=canary-7"},
        {"secret": '{"password": "canary-7"}'},
        {"kms_key": "canary-7;"},
    ],
)
def test_a_secret_has_no_place_and_is_not_repeated(changes: dict[str, Any]) -> None:
    assert "canary-7" not in fault(**changes)


def test_settings_are_frozen_and_can_be_written_down() -> None:
    settings = WarehouseSettings(**WHOLE)
    with pytest.raises(ValidationError):
        settings.host = "other"  # type: ignore[misc]  # what is tested
    assert WarehouseSettings(**json.loads(settings.model_dump_json())) == settings
