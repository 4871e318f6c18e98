"""What `churn plan` does: measure, estimate, and print."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from churn.core.errors import ChurnError, UsageError
from flows.commands.run import new_table, terminal

if TYPE_CHECKING:
    from churn.jobs.capacity.model import CapacityPlan, Choice
    from churn.jobs.capacity.prices import Prices
    from churn.jobs.capacity.rates import Rates

_SPAN = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_WIDTH = 110


def run_plan(
    *,
    users: int,
    features: int,
    trees: int,
    depth: int,
    products: int,
    deadline: str,
    price_file: Path | None,
    json_file: Path | None,
) -> None:
    """Calibrate, choose the fewest workers that meet the deadline, and print what they come to.

    Raises:
        UsageError: an argument is out of range.
        ConfigError: the price file cannot be used.
        ChurnError: the JSON file cannot be written.
    """
    from churn.jobs.capacity.model import ScoringJob, around, choose
    from churn.jobs.capacity.prices import read_prices

    seconds = span(deadline)
    job, prices = ScoringJob(users, products), read_prices(price_file)
    from churn.jobs.capacity.calibrate import calibrate, check_size
    from churn.jobs.capacity.wording import assumptions

    check_size(features, trees, depth)  # before the measurement, which takes 20 s
    if json_file is not None:
        _try_to_write(json_file)

    click.echo("Measuring how fast this machine scores; about 20 s where it is idle.", err=True)
    rates = calibrate(features, trees, depth)
    choice = choose(job, seconds, rates, prices)
    plans = around(job, choice.plan.workers, rates, prices)
    sentences = assumptions(choice.plan, rates, prices)
    if json_file is not None:
        _write(json_file, choice, plans, rates, prices, sentences)
    _print(choice, plans, rates, sentences, deadline)


def span(text: str) -> int:
    """Return the seconds of a time such as ``90s``, ``45m``, ``1h`` or ``1h30m``.

    Raises:
        UsageError: it is none, or 0.
    """
    match = _SPAN.fullmatch(text.strip())
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    total = 3600 * hours + 60 * minutes + seconds
    if not total:
        raise UsageError(f"--deadline {text!r} is no time: give one such as 90s, 45m, 1h or 1h30m")
    return total


def _try_to_write(path: Path) -> None:
    """Check that a file can be written, without changing or leaving it."""
    existed = path.exists()
    with _writing(path):
        path.open("ab").close()
        if not existed:
            path.unlink()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ChurnError(f"{path} cannot be written ({error.strerror}): give another --json") from error


def _write(
    path: Path,
    choice: "Choice",
    plans: list["CapacityPlan"],
    rates: "Rates",
    prices: "Prices",
    sentences: list[str],
) -> None:
    content = {
        "meets_deadline": choice.meets,
        "why_not": choice.why or None,
        "plan": _as_dict(choice.plan),
        "others": [_as_dict(plan) for plan in plans if plan != choice.plan],
        "rates": asdict(rates),
        "prices": prices.model_dump(mode="json"),
        "assumptions": sentences,
    }
    with _writing(path):
        path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def _as_dict(plan: "CapacityPlan") -> dict[str, Any]:
    return {**asdict(plan), "wall_s": plan.wall_s}


def _print(
    choice: "Choice", plans: list["CapacityPlan"], rates: "Rates", sentences: list[str], deadline: str
) -> None:
    job = choice.plan.job
    click.echo(
        f"{job.users:,} users, {job.products} product(s), {rates.features} features, {rates.trees} trees of "
        f"depth {rates.depth}"
    )
    if choice.meets:
        click.echo(f"{choice.plan.workers:,} worker(s) meet the deadline of {deadline}.")
    else:
        click.echo(
            f"No number of workers meets the deadline of {deadline}: {choice.why}. The fastest is "
            f"{choice.plan.workers:,} worker(s)."
        )
    terminal().print(_workers(choice.plan, plans))
    terminal().print(_details(choice.plan))
    terminal().print(_measured(rates))
    click.echo("Assumptions:")
    for sentence in sentences:
        click.echo(click.wrap_text(sentence, _WIDTH, "  - ", "    "))


def _workers(chosen: "CapacityPlan", plans: list["CapacityPlan"]) -> Any:
    table = new_table(
        "workers", "partitions", "users each", "start s", "load s", "score s", "commit s", "all products",
        "partitions/s", "$ on demand", "$ Spot",
    )  # fmt: skip
    for plan in plans:
        mark = " <-" if plan.workers == chosen.workers else ""
        table.add_row(
            f"{plan.workers:,}{mark}",
            f"{plan.partitions:,}",
            f"{plan.partition_rows:,}",
            *(f"{plan.seconds[part]:,.1f}" for part in ("start", "load", "score", "commit")),
            in_words(plan.wall_s),
            f"{plan.tasks_a_second:,.1f}",
            f"{plan.dollars['on demand']:,.2f}",
            f"{plan.dollars['spot']:,.2f}",
        )
    return table


def in_words(seconds: float) -> str:
    """Return a time as ``1 h 05 m`` or ``2 m 07 s``."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} m"
    return f"{whole // 60} m {whole % 60:02d} s"


def _details(plan: "CapacityPlan") -> Any:
    products = plan.job.products
    table = new_table(f"{plan.workers:,} worker(s)", "each product", "all")
    size = plan.worker
    table.add_row("a worker: vCPU, GB", f"{size.vcpus}, {size.gb}", "")
    table.add_row("its peak memory, MB", f"{plan.worker_bytes / 1e6:,.0f}", "")
    rows = [
        ("CPU of the workers, s", plan.worker_s, ",.0f"),
        ("CPU of client and scheduler, s", plan.client_s, ",.1f"),
        ("S3 requests, PUT and LIST", plan.requests.writes, ",.0f"),
        ("S3 requests, GET and HEAD", plan.requests.reads, ",.0f"),
        *((f"{name}, GB", size / 1e9, ",.2f") for name, size in plan.bytes.items()),
        ("S3 requests, $", plan.dollars["requests"] / products, ",.4f"),
        ("kept for a month, $", plan.dollars["a month"] / products, ",.2f"),
    ]
    for name, value, shown in rows:
        table.add_row(name, f"{value:{shown}}", f"{products * value:{shown}}")
    most = plan.most_tasks_a_second
    table.add_row("partitions/s, of at most", f"{plan.tasks_a_second:,.1f} of {most:,.0f}", "")
    asked = plan.requests_a_second
    table.add_row("PUT, GET a second", f"{asked.writes:,.0f}, {asked.reads:,.0f}", "")
    return table


def _measured(rates: "Rates") -> Any:
    table = new_table("measured here", "CPU")
    for name, value, unit in (
        ("a user", 1e6 * rates.user_s, "us"),
        *((f"  {stage}", 1e6 * seconds, "us") for stage, seconds in rates.stages.items()),
        ("a partition, on its worker", 1e3 * rates.partition_s, "ms"),
        ("a partition, client and scheduler", 1e3 * rates.task_s, "ms"),
        ("client and scheduler, a second of waiting", 1e3 * rates.watch, "ms"),
        ("  and for each worker", 1e3 * rates.watch_worker, "ms"),
        ("a partition, at the commit", 1e3 * rates.merge_partition_s, "ms"),
        ("a GB of features, at the commit", 1e9 * rates.hash_byte_s, "s"),
        ("a worker: model and compiled loops", rates.load_s, "s"),
        ("a worker: interpreter and imports", rates.start_s, "s"),
    ):
        table.add_row(name, f"{value:,.2f} {unit}")
    return table
