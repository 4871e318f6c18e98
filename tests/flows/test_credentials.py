"""Credentials that Prefect's blocks hold: used by all that asks AWS or Redshift, put away again, and never shown."""

import os
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_HOME,
    PREFECT_SERVER_ANALYTICS_ENABLED,
    get_current_settings,
    temporary_settings,
)
from prefect.testing.utilities import prefect_test_harness
from prefect_aws import AwsCredentials

from churn.config.load import load_settings
from churn.config.settings import Settings
from churn.config.warehouse import PASSWORD_VARIABLE, USER_VARIABLE
from churn.core.errors import ConfigError, RunError
from churn.lake.lake import Lake
from churn.warehouse.redshift.client import RedshiftWarehouse
from flows import credentials as blocks
from flows.credentials import credentials
from tests.support.command_line import exit_code
from tests.support.data_folders import AS_OF, write_table
from tests.support.fixtures_aws import LOGIN, PASSWORD, Bucket, Redshift
from tests.support.fixtures_weekly import PRODUCTS, leaving_people

pytestmark = [pytest.mark.server, pytest.mark.process]

CHURN = Path(sys.executable).with_name("churn")
KEY, SECRET, TOKEN = "canary-key", "canary-secret-key", "canary-session-token"
CANARIES = (KEY, SECRET, TOKEN, "canary-password")
OURS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")


@pytest.fixture(scope="module", autouse=True)
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Prefect server with blocks; returns the folder of its database."""
    home = tmp_path_factory.mktemp("prefect")
    ours = {PREFECT_HOME: home, PREFECT_SERVER_ANALYTICS_ENABLED: False}
    with temporary_settings(ours), prefect_test_harness(server_startup_timeout=180):
        keys = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "region_name": "eu-west-2"}
        saved: dict[str, Any] = {
            "keys": AwsCredentials(**keys),
            "session": AwsCredentials(**keys, aws_session_token=TOKEN),
            "profile": AwsCredentials(profile_name="of-somebody", region_name="eu-west-3"),
            "role": AwsCredentials(**keys, assume_role_arn="arn:aws:iam::123456789012:role/churn"),
            "region": AwsCredentials(region_name="eu-west-3"),
            "no-profile": AwsCredentials(
                profile_name="nobody", assume_role_arn="arn:aws:iam::123456789012:role/churn"
            ),
            "half": AwsCredentials(aws_access_key_id=KEY),
            "login": Secret(value={"username": LOGIN, "password": PASSWORD}),
            "login-as-text": Secret(value='{"username": "canary-user", "password": "canary-password"}'),
            "no-json": Secret(value='{"username": "canary-password'),
            "a-text": Secret(value="canary-password"),
            "a-number": Secret(value={"username": "canary-user", "password": 17}),
            "no-password": Secret(value={"username": "canary-password"}),
            "a-list": Secret(value=["canary-password"]),
        }
        for name, block in saved.items():
            block.save(name)
        yield home


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in the environment says who this process is."""
    for name in [*OURS, "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"]:
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def naming(**names: str) -> Settings:
    return load_settings(Path("none"), Path("out"), {"prefect": names}, optional=True)


def login_from(name: str) -> Settings:
    """Settings of a Redshift whose login a block holds."""
    arn = "arn:aws:iam::123456789012:role/churn"
    warehouse = {
        "kind": "redshift",
        "host": "localhost",
        "database": "d",
        "iam_role": arn,
        "auth": "environment",
    }
    chosen = {"prefect": {"redshift_login": name}, "warehouse": warehouse}
    return load_settings(Path("none"), Path("out"), chosen, optional=True)


def who() -> tuple[str | None, ...]:
    return tuple(os.environ.get(name) for name in OURS)


# --- AWS ---


