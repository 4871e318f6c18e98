"""Tables of ``tests.benchmarks.plan``."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

_SHOWN = (
    "wall s",
    "wall s, shared",
    "worker CPU s",
    "client CPU s",
    "client CPU s, shared",
    "features MB",
)


def new_table(title: str, first: str, *others: str) -> Table:
    """Return an empty table; only the first column is text."""
    table = Table(title=title)
    table.add_column(first)
    for heading in others:
        table.add_column(heading, justify="right")
    return table


def print_validation(console: Console, found: Sequence[Mapping[str, Any]], within: float) -> None:
    """Print predicted against measured figures of each run."""
    table = new_table(
        "predicted / measured", "users, workers", "parts", *_SHOWN, "written MB", "cores had", "commit s",
        "peak MB", "load",
    )  # fmt: skip
    for each in found:
        run, compared = each["measured"], each["compared"]
        written = [name for name in compared if name.endswith("MB") and name != "features MB"]
        both = tuple(sum(compared[name][side] for name in written) for side in (0, 1))
        table.add_row(
            f"{run['users']:,}, {run['workers']}",
            f"{run['partitions']}",
            *(_pair(compared[name]) for name in _SHOWN),
            _pair(both),
            f"{run['worker_s'] / run['wall_s']:.2f}",
            f"{run['commit_s']:.1f}",
            f"{run['peak_mb']:.0f}",
            f"{run['machine_load']:.1f}",
        )
    console.print(table)
    _print_misses(console, [(f"{e['measured']['users']:,}", e["compared"]) for e in found], within)


def print_requests(console: Console, found: Sequence[Mapping[str, Any]], within: float) -> None:
    """Print predicted against counted requests."""
    table = new_table("S3: predicted / counted", "users", "partitions", *found[0]["compared"])
    for each in found:
        pairs = (_pair(both) for both in each["compared"].values())
        table.add_row(f"{each['users']:,}", f"{each['partitions']}", *pairs)
    console.print(table)
    _print_misses(console, [(f"{each['users']:,}", each["compared"]) for each in found], within)


def print_efficiency(console: Console, found: Mapping[str, Any]) -> None:
    """Print where the workers' CPU seconds went."""
    table = new_table(
        f"{found['rows']:,} users", "workers", "wall s", "cores had", "CPU s with start", "start", "load",
        "useful", "explain stage", "kernel alone", "client CPU s", "peak MB each", "load avg",
    )  # fmt: skip
    by = found["by_workers"]
    for workers, job in by.items():
        table.add_row(
            f"{workers}",
            f"{job['wall_s']:.2f}",
            f"{job['worker_cpu_s'] / job['wall_s']:.2f}",
            f"{job['whole_s']:.2f}",
            f"{job['start_cpu_s']:.2f}",
            f"{job['stages']['load']:.2f}",
            f"{job['useful']:.0%}",
            f"{job['explain']:.0%}",
            f"{job['kernel']:.0%}",
            f"{job['client_cpu_s']:.2f}",
            f"{job['peak_mb']:.0f}",
            f"{job['machine_load']:.1f}",
        )
    console.print(table)
    one, two = by[1], by[2]
    console.print(
        f"two workers: {one['wall_s'] / two['wall_s']:.2f}x as fast, {two['whole_s'] / one['whole_s']:.2f}x the CPU; "
        f"the kernel alone takes {found['kernel_us']:.2f} us a user"
    )


def print_overhead(console: Console, found: Mapping[str, Any]) -> None:
    """Print what one more partition takes."""
    few, many = found["partitions"]
    table = new_table(
        f"ms for a partition besides its users ({found['users']:,} users in {few} and in {many})", "", "worker CPU",
        "client CPU", "wall",
    )  # fmt: skip
    for name, spent in (("one more", found["extra_ms"]), ("one user, one worker", found["single_user_ms"])):
        table.add_row(name, *(f"{spent[each]:.1f}" for each in ("worker_cpu_s", "client_cpu_s", "wall_s")))
    for total, empty in found["empty"].items():
        table.add_row(
            f"{total:,} empty ones, 2 workers", "", f"{empty['client_cpu_ms']:.2f}", f"{empty['wall_ms']:.2f}"
        )
    console.print(table)


def _pair(both: Sequence[float]) -> str:
    predicted, measured = both
    shown = ",.0f" if measured >= 100 else ",.2f"
    off = f" ({predicted / measured - 1:+.0%})" if measured else ""
    return f"{predicted:{shown}} / {measured:{shown}}{off}"


def _print_misses(console: Console, found: Sequence[tuple[str, Mapping[str, Any]]], within: float) -> None:
    missed = [
        f"{name} of {users}"
        for users, compared in found
        for name, (predicted, measured) in compared.items()
        if abs(predicted / measured - 1) > within
    ]
    told = ", ".join(missed) or "none"
    console.print(f"further off than {within:.0%}: {told}\n")
