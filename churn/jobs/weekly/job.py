"""The weekly job of one product: the order of its stages, as plain functions.

``run`` calls the stages itself, or through a ``Caller``: the Prefect flow passes one that runs each stage
as a task.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any, Protocol, TypeVar

from churn.config.settings import Settings
from churn.core.calendar import check_weeks, last_complete_as_of
from churn.core.errors import BY_HAND
from churn.core.private import private_files
from churn.dataset import build
from churn.dataset.checks import CheckResult, check_snapshots
from churn.dataset.plan import DatasetPlan
from churn.dataset.unload import rows_by
from churn.jobs.weekly import finish, stages
from churn.jobs.weekly.checkpoint import Checkpoint
from churn.jobs.weekly.finish import RunResult
from churn.jobs.weekly.run import WeeklyRun, start_or_resume
from churn.jobs.weekly.stages import Files, Progress
from churn.lake.lake import Run
from churn.outputs.tables import Published
from churn.scoring.runner import Runner
from churn.scoring.scorer import PartitionResult
from churn.scoring.workers import open_workers
from churn.warehouse.templates import Step

ResultT = TypeVar("ResultT")
ResultT_co = TypeVar("ResultT_co", covariant=True)


class Pending(Protocol[ResultT_co]):
    """A stage that was submitted."""

    def result(self) -> ResultT_co:
        """Wait for the stage; return its result or raise its error."""
        ...


class Caller(Protocol):
    """Calls the stages of a run."""

    def call(self, stage: Callable[..., ResultT], *args: Any) -> ResultT:
        """Run a stage and return its result."""
        ...

    def submit(
        self, stage: Callable[..., ResultT], *args: Any, after: Sequence[Pending[Any]] = ()
    ) -> Pending[ResultT]:
        """Start a stage once those in ``after`` have ended; it may run beside others."""
        ...


class InOrder:
    """Calls each stage in this thread, one after the other."""

    def call(self, stage: Callable[..., ResultT], *args: Any) -> ResultT:
        """Run a stage and return its result."""
        return stage(*args)

    def submit(
        self, stage: Callable[..., ResultT], *args: Any, after: Sequence[Pending[Any]] = ()
    ) -> Pending[ResultT]:
        """Run a stage; its error is raised where its result is asked for."""
        for earlier in after:
            earlier.result()
        return _Done(stage, args)


class _Done(Pending[ResultT]):
    def __init__(self, stage: Callable[..., ResultT], args: Sequence[Any]) -> None:
        self._error: Exception | None = None
        try:
            self._value = stage(*args)
        except Exception as error:
            self._error = error

    def result(self) -> ResultT:
        if self._error is not None:
            raise self._error
        return self._value


@private_files()
def run(
    settings: Settings,
    product: str,
    as_of: date | None = None,
    *,
    force: bool = False,
    rebuild_weeks: int = 0,
    caller: Caller | None = None,
) -> RunResult:
    """Run the weekly job of one product: SQL, training, scoring, report, publishing.

    Does what ``churn run`` does, without Prefect: no server, no retries, and no credentials from Prefect's
    blocks. A run that was stopped while it trained or scored is resumed if settings, data and program are the
    same.

    Example:
        >>> settings = churn.load_settings("demo/data", "demo/out")
        >>> result = churn.run(settings, "iplayer", date(2026, 6, 28))
        >>> result.users, result.metrics["log_loss"], result.report

    Args:
        settings: the settings, with the folders of data and results.
        product: a product that the settings know.
        as_of: the Sunday on which features end; default: last Sunday.
        force: make a new run, even where one is committed for the target week or could be resumed.
        rebuild_weeks: read this many of the latest weeks of raw activity again, for late rows; implies
            ``force``.
        caller: how stages are called; default: one after the other.

    Returns:
        The run's id, figures, seconds and paths. Where a run of the target week is committed already, that
        one is returned, with ``repeated`` set.

    Raises:
        ChurnError: the message says what was wrong, where and what to do; no half-written run is visible.
    """
    definition = settings.product(product)
    check_weeks("rebuild_weeks", rebuild_weeks)
    windows = definition.windows(as_of or last_complete_as_of(date.today()))
    force = force or rebuild_weeks > 0
    if force:
        finish.committed(settings, product, windows)  # before hours of work: could a new run take its place?
    elif (existing := finish.finish_existing(settings, product, windows)) is not None:
        return existing
    caller = caller or InOrder()
    with start_or_resume(settings, product, windows.as_of, resume=not force) as weekly:
        labels = {"run": weekly.run_id, "product": weekly.name}
        # Fargate is paid by the second: its cluster is closed before the commit.
        with open_workers(settings.cluster, labels) as workers:
            plan = caller.call(plan_sql, weekly, rebuild_weeks)
            caller.submit(open_tracking, weekly)
            checkpoint = weekly.checkpoint or _prepare(caller, weekly, plan)
            most = max(checkpoint.users, 0 if checkpoint.trained else checkpoint.training_rows)
            workers.expect(most * len(plan.catalogue.features))
            if not checkpoint.trained:
                try:
                    checkpoint = caller.call(train, weekly, plan, checkpoint, workers.runner)
                except BY_HAND:
                    weekly.folder.discard()  # resuming it could not help
                    raise
            partitions = caller.call(score, weekly, checkpoint, workers.runner)
        committed = caller.call(commit, weekly, plan, checkpoint, partitions)
        for pending in [caller.submit(publish, weekly, committed), caller.submit(track, weekly, committed)]:
            pending.result()
    return finish.run_result(settings, committed, repeated=False, stages=weekly.stages)


def _prepare(caller: Caller, weekly: WeeklyRun, plan: DatasetPlan) -> Checkpoint:
    """Run all stages before training; return the checkpoint."""
    steps: dict[str, Pending[int]] = {}
    for step in plan.steps:
        steps[step.name] = caller.submit(
            run_sql_step, weekly, plan, step, after=[steps[name] for name in sorted(step.needs)]
        )
    rows = {name: pending.result() for name, pending in steps.items()}
    passed = caller.call(check, weekly, plan, rows)
    unloads = {purpose: caller.submit(unload, weekly, plan, purpose) for purpose in ("train", "score")}
    files = {purpose: pending.result() for purpose, pending in unloads.items()}
    return stages.save_inputs(weekly, files, passed, plan.warnings)


def plan_sql(run: WeeklyRun, rebuild_weeks: int = 0) -> DatasetPlan:
    """Check the sources, update the weekly aggregates, and plan the SQL."""
    return build.plan_dataset(
        run.warehouse,
        run.settings,
        run.name,
        run.windows.as_of,
        run.schema,
        rebuild_weeks=rebuild_weeks,
        stages=run.stages,
    )


def run_sql_step(run: WeeklyRun, plan: DatasetPlan, step: Step) -> int:
    """Make one step's table or view; return its rows."""
    if step.kind == "view":
        return build.run_step(run.warehouse, plan, step)
    with run.stages.stage(step.name, "prepare") as count:
        count.rows = rows = build.run_step(run.warehouse, plan, step)
    return rows


