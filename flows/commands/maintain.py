"""What `churn sweep` does: Fargate tasks and the like that a run left behind."""

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
from flows.credentials import credentials, of_use, server


def run_sweep(*, data: Path, out: Path, older_than: float, profile: str | None, yes: bool) -> None:
    """Remove, or only list, what carries this program's tags in ECS and is older than so many hours."""
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
    for each in swept.stale:
        hours = f"{(now - each.created).total_seconds() / 3600:,.1f}"
        table.add_row(each.kind, hours, each.product, each.run, each.cluster, each.arn)
    terminal().print(table)
    told = f"{len(swept.stale)} resource(s)"
    click.echo(
        f"Removed {told}." if yes else f"Would remove {told}. Nothing was changed; add --yes to do it."
    )


if TYPE_CHECKING:
    from churn.jobs.doctor import ProbeResult
    from churn.jobs.prune import OutdatedTables
    from churn.warehouse.base import Warehouse

_ONLY_SHOWN = "Nothing was changed; add --yes to do it."


def run_check(*, data: Path, out: Path, profile: str | None) -> None:
    """Try everything that the settings name; a line each.

    Raises:
        ChurnError: something failed.
    """
    settings = load_settings(data, out, chosen(profile))
    show_progress()
    failed = []
    click.echo(f"{'ok':8}settings: {data / 'churn.toml'}, profile {settings.profile}")
    for tried in _tried(settings):
        click.echo(f"{'ok' if tried.ok else 'failed':8}{tried.what}: {tried.told}")
        if not tried.ok:
            failed.append(tried.what)
    if failed:
        raise ChurnError(f"{len(failed)} failed: {', '.join(failed)}")


def _tried(settings: Settings) -> "Iterator[ProbeResult]":
    from churn.jobs.doctor import ProbeResult, run_checks

    api = _prefect()
    if api is not None:
        yield api
    with ExitStack() as stack:
        try:
            stack.enter_context(credentials(settings))
        except ConfigError as error:  # without credentials there is no sense in trying the rest
            yield ProbeResult("Prefect: blocks", False, str(error))
            return
        named = [name for name in of_use(settings).model_dump().values() if name]
        if named:
            yield ProbeResult("Prefect: blocks", True, f"credentials are taken from {' and '.join(named)}")
        yield from run_checks(settings)


def _prefect() -> "ProbeResult | None":
    """Ask a Prefect server that is set up for something that needs its key; None where there is none."""
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
        # What is not there is told of in seconds, not after minutes of trying.
        short_timeouts = {PREFECT_API_REQUEST_TIMEOUT: 10, PREFECT_CLIENT_MAX_RETRIES: 0}
        with temporary_settings(short_timeouts), get_client(sync_client=True) as client:
            client.read_flows(limit=1)
    except PrefectHTTPStatusError as error:
        told = f"refuses (status {error.response.status_code}): check PREFECT_API_URL and PREFECT_API_KEY"
    except (httpx.HTTPError, RuntimeError, OSError) as error:
        told = f"does not answer ({type(error).__name__}): check PREFECT_API_URL, and that it is running"
    else:
        return ProbeResult("Prefect", True, f"{server()} answers")
    return ProbeResult("Prefect", False, f"{server()} {told}")


def _as_it_is(settings: Settings) -> "Warehouse":
    """Open the warehouse without making one: an empty one in memory where there is no file."""
    from churn.warehouse.open import missing_file, open_in_memory, open_warehouse

    return open_warehouse(settings) if missing_file(settings) is None else open_in_memory(settings)


def run_migrate(*, data: Path, out: Path, profile: str | None, yes: bool) -> None:
    """Show the SQL that the published tables lack and, if asked, run it."""
    settings = load_settings(data, out, chosen(profile))
    show_progress()
    from churn.outputs import migrations
    from churn.warehouse.open import missing_file, open_warehouse

    made = missing_file(settings)
    with credentials(settings), closing((open_warehouse if yes else _as_it_is)(settings)) as warehouse:
        lacking = migrations.pending(warehouse, settings.id_column)
        for migration in lacking:
            click.echo(f"-- {migration.version}: {migration.title}\n{migration.sql}\n")
        granted = migrations.grants(warehouse, settings.warehouse.group)
        for statement in granted:
            click.echo(f"{statement};")
        if not (lacking or granted):
            click.echo("The published tables are as this release needs them.")
        elif yes:
            done = migrations.apply(warehouse, settings.id_column, settings.warehouse.group)
            click.echo(f"Done: {', '.join(f'{each.version} {each.title}' for each in done) or 'rights'}")
        else:
            if made is not None:
                click.echo(f"There is no {made}: --yes makes it. To see what another lacks, check --out.")
            click.echo(_ONLY_SHOWN)


def run_prune(
    *, data: Path, out: Path, product: str | None, keep_weeks: int, profile: str | None, yes: bool
) -> None:
    """Remove, or only list, the runs of all but the newest target weeks, and kept tables of old definitions.

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
        old = _prune_kept(settings, keep_weeks, yes=yes) if product is None else []
        pruned = lake.prune(product, keep_weeks, dry_run=not yes)
    if not (pruned or old):
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
    if old:
        table = new_table("kept tables that no run uses any more", "reached")
        for each in old:
            table.add_row(", ".join(each.tables), f"{each.reached}")
        terminal().print(table)
        total.append(f"{sum(len(each.tables) for each in old)} table(s)")
    said = " and ".join(total)
    click.echo(f"Removed {said}." if yes else f"Would remove {said}. {_ONLY_SHOWN}")


def _prune_kept(settings: Settings, keep_weeks: int, *, yes: bool) -> "list[OutdatedTables]":
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
    from churn.jobs.erase.erase import count_found, erase, has_lake, read_users
    from churn.lake.open import open_lake
    from churn.warehouse.open import missing_file

    users = read_users(user_file)
    with credentials(settings):
        absent, lake = missing_file(settings), has_lake(settings)
        if absent is not None and not lake:
            raise UsageError(
                f"there is neither a lake at {open_lake(settings).root} nor a warehouse at {absent}, so that "
                "nobody was looked for: check --out, --data and --profile"
            )
        with closing(_as_it_is(settings)) as warehouse:
            ids = count_found(settings, warehouse, users)
            found = erase(settings, warehouse, users, dry_run=not yes)
    if found:
        table = new_table("where", "dataset", "rows")
        for each in found:
            table.add_row(each.where, each.dataset, f"{each.rows:,}")
        terminal().print(table)
    told = f"{sum(each.rows for each in found):,} rows of {len(set(users)):,} users"
    click.echo(f"Erased {told}." if yes else f"Would erase {told}. {_ONLY_SHOWN}")
    others = "" if ids == len(set(users)) else "; the others are in no run and no published table"
    click.echo(f"{ids:,} of {len(set(users)):,} ids were found{others}.")
    if not lake:
        click.echo(f"There is no lake at {open_lake(settings).root}: only the warehouse was looked into.")
    if absent is not None:
        click.echo(f"There is no warehouse at {absent}: only the lake was looked into.")
    click.echo(
        "Source tables are not touched: erase there first, or the next run scores these users again. Nor are "
        "files that back-tests wrote, backups, and earlier versions that a bucket keeps."
    )
