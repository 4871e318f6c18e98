"""The weekly flow: for one product, who will stay away in the target week, and why."""

from datetime import date
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from churn.config.load import load_settings
from churn.jobs.weekly import job
from churn.jobs.weekly.finish import RunResult
from flows.console import restore_signal_handlers
from flows.credentials import credentials
from flows.retries import no_retry_on_user_errors
from flows.run_names import flow_run_name, log_stages
from tasks.artifacts import show_result
from tasks.weekly import TaskCaller


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

    The order of the stages is in ``churn.jobs.weekly.job.run``; here each stage is a Prefect task. A run that
    was stopped while it trained or scored is resumed if settings, data and program are the same: only missing
    fits and partitions are made.

    Args:
        product: a product that the data folder's ``churn.toml`` knows, or one that is built in.
        as_of: the Sunday on which features end; default: last Sunday.
        data: folder of the source tables.
        out: folder that the lake, the warehouse file and MLflow's records live in.
        force: make a new run, even where one is committed for the target week or could be resumed.
        rebuild_weeks: read this many of the latest weeks of raw activity again, for rows that came late; this
            implies ``force``.
        settings: settings that win over ``churn.toml`` and the environment.

    Returns:
        The run's id, figures, seconds and paths.

    Raises:
        ChurnError: the message says what was wrong, where and what to do; no half-written run is visible.
    """
    restore_signal_handlers()
    log_stages()
    with no_retry_on_user_errors():
        chosen = load_settings(data, out, settings)
        with credentials(chosen):
            result = job.run(
                chosen, product, as_of, force=force, rebuild_weeks=rebuild_weeks, caller=TaskCaller()
            )
    show_result(result)
    return result
