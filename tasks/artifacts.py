"""Artifacts on Prefect's run pages: totals and addresses, nothing about a single user."""

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.context import FlowRunContext

from churn.jobs.weekly.finish import RunResult

_logger = logging.getLogger(__name__)
_PARTS = ("prepare", "train", "score", "publish")


def show_result(result: RunResult) -> None:
    """Show a run's figures and its report's place. If Prefect refuses, the run goes on."""
    key = _key(result.product)
    description = f"{result.title}, as of {result.as_of}, run {result.run_id}"
    _try(create_table_artifact, key=f"summary-{key}", table=[_row(result)], description=description)
    # Markdown: no browser follows a link from Prefect's page to a file or to S3.
    _try(create_markdown_artifact, key=f"report-{key}", markdown=_report(result), description=description)


def _report(result: RunResult) -> str:
    """Return the figures of a run and the place of its report, as Markdown."""
    figures = "\n".join(f"| {name} | {value} |" for name, value in _row(result).items())
    place = result.report if "://" in result.report else Path(result.report).absolute()
    table = f"| figure | value |\n| --- | --- |\n{figures}"
    return f"{table}\n\nThe report, to be opened in a browser:\n\n```\n{place}\n```\n"


def show_products(as_of: date, results: Iterable[RunResult], failures: Mapping[str, str]) -> None:
    """Show each product's result, or why it failed."""
    rows = [{"state": "published", **_row(result), "why": ""} for result in results]
    empty = dict.fromkeys((rows or [{}])[0], "")
    rows += [{**empty, "product": name, "state": "failed", "why": why} for name, why in failures.items()]
    _try(create_table_artifact, key="products", table=rows, description=f"Every product as of {as_of}")


def _row(result: RunResult) -> dict[str, Any]:
    figures = result.metrics
    return {
        "product": result.product,
        "users scored": f"{result.users:,}",
        "churn predicted": f"{figures['mean_probability']:.1%}",
        **{
            title: f"{figures[name]:.4f}" if name in figures else "-"
            for title, name in (("log loss", "log_loss"), ("AUC", "auc"))
        },
        **{f"{part} s": f"{result.seconds.get(part, 0.0):.1f}" for part in _PARTS},
        "committed before": "yes" if result.repeated else "no",
    }


def _key(name: str) -> str:
    return name.replace("_", "-")


def _try(create: Callable[..., Any], **content: Any) -> None:
    if FlowRunContext.get() is None:
        return
    try:
        create(**content)
    except Exception as error:  # the scores are committed and published
        _logger.warning("Prefect refused the artifact %s (%r)", content["key"], error)
