"""The deployments on a real Prefect server: scheduled, run by a worker, cancelled, failed, killed, told of.

What takes long goes on side by side: the fixtures start it, and each test waits for what it is about.
"""

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import psutil
import pyarrow as pa
import pytest

from churn.lake.lake import Lake
from tests.stand_ins.prefect_server import ROOT, PrefectServer, listener, wait_for
from tests.support.data_folders import AS_OF, EVENTS, write_table

LONG = 600  # seconds; a busy machine is not a failure
pytestmark = [pytest.mark.timeout(2 * LONG), pytest.mark.server, pytest.mark.process]
USERS, WEEKS = 1_000, 20
SILENT = 45
DEPLOYMENTS = {"weekly-churn/iplayer", "weekly-churn/sounds", "weekly-churn/pan", "weekly-all/all"}
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
# As many partitions as users, so that it can be stopped while it scores; and worker processes to stop.
SLOW = {"profile": "local", "partition_rows": 1, "cluster": {"processes": True}}


def people() -> pa.Table:
    """Events of people who come with different rates, some of whom drift away; all of them watch television."""
    rng = np.random.default_rng(1)
    leaves = rng.integers(6, 3 * WEEKS, USERS)
    chance = rng.uniform(0.2, 0.98, USERS)[:, None] * np.where(np.arange(WEEKS) < leaves[:, None], 1, 0.3)
    who, week = np.nonzero(rng.random((USERS, WEEKS)) < chance)
    first = datetime.combine(AS_OF - timedelta(days=7 * WEEKS - 1), time(12))
    days = 7 * week + rng.integers(0, 7, len(who))
    columns = {
        "user_id": [f"person-{user:05d}" for user in who],
        "product": ["tv"] * len(who),
        "occurred_at": [first + timedelta(days=int(day)) for day in days],
        "value": rng.gamma(2.0, 3.0, len(who)),
        **dict.fromkeys(("category", "item_id", "device"), pa.nulls(len(who))),
    }
    return pa.table(columns).cast(EVENTS)


PRODUCTS = """
source = "events"
sql_memory = "1GB"
"""
PRODUCT = """
[products.{0}]
title = "BBC {0}"
match = {1}
[products.{0}.training]
sampling = "all"
max_trees = 20
"""


@dataclass(frozen=True)
class Deployed:
    """A server with everything deployed.

    Attributes:
        server: the server.
        said: what `prefect deploy` and `churn alerts` said.
        ids: of the deployments, by flow and name.
        data: the data folder.
        out: folder that the output folders lie in.
        messages: what the server has sent out.
    """

    server: PrefectServer
    said: str
    ids: dict[str, str]
    data: Path
    out: Path
    messages: list[dict[str, Any]]

    def run(self, deployment: str, out: str, wait: int = 1, **more: Any) -> str:
        """Start a run; return its id. Its second try comes at once, not after a quarter of an hour."""
        parameters = {"as_of": f"{AS_OF}", "out": str(self.out / out), **more.pop("parameters", {})}
        path = f"/deployments/{self.ids[deployment]}"
        env = self.server.get(path)["job_variables"]["env"] | {
            "PREFECT_FLOWS_DEFAULT_RETRY_DELAY_SECONDS": str(wait),
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # as often as Prefect allows
        }
        made = self.server.post(
            f"{path}/create_flow_run", parameters=parameters, job_variables={"env": env}, **more
        )
        return str(made["id"])

    def end(self, run: str) -> dict[str, Any]:
        """Wait until a run has ended; return it."""

        def ended() -> dict[str, Any] | None:
            found: dict[str, Any] = self.server.get(f"/flow_runs/{run}")
            return found if found["state_type"] in FINAL else None

        return wait_for(ended, LONG, f"run {run} has ended")

    def children(self, run: str) -> dict[str, dict[str, Any]]:
        """The runs that a run has started, by product."""
        asked = {"parent_flow_run_id": {"any_": [run]}}
        found = self.server.post("/flow_runs/filter", flow_runs=asked)
        return {each["parameters"]["product"]: each for each in found}

    def message(self, part: str) -> dict[str, Any]:
        """Wait for the message that has these words; return it."""
        return wait_for(
            lambda: next((each for each in self.messages if part in each["message"]), None),
            LONG,
            f"a message says {part!r}; there are {self.messages}",
        )


