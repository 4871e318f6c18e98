"""The demo job by stage: wall seconds, CPU seconds and peak memory, for two sizes of audience.

    python -m tests.benchmarks.demo --users 20000 --users 200000 --json demo.json

Runs `churn demo` as a person would, in a process of its own, and reads the stage lines that it prints. Memory
is the resident memory of that process and all its children together (Prefect's server and the Dask workers
included), sampled ten times a second; a stage's peak is the greatest sample since the line before its own.

Small and large audiences are trained in different ways by default; `--sampling cohort` (or `all`) makes every size
do the same work, so that growth can be read off. Growth is the ratio of a part's seconds to those of the first size, over the ratio of users: 1 = linear.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

_LINE = re.compile(r"\s+(\w+)\s+(prepare|train|score|publish)\s+(.+?)\s{2,}(?:([\d,]+) rows)?\s+([\d.]+) s$")
_SAMPLE_SECONDS = 0.1


@dataclass(frozen=True)
class Stage:
    """One stage line with the peak memory, in MB, since the line before it."""

    product: str
    part: str
    name: str
    rows: int | None
    seconds: float
    peak_mb: float


@dataclass
class Measured:
    """One run of the demo.

    Attributes:
        users: simulated users.
        seconds: wall seconds of the whole command.
        cpu_seconds: CPU seconds of the process and its children.
        peak_mb: peak resident memory of all of them together, in MB.
        stages: its stages.
    """

    users: int
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_mb: float = 0.0
    stages: list[Stage] = field(default_factory=list)

    def part_seconds(self, part: str) -> float:
        """Seconds of a part over all products; stages that ran side by side count each."""
        return sum(stage.seconds for stage in self.stages if stage.part == part)


class _Sampler(threading.Thread):
    """Samples the memory of a process tree until it ends."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.process = psutil.Process(pid)
        self.since_line = 0.0
        self.latest = 0.0
        self.peak = 0.0
        self.cpu: dict[int, float] = {}
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(_SAMPLE_SECONDS):
            total = 0.0
            try:
                family = [self.process, *self.process.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            for member in family:
                try:
                    total += member.memory_info().rss / 1e6
                    times = member.cpu_times()
                    self.cpu[member.pid] = times.user + times.system
                except psutil.NoSuchProcess:
                    continue
            self.latest = total
            self.since_line = max(self.since_line, total)
            self.peak = max(self.peak, total)


def measure(users: int, weeks: int, seed: int, sampling: str | None, into: Path) -> Measured:
    """Run the demo once and measure it."""
    environment = dict(os.environ)
    if sampling:
        for product in ("IPLAYER", "SOUNDS"):
            environment[f"CHURN_PRODUCTS__{product}__TRAINING__SAMPLING"] = sampling
    command = [sys.executable, "-m", "flows.cli", "demo", "--into", str(into)]
    command += ["--users", str(users), "--weeks", str(weeks), "--seed", str(seed)]
    start = time.perf_counter()
    found = Measured(users)
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        sampler = _Sampler(process.pid)
        sampler.start()
        assert process.stderr is not None
        last = ""
        for line in process.stderr:
            last = line
            match = _LINE.match(line.rstrip())
            if match:
                product, part, name, rows, seconds = match.groups()
                count = int(rows.replace(",", "")) if rows else None
                peak, sampler.since_line = sampler.since_line, sampler.latest
                found.stages.append(Stage(product, part, name.strip(), count, float(seconds), peak))
    sampler.done.set()
    if process.returncode:
        raise SystemExit(f"the demo failed: {last}")
    found.seconds = time.perf_counter() - start
    found.cpu_seconds = sum(sampler.cpu.values())
    found.peak_mb = sampler.peak
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--users", type=int, action="append", help="may be repeated; default 20000 and 200000"
    )
    parser.add_argument("--weeks", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sampling", choices=["cohort", "all"], help="train every size in the same way")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    runs = []
    for users in arguments.users or [20_000, 200_000]:
        with tempfile.TemporaryDirectory(prefix="churn-demo-") as folder:
            runs.append(
                measure(users, arguments.weeks, arguments.seed, arguments.sampling, Path(folder) / "demo")
            )
    _print(runs)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(run) for run in runs], indent=2) + "\n", "utf-8")


def _print(runs: list[Measured]) -> None:
    console = Console(width=150)
    table = Table(title="stage")
    for heading in ("product", "part", "stage"):
        table.add_column(heading)
    for run in runs:
        for unit in ("rows", "s", "peak MB"):
            table.add_column(f"{run.users:,}: {unit}", justify="right")
    for stages in zip(*(sorted(run.stages, key=_order) for run in runs), strict=True):
        cells = [
            (f"{s.rows:,}" if s.rows is not None else "", f"{s.seconds:.1f}", f"{s.peak_mb:,.0f}")
            for s in stages
        ]
        table.add_row(
            stages[0].product, stages[0].part, stages[0].name, *(cell for row in cells for cell in row)
        )
    console.print(table)
    for run in runs:
        console.print(
            f"{run.users:,} users: {run.seconds:.0f} s wall, {run.cpu_seconds:.0f} s CPU, "
            f"peak {run.peak_mb:,.0f} MB over all processes"
        )
    first = runs[0]
    for run in runs[1:]:
        for part in ("prepare", "train", "score", "publish"):
            growth = run.part_seconds(part) / max(first.part_seconds(part), 0.1)
            console.print(
                f"{part}: {growth:.1f} times the seconds for {run.users / first.users:.0f} times the users"
            )


def _order(stage: Stage) -> tuple[str, str, str]:
    return stage.product, stage.part, stage.name


if __name__ == "__main__":
    main()
