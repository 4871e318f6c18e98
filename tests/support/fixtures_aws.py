"""Fixtures: a warehouse and a store like AWS's, for as long as a test runs; servers start when first asked for."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import s3fs
from sqlalchemy.engine import URL

from churn.config.warehouse import PASSWORD_VARIABLE, USER_VARIABLE, WarehouseSettings
from tests.stand_ins.postgres import Server, postgres_server
from tests.stand_ins.redshift import Front
from tests.stand_ins.s3 import BUCKET, Faults, S3Server, environment, faulting
from tests.stand_ins.s3 import s3_server as run_s3_server

ROLE = "arn:aws:iam::123456789012:role/churn-unload"
LOGIN, PASSWORD = "churn_login", "not-a-secret"


@dataclass(frozen=True)
class Bucket:
    """A place in S3 that nobody else writes to.

    Attributes:
        url: ``s3://bucket/prefix``, without a slash at its end.
        name: the bucket.
        prefix: the prefix, without slashes around it.
        server: the server, past the environment and every fault.
    """

    url: str
    name: str
    prefix: str
    server: S3Server

    def keys(self) -> list[str]:
        """Return the keys below, without the prefix."""
        return [key.removeprefix(f"{self.prefix}/") for key in self.server.keys(f"{self.prefix}/", self.name)]


@dataclass(frozen=True)
class Redshift:
    """A fresh database behind a front of its own.

    Attributes:
        url: for SQLAlchemy, with psycopg2.
        connector_url: the same with redshift_connector, which needs ``connector_arguments`` as ``connect_args``.
        port: the front's.
        database: its name.
        front: what was sent, and faults to come.
        postgres: the server behind it.
    """

    url: str
    connector_url: str
    port: int
    database: str
    front: Front
    postgres: Server

    @property
    def connector_arguments(self) -> dict[str, Any]:
        """``connect_args`` of an engine that uses redshift_connector."""
        return {"ssl": False}

    def settings(self, **changes: Any) -> WarehouseSettings:
        """Settings by which the program reaches it; the environment has the user and password."""
        given: dict[str, Any] = {
            "kind": "redshift", "host": "127.0.0.1", "port": self.port, "database": self.database,
            "auth": "environment", "ssl": "prefer", "iam_role": ROLE, "backoff": 0.05,
        }  # fmt: skip
        return WarehouseSettings(**{**given, **changes})

    def look(self, sql: str) -> list[tuple[Any, ...]]:
        """Run one statement past the front, on a connection of its own."""
        return self.postgres.execute(sql, self.database)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def _s3_of_this_process() -> Iterator[S3Server]:
    with run_s3_server() as server:
        yield server


@pytest.fixture(scope="module")
def s3_server(_s3_of_this_process: S3Server) -> S3Server:
    """An S3 server with a bucket, whatever moto's own mocks in modules before have wiped."""
    _s3_of_this_process.make_bucket()
    return _s3_of_this_process


def use_s3(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Point every AWS client that this test makes at an endpoint."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment(endpoint).items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def bucket(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Bucket]:
    """An empty place in S3, which the environment leads to."""
    prefix = re.sub(r"[^A-Za-z0-9-]+", "-", request.node.nodeid)[-120:].strip("-")
    use_s3(monkeypatch, s3_server.endpoint)
    found = Bucket(f"s3://{BUCKET}/{prefix}", BUCKET, prefix, s3_server)
    yield found
    s3fs.S3FileSystem.clear_instance_cache()
    for key in s3_server.keys(f"{prefix}/"):
        s3_server.client.delete_object(Bucket=BUCKET, Key=key)


@pytest.fixture
def s3_faults(
    bucket: Bucket, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Faults], Faults]]:
    """Let requests fail from now on: call it with which ones and how."""
    with ExitStack() as stack:

        def begin(faults: Faults) -> Faults:
            use_s3(monkeypatch, stack.enter_context(faulting(s3_server, faults)))
            return faults

        yield begin


@pytest.fixture
def redshift(postgres: Server, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Redshift]:
    """A fresh database that takes Redshift's SQL; UNLOAD and COPY reach S3 past every fault."""
    monkeypatch.setenv(USER_VARIABLE, LOGIN)
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    with postgres.database() as database:
        front = Front(postgres.port, s3_server)
        try:
            yield redshift_at(front, postgres, database)
        finally:
            front.close()


def redshift_at(front: Front, postgres: Server, database: str, port: int | None = None) -> Redshift:
    """Describe a database by the port through which it is reached: the front's, or a proxy's before it."""
    parts = {
        "username": LOGIN, "password": PASSWORD, "host": "127.0.0.1", "port": port or front.port, "database": database,
    }  # fmt: skip
    url = URL.create("redshift+psycopg2", **parts, query={"sslmode": "prefer"})
    connector = URL.create("redshift+redshift_connector", **parts)
    shown = [one.render_as_string(hide_password=False) for one in (url, connector)]
    return Redshift(*shown, port or front.port, database, front, postgres)


def forget_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leave AWS' libraries nothing that they could log in with."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