@pytest.fixture(scope="module")
def deployed(
    tmp_path_factory: pytest.TempPathFactory, prefect_home: Callable[[Path], Path]
) -> Iterator[Deployed]:
    folder = tmp_path_factory.mktemp("deployments")
    prefect_home(folder / "prefect")
    data = folder / "data"
    write_table(data, "events.activity", people())
    matches = {"iplayer": ["tv"], "sounds": ["radio"], "pan": []}
    products = "".join(PRODUCT.format(name, json.dumps(match)) for name, match in matches.items())
    (data / "churn.toml").write_text(PRODUCTS + products, "utf-8")
    server = PrefectServer(
        folder,
        PREFECT_SERVER_SERVICES_SCHEDULER_MIN_RUNS="53",  # a year: the clocks change twice in it
        PREFECT_SERVER_SERVICES_SCHEDULER_MAX_SCHEDULED_TIME="P380D",
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY="30",
        DEPLOY_POOL="churn-local",
        DEPLOY_DATA=str(data),
        DEPLOY_OUT=str(folder / "out"),
        DEPLOY_PROFILE="local",
        DEPLOY_IMAGE="",
    )
    try:
        with listener() as (address, messages):
            alerts = ["churn", "alerts", "--url-file", "-", "--silent-after", str(SILENT)]
            said = server.call(*alerts, stdin=address)
            template = json.loads((ROOT / "deployments" / "ecs-job-template.json").read_text("utf-8"))
            server.post("/work_pools/", name="churn-local", type="process")
            server.post("/work_pools/", name="churn-ecs", type="ecs", base_job_template=template)
            file = "deployments/prefect.yaml"
            said += server.call("prefect", "--no-prompt", "deploy", "--all", "--prefect-file", file)
            ids = {
                name: server.get(f"/deployments/name/{name}")["id"]
                for name in sorted(DEPLOYMENTS)  # raises where one is not there
            }
            yield Deployed(server, said, ids, data, folder / "out", messages)
    finally:
        left = server.close()
    assert not left, "the tests leave no process behind"


@pytest.fixture(scope="module")
def killed(deployed: Deployed) -> str:
    """A run that was killed, with nobody there to tell: started as a container does, without a worker."""
    run = deployed.run("weekly-churn/iplayer", "killed", state={"type": "PENDING"})
    engine = deployed.server.start(
        "engine", [sys.executable, "-m", "prefect.engine"], {"PREFECT__FLOW_RUN_ID": run}
    )
    beats = {
        "occurred": {"since": f"{datetime.now(UTC) - timedelta(hours=1):%FT%TZ}"},
        "event": {"name": ["prefect.flow-run.heartbeat"]},
        "resource": {"id": [f"prefect.flow-run.{run}"]},
    }

    def beaten() -> bool:
        assert engine.poll() is None, deployed.server.said("engine")
        return bool(deployed.server.post("/events/filter", filter=beats)["total"])

    wait_for(beaten, LONG, "it sends a heartbeat")
    family = [engine.pid, *(child.pid for child in psutil.Process(engine.pid).children(recursive=True))]
    for pid in family:
        os.kill(pid, signal.SIGKILL)
    engine.wait()
    return run


@pytest.fixture(scope="module")
def well(deployed: Deployed) -> str:
    """A run in which nothing goes wrong, taken by a process worker."""
    run = deployed.run("weekly-churn/iplayer", "well")
    deployed.server.start("worker", ["prefect", "worker", "start", "--pool", "churn-local"])
    return run


@dataclass(frozen=True)
class Started:
    """More runs for that worker, which go on side by side: their ids."""

    every: str
    cancelled: str
    blocked: str


