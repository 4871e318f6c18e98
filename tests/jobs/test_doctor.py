"""`churn check` tries everything that the settings name, says what to do, shows no secret, and leaves nothing."""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import s3fs
from distributed import Client, LocalCluster
from prefect.settings import PREFECT_API_KEY, PREFECT_API_URL, temporary_settings

from churn.config.load import load_settings
from churn.config.settings import Settings
from churn.jobs.doctor import ProbeResult, run_checks
from churn.outputs import migrations
from churn.outputs.tracking import initialise
from churn.warehouse.redshift.client import RedshiftWarehouse
from tests.support.command_line import exit_code
from tests.support.data_folders import (
    AS_OF,
    broadcaster_folder,
    broadcaster_rows,
    event_folder,
    files_below,
    weekly_events,
)
from tests.support.fixtures_aws import PASSWORD, Bucket, Redshift, forget_credentials

ALL = [
    "store",
    "warehouse",
    "warehouse: read",
    "warehouse: write",
    "warehouse: unload",
    "warehouse: copy",
    "warehouse: published tables",
    "MLflow",
    "scheduler",
]
CANARY = "canary-5d1e"
_HOLD = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return event_folder(tmp_path / "data", weekly_events(["a", "b"], 3, AS_OF))


def chosen(data: Path, **overrides: Any) -> Settings:
    return load_settings(data, data.parent / "out", overrides)


def check_all(settings: Settings) -> dict[str, ProbeResult]:
    return {each.what: each for each in run_checks(settings)}


def failed(results: dict[str, ProbeResult]) -> list[str]:
    return [what for what, each in results.items() if not each.ok]


def test_where_all_is_well_each_thing_is_tried_and_nothing_is_left(data: Path) -> None:
    results = check_all(chosen(data))
    assert list(results) == ALL
    assert failed(results) == []
    assert {name.partition(".")[0] for name in files_below(data.parent / "out")} == {"warehouse"}
    assert not (data.parent / "out" / "lake" / ".check").exists()
    assert failed(check_all(chosen(data))) == []


def test_a_bucket_that_was_named_like_a_folder_is_pointed_out(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data)
    settings = load_settings(data, data / "out", {"store": {"lake": "acme-churn/lake"}})
    result = next(each for each in run_checks(settings) if each.what == "store")
    assert result.ok
    assert "a folder on this machine: if acme-churn is a bucket, write s3://acme-churn/lake" in result.message


def test_without_source_tables_the_warehouse_fails_and_the_rest_is_tried(data: Path) -> None:
    for path in (data / "tables").rglob("*.parquet"):
        path.unlink()
    results = check_all(chosen(data))
    assert failed(results) == ["warehouse"]
    assert "churn ingest" in results["warehouse"].message
    assert list(results) == ["store", "warehouse", "MLflow", "scheduler"]