def check(run: WeeklyRun, plan: DatasetPlan, rows: Mapping[str, int]) -> list[CheckResult]:
    """Check the snapshots before anything is unloaded."""
    with run.stages.stage("check snapshots", "prepare"):
        return check_snapshots(run.warehouse, plan, rows)


def unload(run: WeeklyRun, plan: DatasetPlan, purpose: str) -> Files:
    """Write the snapshots of one purpose (``train`` or ``score``) to Parquet."""
    with run.stages.stage(f"unload {purpose}", "prepare") as count:
        files = stages.unload_snapshots(run, plan, purpose)
        count.rows = rows_by(files)
    return files


def train(
    run: WeeklyRun, plan: DatasetPlan, checkpoint: Checkpoint, runner: Callable[[], Runner]
) -> Checkpoint:
    """Fit, evaluate and save the model, and save the run's checkpoint; ``runner`` waits for who fits."""
    with run.stages.stage("train", "train") as count:
        warnings = stages.train_model(run, plan, checkpoint, runner())
        count.rows = checkpoint.training_rows
    return stages.save_trained(run, checkpoint, warnings)


def score(
    run: WeeklyRun, checkpoint: Checkpoint, runner: Callable[[], Runner], on_progress: Progress | None = None
) -> list[PartitionResult]:
    """Score and explain every user; ``runner`` waits for who does it."""
    with run.stages.stage("score and explain", "score") as count:
        results = stages.score_users(run, checkpoint, runner(), on_progress)
        count.rows = sum(result.rows for result in results)
    return results


def commit(
    run: WeeklyRun, plan: DatasetPlan, checkpoint: Checkpoint, partitions: Sequence[PartitionResult]
) -> Run:
    """Write the report and commit the run to the lake."""
    with run.stages.stage("report and commit", "publish"):
        return stages.commit(run, plan, checkpoint, partitions)


def publish(run: WeeklyRun, committed: Run) -> Published:
    """Load the scores into the warehouse table."""
    with run.stages.stage("load scores", "publish") as count:
        published = finish.publish(run.settings, run.warehouse, committed)
        count.rows = published.rows
    return published


def open_tracking(run: WeeklyRun) -> None:
    """Set up MLflow's store, which takes seconds the first time."""
    stages.open_tracking(run)


def track(run: WeeklyRun, committed: Run) -> None:
    """Log the run to MLflow."""
    with run.stages.stage("log to MLflow", "publish"):
        finish.track(run.settings, committed)