def block_lake(deployed: Deployed, out: str) -> str:
    """Put a file where the lake should be, which is no fault of settings or data."""
    (deployed.out / out).mkdir(parents=True)
    (deployed.out / out / "lake").write_text("", "utf-8")
    return out


@pytest.fixture(scope="module")
def started(deployed: Deployed, killed: str, well: str) -> Started:
    """Runs that are cancelled and that fail, one of them of several products."""
    return Started(
        deployed.run("weekly-all/all", "every", parameters={"products": ["sounds", "iplayer", "sounds"]}),
        deployed.run("weekly-churn/pan", "cancelled", parameters={"settings": SLOW}),
        deployed.run("weekly-churn/iplayer", block_lake(deployed, "blocked")),
    )


# --- deployments and schedules ---


def test_everything_is_deployed_and_every_variable_is_given(deployed: Deployed) -> None:
    assert "not found" not in deployed.said
    for name in DEPLOYMENTS:
        found = deployed.server.get(f"/deployments/{deployed.ids[name]}")
        assert "$" not in json.dumps([found["parameters"], found["job_variables"], found["tags"]])
        assert (found["work_pool_name"], found["paused"]) == ("churn-local", False)
        assert found["global_concurrency_limit"]["limit"] == 1
        assert found["concurrency_options"]["collision_strategy"] == "ENQUEUE"
        assert {"churn", name.split("/")[1]} == set(found["tags"])
        assert found["parameters"]["data"] == str(deployed.data)


def test_a_year_of_mondays_at_18_in_london_is_scheduled_for_each_product(deployed: Deployed) -> None:
    def upcoming() -> list[dict[str, Any]]:
        asked = {"state": {"type": {"any_": ["SCHEDULED"]}}, "tags": {"all_": ["churn"]}}
        found: dict[
            str, dict[str, Any]
        ] = {}  # as more are scheduled, a page may repeat what the last one had
        offset = 0
        while page := deployed.server.post("/flow_runs/filter", flow_runs=asked, offset=offset):
            offset += len(page)
            found |= {run["id"]: run for run in page}
        return [run for run in found.values() if run["auto_scheduled"]]

    runs = wait_for(
        lambda: (found := upcoming()) and len(found) >= 3 * 53 and found, 60, "runs are scheduled"
    )
    products = ("iplayer", "sounds", "pan")
    for product in products:
        moments = sorted(
            datetime.fromisoformat(run["expected_start_time"])
            for run in runs
            if run["deployment_id"] == deployed.ids[f"weekly-churn/{product}"]
        )
        there = [moment.astimezone(ZoneInfo("Europe/London")) for moment in moments]
        assert {(moment.weekday(), moment.time()) for moment in there} == {(0, time(18))}
        days = [moment.date() for moment in there]
        assert days == [days[0] + timedelta(days=7 * week) for week in range(len(days))]
        assert timedelta(0) < moments[0] - datetime.now(UTC) <= timedelta(days=7)
        # In summer the clock in London is an hour ahead of UTC.
        assert {moment.astimezone(UTC).hour for moment in moments} == {17, 18}
    assert {run["deployment_id"] for run in runs} == {
        deployed.ids[f"weekly-churn/{name}"] for name in products
    }


def test_setting_up_the_alerts_again_makes_no_second_one(deployed: Deployed) -> None:
    def automations() -> Counter[str]:
        return Counter(each["name"] for each in deployed.server.post("/automations/filter"))

    before = automations()
    assert len(before) == 3
    assert set(before.values()) == {1}
    assert deployed.messages[0]["title"] == "churn: alerts are set up"


# --- runs ---


def test_a_run_completes_through_a_worker_on_the_embedded_default(deployed: Deployed, well: str) -> None:
    run = deployed.end(well)
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    assert (run["name"], run["run_count"]) == (f"iplayer-{AS_OF}", 1)
    out = deployed.out / "well"
    committed = Lake(str(out / "lake")).current("iplayer")
    assert committed is not None
    committed.verify(checksums=True)
    with duckdb.connect(str(out / "warehouse.duckdb"), read_only=True) as warehouse:
        (published,) = warehouse.sql("select count(*) from churn.scores").fetchall()
    assert published == (committed.manifest.rows["scores"],)


