"""What Prefect's page of a run shows of its results: totals and addresses, nothing about a single user."""

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.context import FlowRunContext

from churn.jobs.weekly.finish import RunResult

_logger = logging.getLogger(__name__)
_PARTS = ("prepare", "train", "score", "publish")


def show_outcome(outcome: RunResult) -> None:
    """Show a run's figures and where its report lies. What Prefect does not take is no reason to fail."""
    key = _key(outcome.product)
    of = f"{outcome.title}, as of {outcome.as_of}, run {outcome.run_id}"
    _try(create_table_artifact, key=f"summary-{key}", table=[_row(outcome)], description=of)
    _try(
        create_link_artifact,
        key=f"report-{key}",
        link=_address(outcome.report),
        link_text=outcome.report,
        description=of,
    )


def show_products(as_of: date, outcomes: Iterable[RunResult], failures: Mapping[str, str]) -> None:
    """Show what became of each product."""
    rows = [{"state": "published", **_row(outcome), "why": ""} for outcome in outcomes]
    empty = dict.fromkeys((rows or [{}])[0], "")
    rows += [{**empty, "product": name, "state": "failed", "why": why} for name, why in failures.items()]
    _try(create_table_artifact, key="products", table=rows, description=f"Every product as of {as_of}")


def _row(outcome: RunResult) -> dict[str, Any]:
    figures = outcome.metrics
    return {
        "product": outcome.product,
        "users scored": f"{outcome.users:,}",
        "churn predicted": f"{figures['mean_probability']:.1%}",
        **{
            title: f"{figures[name]:.4f}" if name in figures else "-"
            for title, name in (("log loss", "log_loss"), ("AUC", "auc"))
        },
        **{f"{part} s": f"{outcome.seconds.get(part, 0.0):.1f}" for part in _PARTS},
        "committed before": "yes" if outcome.repeated else "no",
    }


def _address(path: str) -> str:
    return path if "://" in path else Path(path).absolute().as_uri()


def _key(name: str) -> str:
    return name.replace("_", "-")


def _try(create: Callable[..., Any], **content: Any) -> None:
    if FlowRunContext.get() is None:
        return
    try:
        create(**content)
    except Exception as error:  # whatever it is, the scores are committed and published
        _logger.warning("Prefect does not take the artifact %s (%r)", content["key"], error)