@pytest.mark.parametrize(
    ("name", "expected", "region"),
    [
        ("keys", (KEY, SECRET, None, None), "eu-west-2"),
        ("session", (KEY, SECRET, TOKEN, None), "eu-west-2"),
        ("profile", (None, None, None, "of-somebody"), "eu-west-3"),
    ],
)
def test_a_block_says_who_this_process_is_and_for_so_long_only(
    name: str, expected: tuple[str | None, ...], region: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in OURS:
        monkeypatch.setenv(variable, "before")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/before")
    before = dict(os.environ)
    with credentials(naming(aws_credentials=name)):
        assert who() == expected
        assert os.environ["AWS_REGION"] == os.environ["AWS_DEFAULT_REGION"] == region
        assert "AWS_WEB_IDENTITY_TOKEN_FILE" not in os.environ
    assert dict(os.environ) == before


def test_clients_that_were_made_before_do_not_hand_on_who_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    def key() -> str:
        client = boto3.client("s3", region_name="eu-west-1")
        return str(client._request_signer._credentials.access_key)

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "before")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "before")
    boto3.DEFAULT_SESSION = None
    assert key() == "before"
    with credentials(naming(aws_credentials="keys")):
        assert key() == KEY
    assert key() == "before"


def test_a_role_is_assumed(bucket: Bucket) -> None:
    with credentials(naming(aws_credentials="role")):
        key, secret, token, profile = who()
        assert key not in (None, KEY)
        assert secret not in (None, SECRET)
        assert token
        assert profile is None
        assert boto3.client("s3").list_buckets()["Buckets"]


def test_without_a_block_nothing_is_asked_and_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_load", None)
    before = dict(os.environ)
    with credentials(naming()):
        assert dict(os.environ) == before


def test_a_run_inside_a_command_uses_what_the_command_took(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = naming(aws_credentials="keys")
    with credentials(keys):
        with monkeypatch.context() as patch:
            patch.setattr(blocks, "_load", None)
            with credentials(keys):
                assert who()[0] == KEY
        assert who()[0] == KEY
        with (
            pytest.raises(RunError, match="run this in a process of its own"),
            credentials(naming(aws_credentials="session")),
        ):
            pass
    assert who() == (None,) * 4


# --- the login of Redshift ---


@pytest.mark.parametrize(
    ("name", "expected"),
    [("login", (LOGIN, PASSWORD)), ("login-as-text", ("canary-user", "canary-password"))],
)
def test_a_secret_is_the_warehouses_login(name: str, expected: tuple[str, str]) -> None:
    with credentials(login_from(name)):
        assert (os.environ[USER_VARIABLE], os.environ[PASSWORD_VARIABLE]) == expected
    assert USER_VARIABLE not in os.environ
    assert PASSWORD_VARIABLE not in os.environ


def test_a_login_is_not_asked_for_where_the_warehouse_needs_none() -> None:
    with credentials(naming(redshift_login="not-there")):
        assert PASSWORD_VARIABLE not in os.environ


def test_redshift_is_reached_with_it(redshift: Redshift, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(USER_VARIABLE)
    monkeypatch.delenv(PASSWORD_VARIABLE)
    warehouse = redshift.settings(retries=0)
    settings = login_from("login").model_copy(update={"warehouse": warehouse})
    redshift.front.logins = {LOGIN: PASSWORD}
    with credentials(settings), closing(RedshiftWarehouse(warehouse)) as opened:
        opened.fetch("select 1 as one")
    assert set(redshift.front.logged_in) == {LOGIN}
    with closing(RedshiftWarehouse(warehouse)) as opened, pytest.raises(ConfigError, match=USER_VARIABLE):
        opened.fetch("select 1 as one")


# --- what is wrong is told, and no part of it is shown ---


def refusal(settings: Settings) -> str:
    before = dict(os.environ)
    with pytest.raises(ConfigError) as refused, credentials(settings):
        pass
    assert dict(os.environ) == before
    shown = "".join(traceback.format_exception(refused.value))
    assert not [canary for canary in CANARIES if canary in shown]
    return str(refused.value)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (naming(aws_credentials="not-there"), "has no block of that name and of type 'aws-credentials'"),
        (naming(aws_credentials="login"), "has no block of that name and of type 'aws-credentials'"),
        (naming(aws_credentials="region"), "holds no role, no profile and no whole pair of keys"),
        (naming(aws_credentials="half"), "holds no role, no profile and no whole pair of keys"),
        (naming(aws_credentials="no-profile"), "(ProfileNotFound): check the block's keys"),
        (login_from("not-there"), "has no block of that name and of type 'secret'"),
        (login_from("keys"), "has no block of that name and of type 'secret'"),
        *(
            (login_from(name), "must hold JSON")
            for name in ("no-json", "a-text", "a-number", "no-password", "a-list")
        ),
    ],
    ids=lambda value: (
        "-".join(filter(None, value.prefect.model_dump().values())) if isinstance(value, Settings) else ""
    ),
)
def test_a_block_that_cannot_be_used_is_named_and_not_shown(settings: Settings, told: str) -> None:
    message = refusal(settings)
    assert told in message
    (name,) = filter(None, settings.prefect.model_dump().values())
    assert f"the block {name!r} (prefect." in message