def test_the_page_of_a_run_shows_its_stages_figures_and_report_and_no_user(
    deployed: Deployed, well: str
) -> None:
    deployed.end(well)
    asked = {"flow_run_id": {"any_": [well]}}
    found = {each["key"]: each for each in deployed.server.post("/artifacts/filter", artifacts=asked)}
    assert set(found) == {"summary-iplayer", "report-iplayer", "score-iplayer"}
    committed = Lake(str(deployed.out / "well" / "lake")).current("iplayer")
    assert committed is not None
    (row,) = json.loads(found["summary-iplayer"]["data"])
    assert row["users scored"] == f"{committed.manifest.rows['scores']:,}"
    assert row["log loss"] == f"{committed.manifest.metrics['log_loss']:.4f}"
    report = found["report-iplayer"]
    assert report["type"] == "markdown"
    assert f"\n{committed.path('charts', 'report.html')}\n" in report["data"]
    assert f"| users scored | {committed.manifest.rows['scores']:,} |" in report["data"]
    assert "file://" not in report["data"]

    def logged() -> list[str]:
        logs = deployed.server.post("/logs/filter", logs=asked, sort="TIMESTAMP_ASC")
        return [each["message"] for each in logs]

    told = wait_for(
        lambda: (lines := logged()) and any("load scores" in line for line in lines) and lines,
        30,
        "the log of the run tells of its stages",
    )
    shown = json.dumps([told, found])
    assert "score and explain" in shown
    assert "person-" not in shown


def cancel_while_it_scores(deployed: Deployed, run: str, out: Path) -> dict[str, Any]:
    """Cancel a run while it scores; return it as it ended, when all its processes are gone."""

    def scoring() -> bool:
        return len(list(out.glob("lake/.staging/*/*/logs/partitions/*.json"))) > 10

    wait_for(scoring, LONG, "it scores", pause=0.02)
    engine = next(
        process
        for process in deployed.server.processes()
        if process.environ().get("PREFECT__FLOW_RUN_ID") == run and "prefect.engine" in process.cmdline()
    )
    family = [engine, *engine.children(recursive=True)]
    assert len(family) > 2, "there are Dask workers"
    deployed.server.call("prefect", "flow-run", "cancel", run)
    ended = deployed.end(run)
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive
    assert not any(run in each["message"] for each in deployed.messages), "who cancels a run knows it"
    return ended


def schemas_of_runs(out: Path) -> list[str]:
    """The schemas that runs have left in a warehouse in which nothing is published."""
    with duckdb.connect(str(out / "warehouse.duckdb"), read_only=True) as warehouse:
        assert warehouse.sql("select count(*) from churn.scores").fetchall() == [(0,)]
        found = warehouse.sql("select schema_name from duckdb_schemas() where not internal").fetchall()
    return [name for (name,) in found if name.startswith("run_")]


@pytest.mark.slow
def test_a_cancelled_run_leaves_no_table_and_no_worker_and_can_be_resumed(
    deployed: Deployed, started: Started
) -> None:
    out = deployed.out / "cancelled"
    run = cancel_while_it_scores(deployed, started.cancelled, out)
    assert (run["state_type"], run["state_name"]) == ("CANCELLED", "Cancelled")
    assert schemas_of_runs(out) == []
    assert Lake(str(out / "lake")).current("pan") is None
    (staging,) = [path for path in (out / "lake" / ".staging" / "product=pan").iterdir() if path.is_dir()]
    assert list(staging.glob(".checkpoint-*.json")), "the next run goes on with it"


