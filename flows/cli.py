"""The command line. Exit codes: 0 done, 1 failed, 2 wrong usage, 128 + a signal's number after one."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import click

from churn.core.calendar import MAX_WEEKS
from churn.core.errors import ChurnError, UsageError
from churn.core.private import private_files
from flows.console import at_exit, install_signal_handlers, silence_libraries, stop_requested, stopped
from flows.options import (
    OUT_PATH,
    PATH,
    READING_NAMES,
    Day,
    Group,
    as_of_option,
    data_option,
    out_option,
    product_option,
    profile_option,
    reading_options,
    yes_option,
)


def _run(command: str, options: Mapping[str, Any]) -> None:
    """Run a function of flows.commands, imported only now so that `--help` answers at once."""
    resolve_name(f"flows.commands.{command}")(**options)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="churn")
@click.pass_context
def cli(context: click.Context) -> None:
    """Who will stop coming, why, and what that adds up to."""
    context.with_resource(private_files())
    install_signal_handlers()


@cli.command()
@click.option(
    "--users", type=click.IntRange(1_500), default=20_000, show_default=True, help="Simulated users."
)
@click.option("--weeks", type=click.IntRange(20), default=30, show_default=True, help="Weeks of history.")
@click.option("--seed", type=int, default=1, show_default=True, help="Same seed, same data.")
@click.option("--into", type=OUT_PATH, default=Path("demo"), show_default=True, help="Folder to write into.")
def demo(**options: Any) -> None:
    """Simulate a broadcaster and run its weekly job.

    For iPlayer and Sounds.
    """
    silence_libraries(prefect_home=options["into"] / "prefect")
    _run("run:run_demo", options)


@cli.command()
@click.option("--into", type=PATH, default=Path("demo/data"), show_default=True, help="Data folder to make.")
@click.option("--users", type=click.IntRange(1), default=20_000, show_default=True, help="Simulated users.")
@click.option("--weeks", type=click.IntRange(16), default=30, show_default=True, help="Weeks of history.")
@click.option("--seed", type=int, default=1, show_default=True, help="Same seed, same data.")
@click.option("--end", type=Day(), help="Last Sunday of the simulated history.")
def simulate(**options: Any) -> None:
    """Write the source tables of a simulated broadcaster."""
    _run("run:run_simulate", options)


@cli.command()
@click.argument("source")
@click.option("--into", type=PATH, required=True, help="Data folder to make.")
@reading_options
@click.option("--force", is_flag=True, help="Replace an existing data folder.")
def ingest(**options: Any) -> None:
    """Make a data folder from an event log.

    SOURCE is a Parquet, CSV or JSON lines file, a folder of them, or `grocery` or `cdnow`.
    """
    _run("run:run_ingest", options)


@cli.command()
@click.argument("source", required=False, metavar="[LOG]")
@data_option
@out_option
@click.option(
    "--product", "products", multiple=True, help="Product name; repeat it for several (default: all)."
)
@click.option(
    "--as-of",
    "dates",
    type=Day(),
    multiple=True,
    help="Sunday on which features end; repeat it to back-fill several (default: last Sunday).",
)
@click.option("--force", is_flag=True, help="Make a new run even if one is committed or can be resumed.")
@click.option(
    "--rebuild-weeks",
    type=click.IntRange(0, MAX_WEEKS),
    default=0,
    show_default=True,
    help="Read this many of the latest weeks of raw activity again, for late rows; implies --force.",
)
@profile_option
@reading_options
@click.pass_context
def run(context: click.Context, source: str | None, **options: Any) -> None:
    """Run the weekly job.

    With an event LOG, ingest it first unless its data folder is up to date. The folders are then LOG's name
    with -data and -out, and the date is the last Sunday that LOG reaches.
    """
    silence_libraries()
    given = {name for name in options if _given(context, name)}
    reading = {name: options.pop(name) for name in READING_NAMES}
    if source is None:
        refused = [param for param in context.command.params if param.name in given & set(READING_NAMES)]
        if refused:
            raise UsageError(f"{refused[0].opts[0]} says how to read a log: name the log, churn run LOG ...")
        _run("run:run_weekly", options)
        return
    places = {name: options.pop(name) for name in ("data", "out")}
    places = {name: place if name in given else None for name, place in places.items()}
    _run("log:run_log", {"source": source, **places, **options, "reading": reading})


def _given(context: click.Context, name: str) -> bool:
    """Return whether an option was given on the command line."""
    return context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT


@cli.command()
@data_option
@product_option
@click.option(
    "--as-of", "dates", type=Day(), multiple=True, required=True, help="Past Sunday; may be repeated."
)
@click.option("--json", "json_file", type=PATH, required=True, help="File for the figures.")
@profile_option
def backtest(**options: Any) -> None:
    """Train as of past dates, and compare with what users did.

    Each date uses only what was known then.
    """
    silence_libraries()
    _run("run:run_backtest", options)


@cli.command()
@data_option
@out_option
@product_option
@click.option("--as-of", "as_of", type=Day(), required=True, help="Past Sunday; nothing later is used.")
@click.option("--learner", default="xgboost", show_default=True, help="Learner to tune.")
@click.option(
    "--minutes",
    type=click.FloatRange(min=0.1),
    default=10.0,
    show_default=True,
    help="CPU minutes of all trials.",
)
@click.option("--trials", type=click.IntRange(min=2), default=100, show_default=True, help="Most trials.")
@profile_option
def tune(**options: Any) -> None:
    """Search a learner's parameters on past dates.

    Runs use what it finds, unless that is worse than the default on later dates.
    """
    silence_libraries()
    _run("tune:run_tune", options)


@cli.command()
@data_option
@product_option
@as_of_option
@click.option(
    "--dialect",
    type=click.Choice(["redshift", "duckdb", "postgres"]),
    default="redshift",
    show_default=True,
    help="SQL dialect.",
)
@click.option("--step", help="Only this step.")
@profile_option
def render(**options: Any) -> None:
    """Print the SQL of every step without running it."""
    _run("run:run_render", options)


@cli.command()
@data_option
@out_option
@product_option
@click.option("--user", required=True, help="User id.")
@profile_option
def explain(**options: Any) -> None:
    """Print a user's score and top reasons, in words."""
    silence_libraries()
    _run("run:run_explain", options)


