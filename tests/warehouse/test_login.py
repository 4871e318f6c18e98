"""Who may log in, asked of AWS over HTTP: fresh for each connection, and never shown."""

import json
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest

from churn.config.warehouse import WarehouseSettings
from churn.core.errors import ConfigError, RunError
from churn.warehouse.redshift.client import RedshiftWarehouse
from churn.warehouse.redshift.login import Login, aws_login
from tests.support.fixtures_aws import ROLE, Bucket, Redshift, forget_credentials

CANARY = "canary-9c1e"


def settings(**changes: Any) -> WarehouseSettings:
    whole = {
        "kind": "redshift", "host": "127.0.0.1", "database": "prod", "iam_role": ROLE, "ssl": "prefer",
        "region": "us-east-1", "retries": 0,
    }  # fmt: skip
    return WarehouseSettings(**{**whole, **changes})


@pytest.fixture
def cluster(bucket: Bucket) -> Iterator[str]:
    """A Redshift cluster that AWS's stand-in knows; ``bucket`` points AWS's clients at it."""
    client = boto3.client("redshift", region_name="us-east-1")
    client.create_cluster(
        ClusterIdentifier="churn-test",
        NodeType="ra3.large",
        MasterUsername="admin",
        MasterUserPassword="Unused-1",
    )
    yield "churn-test"
    client.delete_cluster(ClusterIdentifier="churn-test", SkipFinalClusterSnapshot=True)


@pytest.fixture
def secret(bucket: Bucket) -> Iterator[str]:
    client = boto3.client("secretsmanager", region_name="us-east-1")
    client.create_secret(
        Name="prod/warehouse",
        SecretString=json.dumps({"username": "churn", "password": CANARY, "port": 5439}),
    )
    yield "prod/warehouse"
    client.delete_secret(SecretId="prod/warehouse", ForceDeleteWithoutRecovery=True)


def test_every_connection_logs_in_with_a_password_of_its_own(cluster: str, redshift: Redshift) -> None:
    passwords: list[tuple[str, str]] = []

    def admit(user: str, password: str) -> bool:
        passwords.append((user, password))
        return True

    redshift.front.logins = admit
    given = settings(
        cluster_identifier=cluster,
        db_user="churn",
        port=redshift.port,
        database=redshift.database,
        retries=2,
        backoff=0.01,
    )
    with closing(RedshiftWarehouse(given)) as warehouse:
        for _ in range(3):
            assert warehouse.fetch("select 1 as a").to_pylist() == [{"a": 1}]
            redshift.front.cut_all()
    assert len(passwords) >= 3
    assert len(set(passwords)) == len(passwords)
    assert {user for user, _ in passwords} == {"IAM:churn"}


class _Serverless(BaseHTTPRequestHandler):
    """redshift-serverless: GetCredentials, which moto lacks."""

    asked: list[Any]

    def do_POST(self) -> None:
        type(self).asked.append(
            (self.headers["X-Amz-Target"], json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        )
        body = json.dumps({"dbUser": "IAMR:churn", "dbPassword": CANARY, "expiration": 1.0}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None: ...


def test_a_serverless_workgroup_is_asked_by_its_name(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    _Serverless.asked = []
    with HTTPServer(("127.0.0.1", 0), _Serverless) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        login = aws_login(settings(workgroup="churn"))
    assert login == Login("IAMR:churn", CANARY)
    ((target, body),) = _Serverless.asked
    assert target.endswith(".GetCredentials")
    assert (body["workgroupName"], body["dbName"]) == ("churn", "prod")


def test_a_secret_is_read_by_name(secret: str) -> None:
    assert aws_login(settings(auth="secret", secret=secret)) == Login("churn", CANARY)


@pytest.mark.parametrize(
    "text", [CANARY, "[]", '{"username": "x"}', f'"{CANARY}"', f'{{"password": "{CANARY}"}}']
)
def test_a_secret_that_is_none_is_not_shown(bucket: Bucket, text: str) -> None:
    client = boto3.client("secretsmanager", region_name="us-east-1")
    client.create_secret(Name="broken", SecretString=text)
    try:
        with pytest.raises(RunError, match="must be JSON with a username and a password") as caught:
            aws_login(settings(auth="secret", secret="broken"))
    finally:
        client.delete_secret(SecretId="broken", ForceDeleteWithoutRecovery=True)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"auth": "secret", "secret": "missing"}, r"read the secret \(ResourceNotFoundException\)"),
        ({"cluster_identifier": "missing", "db_user": "x"}, r"get database credentials \(ClusterNotFound"),
    ],
)
def test_what_aws_refuses_is_told_by_its_code(bucket: Bucket, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RunError, match=said):
        aws_login(settings(**changes))


@pytest.mark.parametrize("auth", [{"auth": "secret", "secret": "x"}, {"workgroup": "churn"}])
def test_where_aws_is_not_reached_it_is_the_network_that_is_told(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, auth: dict[str, Any]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(RunError, match=r"was not reached.*\(EndpointConnectionError\): check the network"):
        aws_login(settings(**auth))


def test_where_nobody_says_who_asks_aws_it_is_told(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_credentials(monkeypatch, tmp_path)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with pytest.raises(RunError, match=r"no credentials for it \(NoCredentialsError\): give it a role"):
        aws_login(settings(workgroup="churn"))
    monkeypatch.setenv("AWS_PROFILE", "none")
    with pytest.raises(RunError, match=r"no credentials for it \(ProfileNotFound\)"):
        aws_login(settings(workgroup="churn"))


@pytest.mark.parametrize("library", ["boto3", "botocore.exceptions"])
def test_a_login_without_aws_library_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError, match=r"needs boto.*not installed.*its extra `aws`.*requirements-aws"):
        aws_login(settings(workgroup="churn"))


@pytest.mark.parametrize("driver", ["psycopg2", "redshift_connector"])
def test_a_warehouse_without_its_driver_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
    monkeypatch.setitem(sys.modules, driver, None)
    with pytest.raises(ConfigError, match=rf"needs {driver}.*not installed.*its extra `aws`"):
        RedshiftWarehouse(settings(workgroup="churn", driver=driver))


def test_a_login_does_not_show_its_password() -> None:
    login = Login("churn", CANARY)
    assert CANARY not in f"{login} {login!r} {[login]}"
