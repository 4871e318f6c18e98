"""What the commands for running, reading and trying do."""

import json
import shlex
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from churn.config.load import builtin_products, load_settings
from churn.config.settings import Settings
from churn.core.calendar import Windows, last_complete_as_of, sunday_on_or_before
from churn.core.errors import ChurnError, ConfigError, NotScoredError, UsageError
from churn.core.values import DEFAULT_DECIMALS
from flows.console import show_progress
from flows.credentials import credentials
from flows.products import names_and_dates, run_each
from flows.server.start import start_server

if TYPE_CHECKING:
    from churn.jobs.weekly.finish import RunResult
    from churn.lake.run import Run
    from churn.sources.ingest import Ingested

_PARTS = ("prepare", "train", "score", "publish")


def run_demo(*, users: int, weeks: int, seed: int, into: Path) -> None:
    """Simulate and run the weekly job for iPlayer and Sounds."""
    show_progress()
    into.mkdir(parents=True, exist_ok=True)
    start_server(wait=False)  # it gets ready while the data are simulated
    simulated_end = run_simulate(into=into / "data", users=users, weeks=weeks, seed=seed, end=None)
    run_weekly(
        data=into / "data",
        out=into / "out",
        products=("iplayer", "sounds"),
        dates=[simulated_end],
        force=True,
    )


def run_simulate(*, into: Path, users: int, weeks: int, seed: int, end: date | None) -> date:
    """Write a simulated broadcaster; return the last Sunday of its history."""
    from churn.sources.simulator import simulate

    show_progress()
    simulated = simulate(into, users=users, weeks=weeks, seed=seed, **({"end": end} if end else {}))
    click.echo(
        f"Simulated {users:,} users over {weeks} weeks ({simulated.start} to {simulated.end}): "
        f"{simulated.activity_rows:,} activity rows in {into}"
    )
    return simulated.end


def run_ingest(*, source: str, into: Path, columns: Sequence[str], force: bool, **reading: Any) -> None:
    """Make a data folder from an event log, and print the next command.

    Args:
        source: the log.
        into: the data folder.
        columns: texts like user_id=customer.
        force: replace an existing data folder.
        reading: how to read it; ``churn.ingest`` describes each option.
    """
    from churn.sources.ingest import ingest

    log = ingest(source, into, columns=column_mapping(columns), force=force, **reading)
    print_ingested(log)
    click.echo(_next_step(log))


def column_mapping(columns: Sequence[str]) -> dict[str, str]:
    """Return contract columns and the log's, from texts like user_id=customer.

    Raises:
        UsageError: a text is no pair, or a column is named twice.
    """
    mapping: dict[str, str] = {}
    for pair in columns:
        name, equals, column = pair.partition("=")
        if not (name and equals):
            raise UsageError(f"--column {pair!r} should look like user_id=customer: NAME=COLUMN")
        if name in mapping:
            raise UsageError(f"--column names {name} twice ({mapping[name]} and {column}): leave one out")
        mapping[name] = column
    return mapping


def print_ingested(log: "Ingested") -> None:
    """Print what was taken of a log, and how."""
    click.echo(
        f"{log.rows:,} events of {log.users:,} users from {log.first:%Y-%m-%d} to {log.last:%Y-%m-%d} "
        f"in {log.path}"
    )
    click.echo(f"Columns: {', '.join(f'{name} from {column}' for name, column in log.columns)}")
    click.echo(f"Times: {log.times}")
    if log.features:
        made = ", ".join(f"{feature} from {column}" for feature, column in log.features)
        click.echo(f"Features: {made}; edit {log.path / 'features'} to change them.")
    if log.unused:
        click.echo(f"Not used: {', '.join(name or '(no name)' for name in log.unused)}")
    for what, rows in [
        *log.adjusted,
        *([("repeated rows (kept)", log.duplicates)] if log.duplicates else []),
    ]:
        click.echo(f"Note: {what}: {rows:,}")
    if log.value_decimals != DEFAULT_DECIMALS:
        click.echo(f"Note: values are kept with {log.value_decimals} decimals (`value_decimals`)")
    for warning in log.warnings:
        click.echo(f"Warning: {warning}")
    click.echo(f"Products: {', '.join(log.products)}; edit {log.path / 'churn.toml'} to change them.")


def _next_step(log: "Ingested") -> str:
    """Return a command that can follow: for the largest product with enough history, if there is one."""
    from churn.features.activity_facts import weeks_of_history

    longest = needed = 0
    for product, (first, last) in zip(log.products, log.spans, strict=True):
        as_of = min(sunday_on_or_before(last.date()), last_complete_as_of(date.today()))
        needed, have = weeks_of_history(Windows(as_of), first.date())
        if have >= needed:
            command = ["churn", "run", "--data", str(log.path), "--product", product, "--as-of", str(as_of)]
            return f"Next: {shlex.join([*command, '--out', 'out'])}"
        longest = max(longest, have)
    return (
        f"Next: ingest a longer log; a run needs {needed} full weeks up to a Sunday, and no product here has "
        f"more than {longest}"
    )


