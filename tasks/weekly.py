"""Tasks of the weekly flow: the stages of ``churn.jobs.weekly.job``, each as a Prefect task.

Prefect caches and persists nothing: a task's results are in the warehouse or in the lake.
"""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from prefect import Task, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.context import TaskRunContext
from prefect.futures import PrefectFuture
from prefect.states import State
from prefect.tasks import exponential_backoff

from churn.core.errors import BY_HAND
from churn.jobs.weekly import job
from churn.jobs.weekly.checkpoint import Checkpoint
from churn.jobs.weekly.run import WeeklyRun
from churn.jobs.weekly.stages import Progress
from churn.scoring.runner import Runner
from churn.scoring.scorer import PartitionResult


def may_pass(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Return whether a retry can help: not after an error that a person must mend."""
    return not isinstance(state.result(raise_on_failure=False), BY_HAND)


# For tasks that are safe to repeat and use the network: retry after 5 and 10 s, plus up to half of that.
_AGAIN: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": exponential_backoff(5),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": may_pass,
}


def score(run: WeeklyRun, checkpoint: Checkpoint, runner: Callable[[], Runner]) -> list[PartitionResult]:
    """Score and explain every user, with a progress bar on the task run's page."""
    return job.score(run, checkpoint, runner, progress_artifact(run))


def progress_artifact(run: WeeklyRun) -> Progress | None:
    """Return a callback that shows progress on the task run's page; None outside a task run.

    If Prefect refuses, one line says so and scoring goes on; the final state is sent once more.
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
        except Exception as error:  # progress must not cost the scores
            if not refused:
                run.stages.log("score", f"Prefect refuses the progress ({error!r}); scoring goes on")
            refused = True

    return show


_ONCE: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}

_TASKS: dict[Callable[..., Any], Task[..., Any]] = {
    job.plan_sql: task(job.plan_sql, **_ONCE),
    job.open_tracking: task(job.open_tracking, **_ONCE),
    job.run_sql_step: task(job.run_sql_step, task_run_name="sql-{step.name}", **_ONCE),
    job.check: task(job.check, **_ONCE),
    job.unload: task(job.unload, task_run_name="unload-{purpose}", **_ONCE),
    job.train: task(job.train, **_ONCE),
    job.score: task(score, **_ONCE),
    job.commit: task(job.commit, **_ONCE),
    job.publish: task(job.publish, **_ONCE, **_AGAIN),
    job.track: task(job.track, **_ONCE, **_AGAIN),
}


class TaskCaller:
    """Runs each stage of the weekly job as a Prefect task."""

    def call(self, stage: Callable[..., Any], *args: Any) -> Any:
        """Run a stage's task and return its result."""
        return _TASKS[stage](*args)

    def submit(
        self, stage: Callable[..., Any], *args: Any, after: Sequence[PrefectFuture[Any]] = ()
    ) -> PrefectFuture[Any]:
        """Submit a stage's task to the flow's task runner."""
        return _TASKS[stage].submit(*args, wait_for=after)