@pytest.mark.parametrize(
    ("password", "fault"),
    [("canary-password", "does not answer"), ("canary/pass@word", "has no address that can be used")],
)
def test_a_server_that_does_not_answer_is_told_without_its_password(password: str, fault: str) -> None:
    with temporary_settings({PREFECT_API_URL: f"http://me:{password}@127.0.0.1:9/api"}):
        message = refusal(naming(aws_credentials="keys"))
    assert f"the Prefect server at http://127.0.0.1:9/api {fault}: check PREFECT_API_URL" in message
    assert "canary" not in message


def test_without_prefect_aws_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prefect_aws", None)
    assert "install churn with its extra `aws`" in refusal(naming(aws_credentials="keys"))


# --- commands ---


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_table(tmp_path / "data", "events.activity", leaving_people())
    (tmp_path / "data" / "churn.toml").write_text(PRODUCTS, "utf-8")
    return tmp_path / "data"


def records() -> str:
    """All that Prefect's server has written down.

    What it tells of a block that is being saved is left out: that is Prefect's own, and shows what prefect-aws
    does not declare secret (a key's id, a session's token).
    """
    database = get_current_settings().server.database.connection_url
    assert database is not None
    with closing(sqlite3.connect(database.get_secret_value().partition("///")[2])) as connection:
        lines = [line for line in connection.iterdump() if "prefect.block-document.created" not in line]
    return "\n".join(lines)


def test_a_flow_takes_its_keys_from_a_block_and_shows_them_nowhere(
    data: Path, tmp_path: Path, bucket: Bucket, prefect: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in OURS:
        monkeypatch.delenv(name, raising=False)
    given = {
        "CHURN_PREFECT__AWS_CREDENTIALS": "session",
        "CHURN_CLUSTER__WORKERS": "1",
        "PREFECT_API_URL": str(get_current_settings().api.url),
        "PREFECT_HOME": str(prefect),
        "PREFECT_LOGGING_LEVEL": "DEBUG",
        "PREFECT_LOGGING_TO_API_ENABLED": "true",
        "OMP_NUM_THREADS": "1",
    }

    def run(lake: str) -> subprocess.CompletedProcess[str]:
        folders = ["--data", data, "--out", tmp_path / "out"]
        line = [CHURN, "run", *folders, "--product", "food", "--as-of", str(AS_OF)]
        environment = {**os.environ, **given, "CHURN_STORE__LAKE": lake}
        return subprocess.run(line, env=environment, capture_output=True, text=True, cwd=tmp_path)

    failed = run("s3://churn-no-such-bucket/lake")
    assert failed.returncode == 1
    ended = run(f"{bucket.url}/lake")
    assert ended.returncode == 0, ended.stderr
    written = failed.stdout + failed.stderr + ended.stdout + ended.stderr + records()
    assert "score and explain" in written
    assert not [canary for canary in CANARIES if canary in written]
    files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert not [canary for canary in CANARIES if canary.encode() in files]
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs()
    assert sorted((each.parameters["product"], each.state_name) for each in runs) == [
        ("food", "Completed"),
        ("food", "Failed"),
    ]
    assert not [canary for canary in CANARIES if canary in f"{runs!r}"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-test")
    found = Lake(f"{bucket.url}/lake").current("food")
    assert found is not None
    found.verify(checksums=True)


def test_check_says_which_blocks_it_used(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ["check", "--data", str(data), "--out", str(tmp_path / "out")]
    monkeypatch.setenv("CHURN_PREFECT__AWS_CREDENTIALS", "keys")
    assert exit_code(line) == 0
    told = capsys.readouterr().out.splitlines()
    url = str(get_current_settings().api.url)
    assert f"ok      Prefect: the Prefect server at {url} answers" in told
    assert "ok      Prefect: blocks: credentials are taken from keys" in told
    monkeypatch.setenv("CHURN_PREFECT__AWS_CREDENTIALS", "not-there")
    assert exit_code(line) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[-1].startswith(
        "failed  Prefect: blocks: the block 'not-there' (prefect.aws_credentials) cannot be used"
    )