def run_weekly(
    *,
    data: Path,
    out: Path,
    products: Sequence[str],
    dates: Sequence[date],
    force: bool,
    rebuild_weeks: int = 0,
    profile: str | None = None,
) -> None:
    """Run the weekly flow for each date and product, the dates in order, then print a table.

    A run that fails does not keep the others from running; its error is raised at the end.
    """
    settings = load_settings(data, out, chosen(profile))
    names, days = names_and_dates(settings, products, dates)
    show_progress()
    if not products:
        click.echo(f"  all products: {', '.join(names)} (--product NAME runs one)", err=True)
    results: list[RunResult] = []
    failures: dict[str, Exception] = {}
    with credentials(settings):
        if settings.runs_at_once > 1 and len(names) > 1:
            start_server()  # before there are threads, which take Prefect's settings from this one
        for day in days:
            if len(days) > 1:
                click.echo(f"  as of {day}", err=True)
            done, failed = run_each(
                settings,
                names,
                rebuild_weeks,
                partial(_run_one, settings, day, force or rebuild_weeks > 0),
                passing_over=ChurnError,
            )
            results += done.values()
            when = f" as of {day}" if len(days) > 1 else ""
            failures |= {f"{name}{when}": error for name, error in failed.items()}
    for result in results:
        if result.repeated:
            click.echo(
                f"{result.product}: run {result.run_id} is already committed for {result.as_of}; "
                "nothing was computed (--force makes a new run)"
            )
    if results:
        _print_results(results, dated=len(days) > 1)
    if failures and not results and len({str(error) for error in failures.values()}) == 1:
        raise next(iter(failures.values()))  # one message for a fault that they share
    if failures:
        listed = "\n".join(f"  - {name}: {error}" for name, error in failures.items())
        kind = UsageError if all(isinstance(e, UsageError) for e in failures.values()) else ChurnError
        what = "products" if len(days) == 1 else "runs"
        raise kind(f"{len(failures)} of {len(names) * len(days)} {what} failed:\n{listed}")


def _run_one(settings: Settings, as_of: date, force: bool, name: str, rebuild_weeks: int) -> "RunResult":
    from churn.jobs.weekly.finish import committed, finish_existing
    from churn.lake.open import check_lake
    from churn.warehouse.open import open_warehouse

    windows = settings.product(name).windows(as_of)
    # Checked here too, before Prefect starts its server.
    check_lake(settings)
    if force:
        committed(settings, name, windows)
    elif (existing := finish_existing(settings, name, windows)) is not None:
        return existing
    from churn.features.activity_facts import check_data_covers

    with closing(open_warehouse(settings)) as warehouse:
        check_data_covers(warehouse, settings, windows)
    start_server()
    from flows.weekly import weekly_churn

    return weekly_churn(
        product=name,
        as_of=as_of,
        data=settings.data,
        out=settings.out,
        force=force,
        rebuild_weeks=rebuild_weeks,
        settings=chosen(settings.profile),
    )


def chosen(profile: str | None) -> dict[str, Any]:
    """Return the settings that the command line overrides."""
    return {} if profile is None else {"profile": profile}


def _print_results(results: Sequence["RunResult"], *, dated: bool) -> None:
    parts = [f"{part} s" for part in _PARTS]
    # The best possible log loss is known of simulated data only.
    known = any("true_log_loss" in result.metrics for result in results)
    shown = {"log loss": "log_loss", **({"best possible": "true_log_loss"} if known else {}), "AUC": "auc"}
    headings = ["product", *(["as of"] if dated else [])]
    table = new_table(*headings, "users scored", "churn predicted", *shown, *parts)
    for result in results:
        figures = result.metrics
        table.add_row(
            result.title,
            *([str(result.as_of)] if dated else []),
            f"{result.users:,}",
            f"{figures['mean_probability']:.1%}",
            *(_figure(figures, name) for name in shown.values()),
            *(f"{result.seconds.get(part, 0.0):.1f}" for part in _PARTS),
        )
    terminal().print(table)
    for result in results:
        click.echo(f"{result.title}: report {_shown(result.report)}")
        click.echo(f"{' ' * len(result.title)}  scores {_shown(result.scores)}")


def new_table(*headings: str) -> Table:
    """Return an empty table for the terminal; only the first column is text.

    Print it with ``terminal``: any other console takes ``[new]`` in a title for markup.
    """
    table = Table(box=SIMPLE_HEAD)
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index else "left", no_wrap=True)
    return table


