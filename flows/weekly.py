"""The weekly flow: for one product, who will stay away in the target week, and why."""

import logging
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from churn.config.load import load_settings
from churn.config.settings import Settings
from churn.core.calendar import Windows, check_weeks, last_complete_as_of
from churn.dataset.plan import DatasetPlan
from churn.jobs.weekly.checkpoint import Checkpoint
from churn.jobs.weekly.finish import RunResult, finish_existing, run_result
from churn.jobs.weekly.run import WeeklyRun, start_or_resume
from churn.scoring.cluster.client import client_in_background
from flows.credentials import credentials
from flows.retries import no_retry_on_user_errors
from flows.run_names import flow_run_name, log_stages
from tasks import weekly
from tasks.artifacts import show_outcome

logger = logging.getLogger(__name__)


@flow(
    name="weekly-churn",
    flow_run_name=flow_run_name,
    task_runner=ThreadPoolTaskRunner(max_workers=4),
    persist_result=False,
)
def weekly_churn(
    product: str,
    as_of: date | None = None,
    data: Path = Path("demo/data"),
    out: Path = Path("demo/out"),
    force: bool = False,
    rebuild_weeks: int = 0,
    settings: dict[str, Any] | None = None,
) -> RunResult:
    """Run the weekly job of one product.

    A run that ended while it scored is gone on with, if settings, data and program are the same: only
    partitions that are missing are scored.

    Args:
        product: a product that the data folder's ``churn.toml`` knows, or one that is built in.
        as_of: the Sunday on which features end; default: last Sunday.
        data: folder of the source tables.
        out: folder that the lake, the warehouse file and MLflow's records live in.
        force: make a new run, even where one is committed for the target week or could be resumed.
        rebuild_weeks: read so many of the latest weeks of raw activity again, for rows that came late; this
            implies ``force``.
        settings: settings that win over ``churn.toml`` and the environment.

    Returns:
        What the run came to.

    Raises:
        ChurnError: the message says what was wrong, where and what to do; nothing half-written is to be seen.
    """
    log_stages()
    with no_retry_on_user_errors():
        chosen = load_settings(data, out, settings)
        chosen.product(product)
        check_weeks("rebuild_weeks", rebuild_weeks)
        windows = Windows(as_of or last_complete_as_of(date.today()))
        with credentials(chosen):
            made = _run_week(chosen, product, windows, force or rebuild_weeks > 0, rebuild_weeks)
    show_outcome(made)
    return made


def _run_week(chosen: Settings, product: str, windows: Windows, force: bool, rebuild_weeks: int) -> RunResult:
    done = None if force else finish_existing(chosen, product, windows)
    if done is not None:
        return done
    with start_or_resume(chosen, product, windows.as_of, resume=not force) as run:
        labels = {"run": run.run_id, "product": run.name}
        with client_in_background(chosen.cluster, labels) as client:  # which may be paid by the second
            plan = weekly.plan_sql(run, rebuild_weeks)
            weekly.open_tracking.submit(run)
            kept = run.checkpoint or _prepare(run, plan)
            partitions = weekly.score(run, kept, client)
        committed = weekly.commit(run, plan, kept, partitions)
        last = [weekly.publish.submit(run, committed), weekly.track.submit(run, committed)]
        for future in last:
            future.result()
    return run_result(chosen, committed, repeated=False, stages=run.stages)


def _prepare(run: WeeklyRun, plan: DatasetPlan) -> Checkpoint:
    """Do all that comes before scoring."""
    rows = _run_sql(run, plan)
    passed = weekly.check(run, plan, rows)
    unloads = {purpose: weekly.unload.submit(run, plan, purpose) for purpose in ("train", "score")}
    files = {purpose: future.result() for purpose, future in unloads.items()}
    return weekly.train(run, plan, files, passed)


def _run_sql(run: WeeklyRun, plan: DatasetPlan) -> Mapping[str, int]:
    """Run the SQL steps as the graph that their references make; return rows by step."""
    made: dict[str, PrefectFuture[int]] = {}
    for step in plan.steps:
        made[step.name] = weekly.run_sql_step.submit(
            run, plan, step, wait_for=[made[name] for name in sorted(step.needs)]
        )
    return {name: future.result() for name, future in made.items()}
