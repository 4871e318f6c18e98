"""What `churn sweep` does: Fargate tasks and the like that a run left behind."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from churn.config import load_settings
from flows.blocks import credentials
from flows.commands import chosen, new_table, terminal
from flows.terminal import show_progress


def run_sweep(*, data: Path, out: Path, older_than: float, profile: str | None, yes: bool) -> None:
    """Remove, or only list, what carries this program's tags in ECS and is older than so many hours."""
    settings = load_settings(data, out, chosen(profile), optional=True)
    show_progress()
    from churn.sweep import sweep

    with credentials(settings):
        swept = sweep(settings.cluster, timedelta(hours=older_than), dry_run=not yes)
    if swept.young:
        click.echo(f"{swept.young} resource(s) younger than {older_than:g} h are left alone")
    if not swept.left:
        click.echo(f"Nothing of this program in ECS is older than {older_than:g} h: nothing to do")
        return
    table = new_table("what", "hours old", "product", "run", "cluster", "ARN")
    now = datetime.now(UTC)
    for each in swept.left:
        hours = f"{(now - each.created).total_seconds() / 3600:,.1f}"
        table.add_row(each.kind, hours, each.product, each.run, each.cluster, each.arn)
    terminal().print(table)
    told = f"{len(swept.left)} resource(s)"
    click.echo(
        f"Removed {told}." if yes else f"Would remove {told}. Nothing was changed; add --yes to do it."
    )