def terminal() -> Console:
    """Return the console for tables; piped output is wide, so that rows are not folded.

    It prints every text as it is: a title may hold ``[red]`` or ``:warning:``.
    """
    console = Console(highlight=False, markup=False, emoji=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, emoji=False, width=160)


def _figure(figures: Mapping[str, float], name: str) -> str:
    return f"{figures[name]:.4f}" if name in figures else "-"


def _shown(path: str) -> str:
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path


def run_backtest(
    *, data: Path, product: str, dates: Sequence[date], json_file: Path, profile: str | None
) -> None:
    """Back-test a product on past dates; write the figures, and the predictions beside them."""
    settings = load_settings(data, json_file.parent, chosen(profile))
    settings.product(product)
    for day in dates:
        Windows(day)  # refuse a wrong date before slow imports and training
    show_progress()
    from churn.jobs.backtest import backtest

    with credentials(settings):
        result = backtest(settings, product, dates, json_file.with_suffix(".parquet"))
    json_file.parent.mkdir(parents=True, exist_ok=True)
    json_file.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    table = new_table("as of", "rows", "churn rate", "log loss", "AUC", "PR AUC", "Brier", "ECE", "lift 10 %")
    for row in [*result["dates"], {"as_of": "all", **result["all"]}]:
        values = [row[name] for name in ("log_loss", "auc", "pr_auc", "brier", "ece", "lift_top_decile")]
        table.add_row(
            row["as_of"],
            f"{row['rows']:,}",
            f"{row['churn_rate']['value']:.1%}",
            *("-" if value is None else f"{value['value']:.4f}" for value in values),
        )
    terminal().print(table)
    click.echo(f"Figures: {json_file}; predictions: {result['predictions']}")


def run_render(
    *, data: Path, product: str, as_of: date | None, dialect: str, step: str | None, profile: str | None
) -> None:
    """Print the SQL of every step."""
    from churn.dataset.plan import plan_without_data, rendered_steps

    settings = load_settings(data, data, chosen(profile), optional=True)
    plan = plan_without_data(settings, product, as_of or last_complete_as_of(date.today()))
    texts = rendered_steps(plan, dialect)
    if step is not None and step not in texts:
        raise UsageError(f"unknown step {step!r}; the steps of {product} are: {', '.join(texts)}")
    for name, text in texts.items():
        if step in (None, name):
            click.echo(text)


def run_explain(*, data: Path, out: Path, product: str, user: str, profile: str | None) -> None:
    """Print a user's score and reasons in words."""
    from churn.explain.user import explain_user
    from churn.lake.open import open_lake

    settings = load_settings(data, out, chosen(profile), optional=True)
    with credentials(settings):
        lake = open_lake(settings)
        run = lake.current(product)
        if run is None:
            known = ", ".join(sorted({run.manifest.product for run in lake.runs()}))
            others = f" (but of: {known})" if known else ", nor of any other product"
            raise UsageError(
                f"{lake.root} holds no committed run of {product!r}{others}; "
                f"make one with `churn run --product {product} --out {out}`"
            )
        try:
            lines = explain_user(run.path(), user)
        except NotScoredError as error:
            raise _with_cause(error, settings, run, user) from error
    for line in lines:
        click.echo(line)


def _with_cause(error: NotScoredError, settings: Settings, run: "Run", user: str) -> NotScoredError:
    """Return the error with the one cause that the warehouse knows, if it knows one."""
    from churn.dataset.not_scored import why_not_scored
    from churn.warehouse.open import missing_file, open_warehouse

    manifest = run.manifest
    if missing_file(settings) or manifest.product not in settings.products or not user.isprintable():
        return error
    windows = Windows(manifest.as_of, manifest.lead_weeks, manifest.target_weeks)
    try:
        with closing(open_warehouse(settings)) as warehouse:
            cause = why_not_scored(warehouse, settings, manifest.product, windows, user)
    except ChurnError:  # a run may be using the warehouse; the error without its cause is still right
        return error
    if cause is None:
        return error
    return NotScoredError(f"user {user[:80]!r} was not scored in run {manifest.run_id}: {cause}")


def run_products(*, data: Path, profile: str | None) -> None:
    """List the products that a data folder knows."""
    try:
        products = dict(load_settings(data, data, chosen(profile), optional=True).products)
    except ConfigError as error:
        if "\n  - products" not in str(error):
            raise
        raise ConfigError(f"{error}\nBuilt in: {', '.join(builtin_products())}") from error
    table = new_table("product", "title", "counts activity of", "eligible over", "training")
    for name, product in products.items():
        minimum = "-" if product.minimum_value is None else f"{product.minimum_value:g} {product.value_unit}"
        table.add_row(
            name, product.title, ", ".join(product.match) or "any", minimum, product.training.sampling
        )
    terminal().print(table)