@cli.command()
@data_option
@profile_option
def products(**options: Any) -> None:
    """List the products of a data folder.

    Without a data folder, list the built-in ones.
    """
    _run("run:run_products", options)


@cli.command()
@data_option
@out_option
@profile_option
def check(**options: Any) -> None:
    """Check everything that the settings name.

    Store, warehouse, MLflow, scheduler and Prefect.
    """
    silence_libraries()
    _run("maintain:run_check", options)


@cli.command()
@data_option
@out_option
@profile_option
@yes_option
def migrate(**options: Any) -> None:
    """Bring the published tables up to date.

    Shows the SQL first.
    """
    silence_libraries()
    _run("maintain:run_migrate", options)


@cli.command()
@data_option
@out_option
@click.option("--product", help="Only this product (default: all).")
@click.option(
    "--keep-weeks",
    type=click.IntRange(1, MAX_WEEKS),
    required=True,
    help="Target weeks to keep, the newest ones.",
)
@profile_option
@yes_option
def prune(**options: Any) -> None:
    """Remove old runs and out-of-date weekly aggregates."""
    silence_libraries()
    _run("maintain:run_prune", options)


@cli.command()
@data_option
@out_option
@click.option(
    "--user-file",
    type=PATH,
    required=True,
    help="File of user ids: text with one a line, or .csv, .jsonl or .parquet.",
)
@profile_option
@yes_option
def erase(**options: Any) -> None:
    """Remove users from the lake and the published tables."""
    silence_libraries()
    _run("maintain:run_erase", options)


@cli.command()
@data_option
@out_option
@click.option(
    "--older-than",
    type=click.FloatRange(min=0),
    default=24.0,
    show_default=True,
    metavar="HOURS",
    help="Only what is older than this many hours; a run that takes longer loses its cluster.",
)
@profile_option
@yes_option
def sweep(**options: Any) -> None:
    """Remove what runs left behind in ECS.

    Stops Fargate tasks, and removes task definitions and clusters.
    """
    _run("maintain:run_sweep", options)


@cli.command()
@click.option(
    "--url-file",
    type=PATH,
    required=True,
    help="File with the address to notify, a secret; - reads standard input.",
)
@click.option(
    "--silent-after",
    type=click.IntRange(45),
    default=300,
    show_default=True,
    help="Seconds without a heartbeat after which a run counts as crashed.",
)
def alerts(**options: Any) -> None:
    """Notify when a run fails, crashes or does not start.

    Sets up automations on the Prefect server.
    """
    silence_libraries()
    _run("alerts:run_alerts", options)


@cli.command()
@click.option("--users", type=int, required=True, help="Users that each product scores.")
@click.option("--features", type=int, default=150, show_default=True, help="Features of the model.")
@click.option("--trees", type=int, default=300, show_default=True, help="Trees of the model.")
@click.option("--depth", type=int, default=6, show_default=True, help="Greatest depth of a tree.")
@click.option("--products", type=int, default=1, show_default=True, help="Products, one after the other.")
@click.option("--deadline", default="1h", show_default=True, help="For all products; such as 45m or 1h30m.")
@click.option("--price-file", type=PATH, help="List prices (default: the built-in ones).")
@click.option("--json", "json_file", type=PATH, help="File for the figures.")
def plan(**options: Any) -> None:
    """Estimate workers, time and cost for an audience."""
    _run("capacity:run_plan", options)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    try:
        cli.main(
            args=list(arguments) if arguments is not None else None, prog_name="churn", standalone_mode=False
        )
    except (click.Abort, KeyboardInterrupt):
        _fail(*stopped())
    except Exception as error:
        # Libraries make errors of their own of an interrupt: "Query interrupted", a matrix without rows.
        if stop_requested():
            _fail(*stopped())
        if isinstance(error, click.ClickException):
            error.show()
            sys.exit(2 if isinstance(error, click.UsageError) else 1)
        if isinstance(error, ChurnError):
            _fail(str(error), 2 if isinstance(error, UsageError) else 1)
        raise
    finally:
        at_exit()


def _fail(message: str, code: int) -> None:
    click.echo(f"churn: {message}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
