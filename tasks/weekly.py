"""Tasks of the weekly flow: thin adapters around ``churn``.

Nothing is cached or persisted by Prefect: what a task makes lives in the warehouse or in the lake.
"""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from prefect import Task, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.context import TaskRunContext
from prefect.states import State
from prefect.tasks import exponential_backoff

from churn.core.errors import BY_HAND
from churn.dataset import build
from churn.dataset.checks import CheckResult, check_snapshots
from churn.dataset.plan import DatasetPlan
from churn.dataset.unload import rows_by
from churn.jobs.weekly import finish, stages
from churn.jobs.weekly.checkpoint import Checkpoint
from churn.jobs.weekly.run import WeeklyRun
from churn.jobs.weekly.stages import Files, Progress
from churn.lake.lake import Run
from churn.outputs.tables import Published
from churn.scoring.scorer import PartitionResult
from churn.warehouse.templates import Step


def may_pass(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Tell whether trying again can help: not where a person must put something right first."""
    return not isinstance(state.result(raise_on_failure=False), BY_HAND)


# For tasks that are safe to repeat and speak to something far away: after 5 and 10 s, or half as long again.
_AGAIN: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": exponential_backoff(5),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": may_pass,
}


@task(cache_policy=NO_CACHE, persist_result=False)
def plan_sql(run: WeeklyRun, rebuild_weeks: int = 0) -> DatasetPlan:
    """Check the sources, bring the kept weekly aggregates forward, and plan the SQL."""
    return build.plan_dataset(
        run.warehouse,
        run.settings,
        run.name,
        run.windows.as_of,
        run.schema,
        rebuild_weeks=rebuild_weeks,
        stages=run.stages,
    )


@task(cache_policy=NO_CACHE, persist_result=False, task_run_name="sql-{step.name}")
def run_sql_step(run: WeeklyRun, plan: DatasetPlan, step: Step) -> int:
    """Make one step's table."""
    if step.kind == "view":
        return build.run_step(run.warehouse, plan, step)
    with run.stages.stage(step.name, "prepare") as count:
        count.rows = rows = build.run_step(run.warehouse, plan, step)
    return rows


@task(cache_policy=NO_CACHE, persist_result=False)
def check(run: WeeklyRun, plan: DatasetPlan, rows: dict[str, int]) -> list[CheckResult]:
    """Check the snapshots before anything is unloaded."""
    with run.stages.stage("check snapshots", "prepare"):
        return check_snapshots(run.warehouse, plan, rows)


@task(cache_policy=NO_CACHE, persist_result=False, task_run_name="unload-{purpose}")
def unload(run: WeeklyRun, plan: DatasetPlan, purpose: str) -> Files:
    """Write the snapshots of one purpose to Parquet."""
    with run.stages.stage(f"unload {purpose}", "prepare") as count:
        files = stages.unload_snapshots(run, plan, purpose)
        count.rows = rows_by(files)
    return files


@task(cache_policy=NO_CACHE, persist_result=False)
def train(
    run: WeeklyRun, plan: DatasetPlan, files: dict[str, Files], passed: list[CheckResult]
) -> Checkpoint:
    """Fit, judge and save the model, and write down where the run stands."""
    with run.stages.stage("train", "train") as count:
        warnings = stages.train_model(run, plan, files["train"])
        count.rows = rows_by(files["train"])
    return stages.save_checkpoint(run, files, passed, [*plan.warnings, *warnings])


@task(cache_policy=NO_CACHE, persist_result=False)
def score(run: WeeklyRun, kept: Checkpoint, client: Callable[[], Any]) -> list[PartitionResult]:
    """Score and explain every user over the cluster."""
    with run.stages.stage("score and explain", "score") as count:
        rows = stages.score_users(run, kept, client(), progress_artifact(run))
        count.rows = sum(row.rows for row in rows)
    return rows


def progress_artifact(run: WeeklyRun) -> Progress | None:
    """Return what shows progress on the page of the task run; None where there is no task run.

    Where Prefect does not take it, one line says so, and it is tried once more at the end: the run goes on.
    """
    if TaskRunContext.get() is None:
        return None
    artifact: UUID | None = None
    refused = False

    def show(percent: float, sentence: str) -> None:
        nonlocal artifact, refused
        if refused and percent < 100:
            return
        try:
            if artifact is None:
                key = f"score-{run.name.replace('_', '-')}"
                artifact = create_progress_artifact(percent, key=key, description=sentence)
            else:
                update_progress_artifact(artifact, percent, description=sentence)
        except Exception as error:  # whatever it is, it is no reason to lose the scores
            if not refused:
                run.stages.log("score", f"Prefect does not take the progress ({error!r}); scoring goes on")
            refused = True

    return show


@task(cache_policy=NO_CACHE, persist_result=False)
def commit(run: WeeklyRun, plan: DatasetPlan, kept: Checkpoint, partitions: list[PartitionResult]) -> Run:
    """Write the report and commit the run to the lake."""
    with run.stages.stage("report and commit", "publish"):
        return stages.commit(run, plan, kept, partitions)


@task(cache_policy=NO_CACHE, persist_result=False, **_AGAIN)
def publish(run: WeeklyRun, done: Run) -> Published:
    """Load the scores into the warehouse table."""
    with run.stages.stage("load scores", "publish") as count:
        published = finish.publish(run.settings, run.warehouse, done)
        count.rows = published.rows
    return published


@task(cache_policy=NO_CACHE, persist_result=False)
def open_tracking(run: WeeklyRun) -> None:
    """Set up where MLflow tracks, which takes seconds the first time: beside the SQL."""
    stages.open_tracking(run)


@task(cache_policy=NO_CACHE, persist_result=False, **_AGAIN)
def track(run: WeeklyRun, done: Run) -> None:
    """Log the run to MLflow."""
    with run.stages.stage("log to MLflow", "publish"):
        finish.track(run.settings, done)