@pytest.mark.slow
def test_a_product_that_fails_is_not_published_and_keeps_no_other_from_running(
    deployed: Deployed, started: Started
) -> None:
    run = deployed.end(started.every)
    assert (run["state_type"], run["run_count"], run["name"]) == ("FAILED", 1, f"all-{AS_OF}")
    told = run["state"]["message"]
    assert "RunError: 1 of 2 products failed: sounds; published: iplayer\n  - sounds: " in told
    assert "SourceError: product 'sounds' has no activity up to 2024-06-30: it matches radio" in told
    parts = deployed.children(started.every)
    states = {name: (each["state_type"], each["run_count"]) for name, each in parts.items()}
    assert states == {"sounds": ("FAILED", 1), "iplayer": ("COMPLETED", 1)}, "a second try cannot help"
    assert all(each["tags"] == ["churn-part"] for each in parts.values())
    with duckdb.connect(str(deployed.out / "every" / "warehouse.duckdb"), read_only=True) as warehouse:
        assert warehouse.sql("select distinct product from churn.scores").fetchall() == [("iplayer",)]
    asked = {"flow_run_id": {"any_": [started.every]}, "key": {"any_": ["products"]}}
    (table,) = deployed.server.post("/artifacts/filter", artifacts=asked)
    rows = {row["product"]: row["state"] for row in json.loads(table["data"])}
    assert rows == {"sounds": "failed", "iplayer": "published"}


@pytest.mark.slow
def test_a_run_that_failed_for_another_reason_than_its_data_is_tried_once_more(
    deployed: Deployed, started: Started
) -> None:
    run = deployed.end(started.blocked)
    assert (run["state_type"], run["run_count"]) == ("FAILED", 2), run["state"]["message"]
    assert "RunError" in run["state"]["message"]


@pytest.mark.slow
def test_a_failed_run_is_told_of_once_with_its_reason(deployed: Deployed, started: Started) -> None:
    message = deployed.message("1 of 2 products failed")
    assert message["title"] == f"churn: all-{AS_OF} Failed"
    assert message["message"].startswith(f"weekly-all / all-{AS_OF}: Failed\n")
    assert "it matches radio" in message["message"]
    assert started.every in message["message"], "it links to the run"
    assert not any("sounds" in each["title"] for each in deployed.messages), "the whole tells of its parts"


@pytest.mark.slow
def test_a_killed_run_crashes_when_its_heartbeats_stop_and_somebody_is_told(
    deployed: Deployed, killed: str, well: str, started: Started
) -> None:
    run = deployed.end(killed)
    assert (run["state_type"], run["state_name"]) == ("CRASHED", "Crashed")
    assert f"no sign of life for {SILENT} s" in run["state"]["message"]
    assert deployed.message("no sign of life")["title"] == f"churn: iplayer-{AS_OF} Crashed"
    # The others went on, and were taken for alive.
    assert deployed.end(well)["state_type"] == "COMPLETED"


@pytest.mark.chaos
def test_a_cancelled_run_of_all_products_begins_no_other_product(
    deployed: Deployed, started: Started
) -> None:
    products = {"products": ["pan", "iplayer"], "settings": SLOW}
    run = deployed.run("weekly-all/all", "stopped", parameters=products)
    ended = cancel_while_it_scores(deployed, run, deployed.out / "stopped")
    assert ended["state_type"] == "CANCELLED"
    assert schemas_of_runs(deployed.out / "stopped") == []
    parts = deployed.children(run)
    assert set(parts) == {"pan"}
    assert parts["pan"]["state_type"] in FINAL - {"COMPLETED"}


@pytest.mark.chaos
def test_a_run_that_waits_for_its_next_try_is_not_taken_for_dead(
    deployed: Deployed, started: Started
) -> None:
    # Prefect sends no heartbeats meanwhile.
    out = block_lake(deployed, "waiting")
    run = deployed.end(deployed.run("weekly-churn/sounds", out, wait=2 * SILENT + 20))
    assert (run["state_type"], run["run_count"]) == ("FAILED", 2)
    assert deployed.message(run["id"])["title"] == f"churn: sounds-{AS_OF} Failed"
