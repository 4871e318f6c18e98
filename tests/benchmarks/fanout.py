"""What the fan-out itself costs: tasks that do next to nothing, over a real scheduler and real workers by TCP.

    .venv/bin/python -m tests.benchmarks.fanout
    .venv/bin/python -m tests.benchmarks.fanout --partitions 100 20000 --workers 2 --json fanout.json

For each number of partitions it prints wall time, milliseconds a partition, CPU seconds of client, scheduler and
workers, transitions of tasks that the scheduler makes a second (its own counter), and memory of client and
scheduler: at the end, and its growth while the later half of the partitions ran.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from churn.scoring.cluster.client import open_client
from churn.scoring.fanout import Done, FanOut
from tests.stand_ins.dask_processes import Processes, dask_processes
from tests.support.fanout_tasks import Row, Task

LOOKS = 40  # at memory, in each run


@dataclass(frozen=True)
class Figures:
    """What one run came to; seconds, MB of 10^6 bytes.

    Attributes:
        partitions: how many.
        seconds: wall time.
        milliseconds: wall time for each partition.
        transitions_per_second: of tasks, in the scheduler.
        cpu: seconds of ``client``, ``scheduler`` and ``workers``.
        memory: resident MB of ``client`` and ``scheduler`` at the end.
        growth: MB by which the median of the last quarter passes that of the second one.
        futures: most that the client held at a time.
        known: most tasks that the scheduler knew at a time, as far as it was asked.
    """

    partitions: int
    seconds: float
    milliseconds: float
    transitions_per_second: float
    cpu: dict[str, float]
    memory: dict[str, float]
    growth: dict[str, float]
    futures: int
    known: int


def nothing(task: Task) -> Row:
    """Do nothing; the smallest partition that there can be."""
    return Row(task.index, 1, 0)


def transitions(dask_scheduler: Any) -> tuple[int, int]:
    """How many transitions the scheduler has made, and how many tasks it knows now."""
    return dask_scheduler.transition_counter, len(dask_scheduler.tasks)


def measure(client: Any, processes: Processes, partitions: int) -> Figures:
    """Run so many empty partitions."""
    who = {
        "client": [psutil.Process()],
        "scheduler": [psutil.Process(processes.started["scheduler"].pid)],
        "workers": [
            psutil.Process(each.pid) for name, each in processes.started.items() if name != "scheduler"
        ],
    }
    seen: dict[str, list[float]] = {"client": [], "scheduler": []}
    futures = known = 0
    every = max(1, partitions // LOOKS)

    def look(done: Done[Row]) -> None:
        nonlocal futures, known
        if done.done % every:
            return
        futures = max(futures, len(client.futures))
        known = max(known, client.run_on_scheduler(transitions)[1])
        for name, sizes in seen.items():
            sizes.append(who[name][0].memory_info().rss / 1e6)

    tasks = [Task(index, "") for index in range(partitions)]
    cpu = {name: spent(each) for name, each in who.items()}
    before, _ = client.run_on_scheduler(transitions)
    start = time.perf_counter()
    rows = FanOut(client).run(nothing, tasks, key=lambda task: task.name, on_done=look)
    seconds = time.perf_counter() - start
    after, _ = client.run_on_scheduler(transitions)
    assert [row.index for row in rows] == list(range(partitions))
    quarter = LOOKS // 4
    return Figures(
        partitions=partitions,
        seconds=seconds,
        milliseconds=1000 * seconds / partitions,
        transitions_per_second=(after - before) / seconds,
        cpu={name: spent(each) - cpu[name] for name, each in who.items()},
        memory={name: sizes[-1] for name, sizes in seen.items()},
        growth={
            name: statistics.median(sizes[-quarter:]) - statistics.median(sizes[quarter : 2 * quarter])
            for name, sizes in seen.items()
        },
        futures=futures,
        known=known,
    )


def spent(processes: list[psutil.Process]) -> float:
    """CPU seconds so far."""
    return sum(sum(each.cpu_times()[:2]) for each in processes)


def main() -> None:
    """Measure, print a table and, if asked, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--partitions", type=int, nargs="+", default=[100, 2_000, 20_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as folder, dask_processes(Path(folder)) as processes:
        processes.workers([f"w{index}" for index in range(given.workers)])
        with open_client(processes.settings) as client:
            client.wait_for_workers(given.workers, timeout=120)
            measure(client, processes, 200)  # everybody is warm
            for partitions in given.partitions:
                found.append(measure(client, processes, partitions))
                show(found[-1])
    if given.json:
        given.json.write_text(json.dumps([asdict(each) for each in found], indent=2) + "\n", "utf-8")


def show(figures: Figures) -> None:
    """Print one run."""
    cpu = ", ".join(f"{name} {seconds:.2f}" for name, seconds in figures.cpu.items())
    memory = ", ".join(
        f"{name} {figures.memory[name]:.0f} ({figures.growth[name]:+.1f})" for name in figures.memory
    )
    sys.stdout.write(
        f"{figures.partitions:>7,} partitions: {figures.seconds:.2f} s, {figures.milliseconds:.2f} ms each, "
        f"{figures.transitions_per_second:,.0f} transitions/s; CPU s: {cpu}; MB (growth): {memory}; "
        f"futures {figures.futures}, known {figures.known}\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
