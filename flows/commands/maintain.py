"""What the commands for upkeep do: check, migrate, prune, erase, sweep."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from churn.config.load import load_settings
from churn.config.settings import Settings
from churn.core.errors import ChurnError, ConfigError, UsageError
from flows.commands.run import chosen, new_table, terminal
from flows.console import show_progress
from flows.credentials import blocks_in_use, credentials, server

if TYPE_CHECKING:
    from churn.jobs.doctor import ProbeResult
    from churn.jobs.prune import OutdatedTables
    from churn.warehouse.base import Warehouse

_NOT_DONE = "Nothing was changed; add --yes to do it."


def run_sweep(*, data: Path, out: Path, older_than: float, profile: str | None, yes: bool) -> None:
    """Remove, or only list, what runs left in ECS more than ``older_than`` hours ago."""
    settings = load_settings(data, out, chosen(profile), optional=True)
    show_progress()
    from churn.scoring.cluster.sweep import sweep

    with credentials(settings):
        swept = sweep(settings.cluster, timedelta(hours=older_than), dry_run=not yes)
    if swept.recent:
        click.echo(f"{swept.recent} resource(s) younger than {older_than:g} h are left alone")
    if not swept.stale:
        click.echo(f"Nothing of this program in ECS is older than {older_than:g} h: nothing to do")
        return
    table = new_table("what", "hours old", "product", "run", "cluster", "ARN")
    now = datetime.now(UTC)
    for resource in swept.stale:
        hours = f"{(now - resource.created).total_seconds() / 3600:,.1f}"
        table.add_row(resource.kind, hours, resource.product, resource.run, resource.cluster, resource.arn)
    terminal().print(table)
    total = f"{len(swept.stale)} resource(s)"
    click.echo(f"Removed {total}." if yes else f"Would remove {total}. {_NOT_DONE}")


def run_check(*, data: Path, out: Path, profile: str | None) -> None:
    """Try everything that the settings name; print a line for each.

    Raises:
        ChurnError: something failed.
    """
    settings = load_settings(data, out, chosen(profile))
    show_progress()
    failed = []
    click.echo(f"{'ok':8}settings: {data / 'churn.toml'}, profile {settings.profile}")
    for probe in _probes(settings):
        click.echo(f"{'ok' if probe.ok else 'failed':8}{probe.what}: {probe.message}")
        if not probe.ok:
            failed.append(probe.what)
    if failed:
        raise ChurnError(f"{len(failed)} failed: {', '.join(failed)}")


def _probes(settings: Settings) -> "Iterator[ProbeResult]":
    from churn.jobs.doctor import ProbeResult, run_checks

    server_probe = _probe_prefect()
    if server_probe is not None:
        yield server_probe
    with ExitStack() as stack:
        try:
            stack.enter_context(credentials(settings))
        except ConfigError as error:  # the rest cannot work without credentials
            yield ProbeResult("Prefect: blocks", False, str(error))
            return
        blocks = [name for name in blocks_in_use(settings).model_dump().values() if name]
        if blocks:
            yield ProbeResult("Prefect: blocks", True, f"credentials are taken from {' and '.join(blocks)}")
        yield from run_checks(settings)


def _probe_prefect() -> "ProbeResult | None":
    """Ask the Prefect server for something that needs its key; None where no server is set up."""
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError
    from prefect.settings import (
        PREFECT_API_REQUEST_TIMEOUT,
        PREFECT_CLIENT_MAX_RETRIES,
        get_current_settings,
        temporary_settings,
    )

    from churn.jobs.doctor import ProbeResult

    if not get_current_settings().api.url:
        return None
    try:
        # Prefect would retry for minutes.
        short_timeouts = {PREFECT_API_REQUEST_TIMEOUT: 10, PREFECT_CLIENT_MAX_RETRIES: 0}
        with temporary_settings(short_timeouts), get_client(sync_client=True) as client:
            client.read_flows(limit=1)
    except PrefectHTTPStatusError as error:
        fault = f"refuses (status {error.response.status_code}): check PREFECT_API_URL and PREFECT_API_KEY"
    except (httpx.HTTPError, RuntimeError, OSError) as error:
        fault = f"does not answer ({type(error).__name__}): check PREFECT_API_URL, and that it is running"
    else:
        return ProbeResult("Prefect", True, f"{server()} answers")
    return ProbeResult("Prefect", False, f"{server()} {fault}")


def _open_without_making(settings: Settings) -> "Warehouse":
    """Open the warehouse, or an empty one in memory where there is no file."""
    from churn.warehouse.open import missing_file, open_in_memory, open_warehouse

    return open_warehouse(settings) if missing_file(settings) is None else open_in_memory(settings)


def run_migrate(*, data: Path, out: Path, profile: str | None, yes: bool) -> None:
    """Show the migrations that the published tables lack and, with ``yes``, apply them."""
    settings = load_settings(data, out, chosen(profile))
    show_progress()
    from churn.outputs import migrations
    from churn.warehouse.open import missing_file, open_warehouse

    absent = missing_file(settings)
    with (
        credentials(settings),
        closing((open_warehouse if yes else _open_without_making)(settings)) as warehouse,
    ):
        pending = migrations.pending(warehouse, settings.id_column)
        for migration in pending:
            click.echo(f"-- {migration.version}: {migration.title}\n{migration.sql}\n")
        grants = migrations.grants(warehouse, settings.warehouse.group)
        for statement in grants:
            click.echo(f"{statement};")
        if not (pending or grants):
            click.echo("The published tables are as this release needs them.")
        elif yes:
            applied = migrations.apply(warehouse, settings.id_column, settings.warehouse.group)
            titles = ", ".join(f"{migration.version} {migration.title}" for migration in applied)
            click.echo(f"Done: {titles or 'rights'}")
        else:
            if absent is not None:
                click.echo(f"There is no {absent}: --yes makes it. To see what another lacks, check --out.")
            click.echo(_NOT_DONE)


def run_prune(
    *, data: Path, out: Path, product: str | None, keep_weeks: int, profile: str | None, yes: bool
) -> None:
    """Remove, or only list, runs of all but the newest target weeks, and aggregates of old definitions.

    Raises:
        UsageError: there is no lake, or neither settings nor lake know the product.
    """
    settings = load_settings(data, out, chosen(profile), optional=True)
    show_progress()
    from churn.jobs.erase.erase import has_lake
    from churn.lake.manifest import check_names
    from churn.lake.open import open_lake

    with credentials(settings):
        lake = open_lake(settings)
        if product is not None:
            check_names(product)
        if not has_lake(settings):
            raise UsageError(f"there is no lake at {lake.root}: check --out, --data and --profile")
        if product is not None and product not in settings.products and not lake.runs(product):
            known = sorted({*settings.products, *(run.manifest.product for run in lake.runs())})
            raise UsageError(
                f"unknown product {product!r}; the settings and {lake.root} know: {', '.join(known)}"
            )
        outdated = _prune_aggregates(settings, keep_weeks, yes=yes) if product is None else []
        pruned = lake.prune(product, keep_weeks, dry_run=not yes)
    if not (pruned or outdated):
        click.echo(f"{lake.root} holds no more than {keep_weeks} target week(s) of a product: nothing to do")
        return
    total = []
    if pruned:
        table = new_table("product", "target week", "run", "files", "MB")
        for run in pruned:
            size = f"{run.bytes / 1e6:,.1f}"
            table.add_row(run.product, f"{run.week_start}", run.run_id, f"{run.files:,}", size)
        terminal().print(table)
        total.append(f"{len(pruned)} run(s), {sum(run.bytes for run in pruned) / 1e6:,.1f} MB")
    if outdated:
        table = new_table("kept tables that no run uses any more", "reached")
        for group in outdated:
            table.add_row(", ".join(group.tables), f"{group.reached}")
        terminal().print(table)
        total.append(f"{sum(len(group.tables) for group in outdated)} table(s)")
    summary = " and ".join(total)
    click.echo(f"Removed {summary}." if yes else f"Would remove {summary}. {_NOT_DONE}")


def _prune_aggregates(settings: Settings, keep_weeks: int, *, yes: bool) -> "list[OutdatedTables]":
    from churn.jobs import prune
    from churn.warehouse.open import missing_file, open_warehouse

    if missing_file(settings) is not None:
        return []
    with closing(open_warehouse(settings)) as warehouse:
        return prune.prune(warehouse, settings.kept_schema, keep_weeks, dry_run=not yes)


def run_erase(*, data: Path, out: Path, user_file: Path, profile: str | None, yes: bool) -> None:
    """Erase the users of a file, or only count their rows.

    Raises:
        UsageError: the file holds no ids, or there is neither a lake nor a warehouse to erase from.
    """
    settings = load_settings(data, out, chosen(profile))
    show_progress()
    from churn.jobs.erase.erase import count_found, erase, has_lake
    from churn.jobs.erase.user_file import read_users
    from churn.lake.open import open_lake
    from churn.warehouse.open import missing_file

    users = read_users(user_file, settings.id_column)
    with credentials(settings):
        absent, lake = missing_file(settings), has_lake(settings)
        if absent is not None and not lake:
            raise UsageError(
                f"there is neither a lake at {open_lake(settings).root} nor a warehouse at {absent}, so that "
                "nobody was looked for: check --out, --data and --profile"
            )
        with closing(_open_without_making(settings)) as warehouse:
            ids = count_found(settings, warehouse, users)
            erased = erase(settings, warehouse, users, dry_run=not yes)
            anew = 0 if absent is not None else warehouse.rewrite_bytes()
    if erased:
        table = new_table("where", "dataset", "rows")
        for rows in erased:
            table.add_row(rows.where, rows.dataset, f"{rows.rows:,}")
        terminal().print(table)
    total = f"{sum(rows.rows for rows in erased):,} rows of {len(set(users)):,} users"
    click.echo(f"Erased {total}." if yes else f"Would erase {total}. {_NOT_DONE}")
    others = "" if ids == len(set(users)) else "; the others are in no run and no published table"
    click.echo(f"{ids:,} of {len(set(users)):,} ids were found{others}.")
    if anew:
        written = "was written" if yes else "will be written"
        click.echo(
            f"The file of the warehouse {written} anew, without old bytes; that needs {anew / 1e6:,.0f} MB of"
            " free space beside it."
        )
    blanks = sum(user != user.strip() for user in set(users))
    if blanks:
        click.echo(f"{blanks:,} of the ids begin or end with a blank: they match only ids that do.")
    if not lake:
        click.echo(f"There is no lake at {open_lake(settings).root}: only the warehouse was looked into.")
    if absent is not None:
        click.echo(f"There is no warehouse at {absent}: only the lake was looked into.")
    click.echo(
        "Source tables are not touched: erase there first, or the next run scores these users again. Nor are "
        "files that back-tests wrote, backups, and earlier versions that a bucket keeps."
    )