@pytest.mark.process
def test_what_a_run_is_using_is_no_fault(data: Path) -> None:
    held = [sys.executable, "-c", _HOLD, str(data.parent / "out" / "warehouse.duckdb")]
    (data.parent / "out").mkdir()
    with subprocess.Popen(held, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"open\n"
        results = check_all(chosen(data))
        run.communicate(b"")
    assert list(results) == ALL
    assert failed(results) == []
    assert "is in use by a run; the other checks run in memory" in results["warehouse"].message
    assert results["warehouse: published tables"].message.startswith("not checked: ")


def test_wrong_source_tables_are_named_and_the_warehouse_is_tried_on(data: Path) -> None:
    results = check_all(chosen(data, source="bbc"))
    assert failed(results) == ["warehouse: read"]
    assert (
        "table audience.audience_activity_daily_summary_enriched is missing"
        in results["warehouse: read"].message
    )
    assert "\n" not in results["warehouse: read"].message


def test_what_the_source_tables_lack_is_told_and_no_fault(data: Path) -> None:
    rows = broadcaster_rows(users=2)
    del rows["prez.uasview"]
    result = check_all(chosen(broadcaster_folder(data, {**rows, "del.uas_profile_events": []}), source="bbc"))
    assert failed(result) == []
    assert result["warehouse: read"].message == (
        "the tables of source bbc are as they should be (activity, content, titles, formats, profile, segments,"
        " mails, activations, factors); table del.uas_profile_events is empty; table prez.uasview is missing"
    )


def test_a_store_that_cannot_be_written_fails_and_so_does_unloading(data: Path) -> None:
    (data.parent / "out").mkdir()
    (data.parent / "out" / "lake").write_text("a file")
    results = check_all(chosen(data))
    assert failed(results) == ["store", "warehouse: unload"]
    assert "a file stands where a folder should be" in results["store"].message


@pytest.mark.process
def test_mlflow_that_is_not_there_is_told_soon_and_without_its_password(data: Path) -> None:
    results = check_all(chosen(data, mlflow_tracking_uri=f"http://me:{CANARY}@127.0.0.1:9"))
    assert failed(results) == ["MLflow"]
    assert "check that the server answers" in results["MLflow"].message
    assert CANARY not in str(results)


def test_an_mlflow_database_is_looked_into(data: Path) -> None:
    settings = chosen(data)
    assert "is made by the first run" in check_all(settings)["MLflow"].message
    initialise(settings.tracking_uri)
    assert "mlflow.db answers" in check_all(settings)["MLflow"].message
    (data.parent / "out" / "mlflow.db").write_bytes(b"no database at all" * 100)
    assert failed(check_all(settings)) == ["MLflow"]


@pytest.fixture
def scheduler() -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=0, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        yield cluster


@pytest.mark.server
def test_a_scheduler_by_address_must_have_a_worker_that_answers(
    data: Path, scheduler: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("churn.jobs.doctor._TIMEOUT", 1)
    settings = chosen(data, cluster={"kind": "address", "address": scheduler.scheduler_address})
    without = check_all(settings)["scheduler"]
    assert not without.ok
    assert "has 0 worker(s), and none answered" in without.message
    scheduler.scale(1)
    scheduler.wait_for_workers(1)
    assert check_all(settings)["scheduler"].ok


@pytest.mark.server
def test_workers_that_a_run_keeps_busy_are_no_fault(
    data: Path, scheduler: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("churn.jobs.doctor._TIMEOUT", 2)
    settings = chosen(data, cluster={"kind": "address", "address": scheduler.scheduler_address})
    scheduler.scale(1)
    with Client(scheduler) as run:
        partition = run.submit(time.sleep, 6)
        while not any(run.processing().values()):
            time.sleep(0.01)
        results = check_all(settings)["scheduler"]
        partition.cancel()
    assert results.ok
    assert "are busy with a run" in results.message


def test_a_scheduler_that_is_not_there_is_told(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("churn.jobs.doctor._TIMEOUT", 1)
    settings = chosen(data, cluster={"kind": "address", "address": "tcp://127.0.0.1:9"})
    assert failed(check_all(settings)) == ["scheduler"]


@pytest.fixture
def aws(data: Path, bucket: Bucket, redshift: Redshift) -> Settings:
    """S3 and Redshift, which has the source table and the published ones."""
    settings = chosen(
        data, store={"lake": f"{bucket.url}/lake"}, warehouse=redshift.settings(retries=0).model_dump()
    )
    warehouse = RedshiftWarehouse(settings.warehouse)
    warehouse.execute("create schema events")
    warehouse.execute(
        "create table events.activity (user_id varchar(100), product varchar(50), occurred_at timestamp,"
        " value double precision, category varchar(50), item_id varchar(50), device varchar(50))"
    )
    warehouse.execute("insert into events.activity (user_id) values ('a')")
    migrations.apply(warehouse, settings.id_column)
    warehouse.close()
    return settings


def test_redshift_and_s3_are_tried_and_nothing_is_left(
    aws: Settings, bucket: Bucket, redshift: Redshift
) -> None:
    results = check_all(aws)
    assert failed(results) == [], results
    assert list(results) == ALL
    assert bucket.keys() == []
    assert redshift.look("select nspname from pg_namespace where nspname like 'churn_check%'") == []
    assert PASSWORD not in str(results)


def test_tables_that_have_to_be_migrated_are_told(aws: Settings, redshift: Redshift) -> None:
    redshift.look("drop schema churn cascade")
    results = check_all(aws)
    assert failed(results) == ["warehouse: published tables"]
    assert "run `churn migrate`" in results["warehouse: published tables"].message


def test_a_warehouse_that_does_not_answer_fails_and_no_login_is_shown(
    aws: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHURN_REDSHIFT_PASSWORD", CANARY)
    away = aws.model_copy(update={"warehouse": aws.warehouse.model_copy(update={"port": 9})})
    results = check_all(away)
    assert list(results) == ["store", "warehouse", "MLflow", "scheduler"]
    assert failed(results) == ["warehouse"]
    assert CANARY not in str(results)
    monkeypatch.delenv("CHURN_REDSHIFT_PASSWORD")
    assert "set CHURN_REDSHIFT_USER and CHURN_REDSHIFT_PASSWORD" in check_all(aws)["warehouse"].message


def test_a_bucket_that_is_not_there_fails(aws: Settings) -> None:
    store = aws.store.model_copy(update={"lake": "s3://churn-no-such-bucket/lake"})
    results = check_all(aws.model_copy(update={"store": store}))
    assert failed(results) == ["store", "warehouse: unload"]


def test_a_store_without_credentials_says_what_failed_first(
    aws: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    forget_credentials(monkeypatch, tmp_path)
    s3fs.S3FileSystem.clear_instance_cache()
    result = check_all(aws)["store"].message
    s3fs.S3FileSystem.clear_instance_cache()
    assert result.startswith("trying the store at ")
    assert "Unable to locate credentials" in result


@pytest.mark.parametrize("driver", ["psycopg2", "redshift_connector"])
def test_a_driver_that_is_not_installed_is_a_failure_with_its_remedy_and_the_rest_is_tried(
    aws: Settings, monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
    monkeypatch.setitem(sys.modules, driver, None)
    warehouse = aws.warehouse.model_copy(update={"driver": driver})
    results = check_all(aws.model_copy(update={"warehouse": warehouse}))
    assert list(results) == ["store", "warehouse", "MLflow", "scheduler"]
    assert failed(results) == ["warehouse"]
    assert "requirements-aws.lock" in results["warehouse"].message


def test_a_host_that_is_not_there_is_tried_twice(aws: Settings, caplog: pytest.LogCaptureFixture) -> None:
    away = {"port": 9, "retries": 5, "backoff": 0.01}
    results = check_all(aws.model_copy(update={"warehouse": aws.warehouse.model_copy(update=away)}))
    assert failed(results) == ["warehouse"]
    assert sum("trying again" in record.message for record in caplog.records) == 1


# --- the command ---


def test_the_command_prints_a_line_each_and_its_code_says_whether_all_is_well(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ["check", "--data", str(data), "--out", str(data.parent / "out")]
    assert exit_code(line) == 0
    result = capsys.readouterr()
    assert result.err == ""
    assert [re.split(": ", row[8:])[0] for row in result.out.splitlines()][1:2] == ["store"]
    assert all(row.startswith("ok      ") for row in result.out.splitlines())
    assert len(result.out.splitlines()) == len(ALL) + 1
    monkeypatch.setenv("CHURN_SOURCE", "bbc")
    assert exit_code(line) == 1
    result = capsys.readouterr()
    assert "\nfailed  warehouse: read: " in result.out
    assert result.err == "churn: 1 failed: warehouse: read\n"


# --- Prefect's server ---


class _Refusing(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.send_response(401)
        self.end_headers()

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def refusing() -> Iterator[int]:
    """The port of a server that lets nobody in."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Refusing) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.server
def test_a_prefect_server_that_is_set_up_is_tried_and_its_key_is_not_shown(
    data: Path, capsys: pytest.CaptureFixture[str], refusing: int
) -> None:
    line = ["check", "--data", str(data), "--out", str(data.parent / "out")]
    result = {}
    for port in (9, refusing):
        url = f"http://me:{CANARY}@127.0.0.1:{port}/api"
        with temporary_settings({PREFECT_API_URL: url, PREFECT_API_KEY: CANARY}):
            assert exit_code(line) == 1
        said = capsys.readouterr()
        assert CANARY not in said.out + said.err
        assert said.err == "churn: 1 failed: Prefect\n"
        result[port] = said.out.splitlines()[1]
    at = "failed  Prefect: the Prefect server at http://127.0.0.1"
    assert (
        result[9]
        == f"{at}:9/api does not answer (ConnectError): check PREFECT_API_URL, and that it is running"
    )
    assert result[refusing].startswith(f"{at}:{refusing}/api refuses (status 401): check PREFECT_API_URL and")
