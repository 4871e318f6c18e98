"""Every product's weekly flow, under one flow that says what became of each."""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from prefect import flow, tags

from churn.config.load import load_settings
from churn.core.calendar import check_weeks
from churn.core.errors import RunError
from churn.jobs.weekly.finish import RunResult
from flows.credentials import credentials
from flows.products import names_and_dates, run_each
from flows.run_names import PART_TAG, flow_run_name, log_stages
from flows.weekly import weekly_churn
from tasks.artifacts import show_products


@flow(
    name="weekly-all",
    flow_run_name=flow_run_name,
    retries=0,  # each product's flow has its own
    persist_result=False,
)
def weekly_all(
    products: list[str] | None = None,
    as_of: date | None = None,
    data: Path = Path("demo/data"),
    out: Path = Path("demo/out"),
    force: bool = False,
    rebuild_weeks: int = 0,
    settings: dict[str, Any] | None = None,
) -> list[RunResult]:
    """Run the weekly job of several products on one cluster, ``products_at_once`` of them at a time.

    A product that fails is not published and does not keep the others from running: this flow fails in the
    end, and its message says what became of each. One date holds for all of them.

    Args:
        products: their names; default: all that the data folder's ``churn.toml`` knows.
        as_of: the Sunday on which features end; default: last Sunday.
        data: folder of the source tables.
        out: folder that the lake, the warehouse file and MLflow's records live in.
        force: make new runs, even where some are committed for the target week or could be resumed.
        rebuild_weeks: read this many of the latest weeks of raw activity again, once for all products; this
            implies ``force``.
        settings: settings that win over ``churn.toml`` and the environment.

    Returns:
        What each run came to.

    Raises:
        UsageError: unknown product, ``as_of`` is not a Sunday, or too many weeks; nothing was run.
        RunError: products failed; the others are published.
    """
    log_stages()
    chosen = load_settings(data, out, settings)
    check_weeks("rebuild_weeks", rebuild_weeks)
    names, (as_of,) = names_and_dates(chosen, products, [as_of] if as_of else [])

    def run(name: str, weeks: int) -> RunResult:
        # The flow's result, not its state: a state that Prefect had to ask for twice comes without its data.
        with tags(PART_TAG):
            return weekly_churn(
                product=name,
                as_of=as_of,
                data=data,
                out=out,
                force=force or rebuild_weeks > 0,
                rebuild_weeks=weeks,
                settings=settings,
            )

    with credentials(chosen):
        results, errors = run_each(chosen, names, rebuild_weeks, run)
    failures = {name: f"{type(error).__name__}: {error}" for name, error in errors.items()}
    show_products(as_of, results.values(), failures)
    if failures:
        raise RunError(outcome_message(names, list(results), failures))
    return list(results.values())


def outcome_message(names: Sequence[str], published: Sequence[str], failures: Mapping[str, str]) -> str:
    """Say which of several products failed, why, and which are published."""
    listed = "\n".join(f"  - {name}: {why}" for name, why in failures.items())
    return (
        f"{len(failures)} of {len(names)} products failed: {', '.join(failures)}; "
        f"published: {', '.join(published) or 'none'}\n{listed}"
    )
