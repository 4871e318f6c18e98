"""A whole run under Prefect with passwords and keys that are known by sight: none of it is found anywhere after."""

import base64
import json
import os
import secrets
import subprocess
import sys
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from churn.outputs import migrations
from churn.warehouse.redshift.client import RedshiftWarehouse
from tests.stand_ins.redshift import Fault
from tests.stand_ins.redshift_sql import RefusalError
from tests.stand_ins.s3 import REGION, environment
from tests.support.data_folders import AS_OF
from tests.support.fixtures_aws import LOGIN, Bucket, Redshift
from tests.support.lakes import own_settings
from tests.support.weekly_jobs import fill, on_redshift

pytestmark = [pytest.mark.server, pytest.mark.process, pytest.mark.slow]

_settings = pytest.fixture(autouse=True)(own_settings)

CHURN = Path(sys.executable).with_name("churn")
SECRET = "churn/warehouse"
REFUSAL = "is not enough"
LOGGERS = "churn,sqlalchemy.engine,s3fs,distributed"


@dataclass(frozen=True)
class Traces:
    """Everything that runs have left, as text by where it was found."""

    by_place: Mapping[str, str]

    def places_of(self, words: str) -> list[str]:
        """Return the places in which words are found, as they are or encoded."""
        encoded = {
            words,
            urllib.parse.quote(words, safe=""),
            base64.b64encode(words.encode()).decode().rstrip("="),
        }
        return sorted(place for place, text in self.by_place.items() if any(each in text for each in encoded))


def in_files(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes().decode("latin-1")


def in_bucket(bucket: Bucket) -> Iterator[tuple[str, str]]:
    for key in list(bucket.keys()):
        content = bucket.server.client.get_object(Bucket=bucket.name, Key=f"{bucket.prefix}/{key}")[
            "Body"
        ].read()
        yield f"s3: {key}", content.decode("latin-1")
        if key.endswith(".parquet"):  # its pages are compressed
            table = pq.read_table(pa.BufferReader(content))
            yield f"s3: rows of {key}", f"{table.schema.metadata} {table.to_pydict()}"


def in_database(redshift: Redshift) -> Iterator[tuple[str, str]]:
    tables = redshift.look(
        "select table_schema, table_name from information_schema.tables where table_type = 'BASE TABLE'"
        " and table_schema not in ('pg_catalog', 'information_schema')"
    )
    for schema, name in tables:
        rows = redshift.look(f'select t::text from "{schema}"."{name}" t')
        yield f"warehouse: {schema}.{name}", "\n".join(row for (row,) in rows)
    yield "warehouse: statements", "\n".join(redshift.front.statements)
    log = (redshift.postgres.folder / "server.log").read_text().splitlines()
    # The refusal below is the server's own.
    yield "warehouse: log", "\n".join(line for line in log if REFUSAL not in line)


@pytest.mark.timeout(480)
def test_no_secret_is_found_in_anything_that_a_run_leaves_whether_it_fails_or_not(
    data: Path,
    tmp_path: Path,
    bucket: Bucket,
    redshift: Redshift,
    prefect_home: Callable[[Path], Path],
) -> None:
    canaries = {
        name: f"canary-{secrets.token_hex(12)}"
        for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "MLFLOW_TRACKING_PASSWORD", "password")
    }
    with closing(RedshiftWarehouse(redshift.settings())) as warehouse:
        fill(warehouse, data, bucket)
        migrations.apply(warehouse, "user_id")
    keeper = boto3.client("secretsmanager", region_name=REGION)
    keeper.create_secret(
        Name=SECRET, SecretString=json.dumps({"username": LOGIN, "password": canaries["password"]})
    )
    redshift.front.logins = {LOGIN: canaries["password"]}
    redshift.front.statements.clear()
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("CHURN_", "PREFECT_"))},
        **environment(bucket.server.endpoint),
        **{name: value for name, value in on_redshift(redshift).items() if name.startswith("CHURN_WAREHOUSE__")},
        **{name: value for name, value in canaries.items() if name.isupper()},
        "CHURN_WAREHOUSE__AUTH": "secret",
        "CHURN_WAREHOUSE__SECRET": SECRET,
        "CHURN_WAREHOUSE__REGION": REGION,
        "CHURN_STORE__LAKE": f"{bucket.url}/lake",
        "CHURN_CLUSTER__WORKERS": "1",
        "CHURN_PUBLISH_REASONS": "true",
        "HOME": str(tmp_path / "home"),
        "PREFECT_HOME": str(prefect_home(tmp_path / "prefect")),
        "PREFECT_LOGGING_LEVEL": "DEBUG",
        "PREFECT_LOGGING_EXTRA_LOGGERS": LOGGERS,
    }  # fmt: skip

    def refuse() -> None:
        # A server may well repeat what it was told.
        raise RefusalError(f"password={canaries['password']} or {canaries['password']} {REFUSAL}")

    redshift.front.faults.append(Fault("unload:started", refuse, times=1))
    command = [
        CHURN,
        "run",
        "--product",
        "food",
        "--data",
        data,
        "--out",
        tmp_path / "out",
        "--as-of",
        f"{AS_OF}",
    ]
    codes = []
    for attempt in ("fails", "succeeds"):
        with open(tmp_path / f"{attempt}.log", "wb") as log:
            codes.append(
                subprocess.run(
                    command, env=variables, stdout=log, stderr=log, timeout=400, check=False
                ).returncode
            )
    said = {name: (tmp_path / f"{name}.log").read_text("utf-8") for name in ("fails", "succeeds")}
    assert codes == [1, 0], said
    assert REFUSAL in said["fails"]

    traces = Traces(dict([*in_files(tmp_path), *in_bucket(bucket), *in_database(redshift)]))
    found = {name: traces.places_of(value) for name, value in canaries.items()}
    assert found == {name: [] for name in canaries}
    # The search does find what is there, in every kind of place.
    assert "prefect/prefect.db" in traces.places_of("weekly-churn")
    assert "prefect/prefect.db" in traces.places_of(REFUSAL)
    assert {"out/mlflow.db", "fails.log", "succeeds.log"} <= set(traces.places_of("food"))
    with_user = traces.places_of("person-00001")
    assert any(place.startswith("s3: rows of lake/") and "/scores/" in place for place in with_user)
    assert "warehouse: churn.scores" in with_user
    # People stay in the lake and the warehouse.
    assert [place for place in with_user if not place.startswith(("s3: ", "warehouse: "))] == []
    assert "warehouse: statements" not in with_user
