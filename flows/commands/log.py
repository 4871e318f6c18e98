"""``churn run LOG``: from an event log to reports."""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import click

from flows.commands.run import column_mapping, print_ingested, run_weekly


def run_log(
    *,
    source: str,
    data: Path | None,
    out: Path | None,
    products: Sequence[str],
    dates: Sequence[date],
    force: bool,
    rebuild_weeks: int,
    profile: str | None,
    reading: Mapping[str, Any],
) -> None:
    """Ingest a log unless its data folder is up to date, and run the weekly job on it.

    Args:
        source: the log.
        data: the data folder; None: named after the log.
        out: the folder to write into; None: named after the log.
        products: names of products; none: all.
        dates: as-of dates; none: the last Sunday with a complete week.
        force: make new runs.
        rebuild_weeks: weeks of raw activity to read again.
        profile: profile of the settings.
        reading: how to read the log, with ``columns`` as texts like user_id=customer.
    """
    from churn.jobs.log import prepare_log

    options = {**reading, "columns": column_mapping(reading["columns"])}
    log = prepare_log(source, data=data, out=out, **options)
    if log.ingested is None:
        click.echo(f"{source} has not changed since {log.data} was made from it.")
    else:
        print_ingested(log.ingested)
    if not dates:
        click.echo(f"As of {log.as_of}" + f": {log.why}" * bool(log.why) + ".")
    run_weekly(
        data=log.data,
        out=log.out,
        products=products,
        dates=list(dates) or [log.as_of],
        force=force,
        rebuild_weeks=rebuild_weeks,
        profile=profile,
    )
