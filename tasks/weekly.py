"""Tasks of the weekly flow: thin adapters around ``churn``.

Nothing is cached or persisted by Prefect: what a task makes lives in the warehouse or in the lake.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from churn import prepare, registry, weekly
from churn.checks import Passed, check_snapshots
from churn.lake import Run
from churn.prepare import Plan
from churn.publish import Published
from churn.scoring import PartitionRow
from churn.training import TrainingResult
from churn.unload import rows_by
from churn.unload import unload as unload_snapshots
from churn.warehouse.render import Step
from churn.weekly import Files, WeeklyRun


@task(cache_policy=NO_CACHE, persist_result=False)
def plan_sql(run: WeeklyRun) -> Plan:
    """Check the sources and plan the SQL."""
    with run.stages.stage("check sources", "prepare") as count:
        plan = prepare.plan(run.warehouse, run.settings, run.name, run.windows.as_of, run.schema)
        count.rows = plan.facts.rows
    return plan


@task(cache_policy=NO_CACHE, persist_result=False, task_run_name="sql-{step.name}")
def run_sql_step(run: WeeklyRun, plan: Plan, step: Step) -> int:
    """Make one step's table."""
    if step.kind == "view":
        return prepare.run_step(run.warehouse, plan, step)
    with run.stages.stage(step.name, "prepare") as count:
        count.rows = rows = prepare.run_step(run.warehouse, plan, step)
    return rows


@task(cache_policy=NO_CACHE, persist_result=False)
def check(run: WeeklyRun, plan: Plan, rows: dict[str, int]) -> list[Passed]:
    """Check the snapshots before anything is unloaded."""
    with run.stages.stage("check snapshots", "prepare"):
        return check_snapshots(run.warehouse, plan, rows)


@task(cache_policy=NO_CACHE, persist_result=False, task_run_name="unload-{purpose}")
def unload(run: WeeklyRun, plan: Plan, purpose: str) -> Files:
    """Write the snapshots of one purpose to Parquet."""
    folder = run.train_folder if purpose == "train" else Path(run.folder.path("features"))
    with run.stages.stage(f"unload {purpose}", "prepare") as count:
        files = unload_snapshots(run.warehouse, plan, purpose, folder, run.settings.partition_rows)
        count.rows = rows_by(files)
    return files


@task(cache_policy=NO_CACHE, persist_result=False)
def train(run: WeeklyRun, files: Files) -> TrainingResult:
    """Fit, judge and save the model."""
    with run.stages.stage("train", "train") as count:
        result = weekly.train_model(run, files)
        count.rows = rows_by(files)
    return result


@task(cache_policy=NO_CACHE, persist_result=False)
def score(run: WeeklyRun, files: Files, client: Callable[[], Any]) -> list[PartitionRow]:
    """Score and explain every user over the cluster."""
    with run.stages.stage("score and explain", "score") as count:
        rows = weekly.score_users(run, files, client())
        count.rows = sum(row.rows for row in rows)
    return rows


@task(cache_policy=NO_CACHE, persist_result=False)
def commit(
    run: WeeklyRun,
    plan: Plan,
    trained: TrainingResult,
    partitions: list[PartitionRow],
    passed: list[Passed],
    files: dict[str, Files],
) -> Run:
    """Write the report and commit the run to the lake."""
    with run.stages.stage("report and commit", "publish"):
        return weekly.commit(run, plan, trained, partitions, passed, files)


@task(cache_policy=NO_CACHE, persist_result=False, retries=2, retry_delay_seconds=5)
def publish(run: WeeklyRun, committed: Run) -> Published:
    """Load the scores into the warehouse table."""
    with run.stages.stage("load scores", "publish") as count:
        published = weekly.publish(run.settings, run.warehouse, committed)
        count.rows = published.rows
    return published


@task(cache_policy=NO_CACHE, persist_result=False)
def open_tracking(run: WeeklyRun) -> None:
    """Set up where MLflow tracks, which takes seconds the first time: beside the SQL."""
    registry.prepare(run.settings.tracking_uri)


@task(cache_policy=NO_CACHE, persist_result=False)
def track(run: WeeklyRun, committed: Run) -> None:
    """Log the run to MLflow."""
    with run.stages.stage("log to MLflow", "publish"):
        weekly.track(run.settings, committed)
