"""Many workers and many partitions, simulated: for ``tests.benchmarks.plan``.

Workers are real ``distributed.Worker`` objects of one thread each, hundreds of them in one process; the scheduler is a real
process of its own, whose CPU seconds are counted, and so is the client. Partitions do nothing. What the client
does with partitions' answers before it commits is done for real with thousands of copies of one answer.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask.config
import numpy as np
import psutil
from distributed import Client, Worker
from rich.console import Console

from churn.explain.effects import read_summary
from churn.jobs.capacity.probe import Nothing, do_nothing
from churn.jobs.capacity.sample import (
    AS_OF,
    PRODUCT,
    RUN_ID,
    SCORED_AT,
    TARGET,
    partition_task,
    write_features,
)
from churn.lake.manifest import Manifest
from churn.scoring.fanout import FanOut
from churn.scoring.partition import PartitionResult, partition_name, summarise_partitions
from churn.scoring.scorer import score_partition
from tests.benchmarks.plan_tables import new_table
from tests.benchmarks.score_data import SHAPE, fitted_model

WORKERS = (2, 50, 200, 400)
TASKS = 2_000
PARTITIONS = (157, 625, 4_000, 20_000)
IDLE_S = 6.0
_START_S = 120.0


@contextmanager
def cluster(workers: int, folder: Path) -> Iterator[tuple[Client, psutil.Process, psutil.Process]]:
    """Yield a client, the scheduler's process, and the process that so many workers live in."""
    file = folder / f"scheduler-{workers}.json"
    quiet = {"env": {**os.environ, "DASK_LOGGING__DISTRIBUTED": "critical"}, "stderr": subprocess.DEVNULL}
    address = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
    command = [
        sys.executable,
        "-m",
        "distributed.cli.dask_scheduler",
        *address,
        "--scheduler-file",
        str(file),
    ]
    with subprocess.Popen(command, **quiet) as scheduler:
        try:
            while not file.exists():
                time.sleep(0.1)
            host = [sys.executable, "-m", "tests.benchmarks.plan_scale", str(file), str(workers)]
            with subprocess.Popen(host, **quiet) as many:
                try:
                    with Client(scheduler_file=str(file), set_as_default=False) as client:
                        client.wait_for_workers(workers, timeout=_START_S)
                        yield client, psutil.Process(scheduler.pid), psutil.Process(many.pid)
                finally:
                    many.kill()
        finally:
            scheduler.kill()


async def host_workers(scheduler_file: str, count: int) -> None:
    """Be so many workers until this process is killed."""
    address = json.loads(Path(scheduler_file).read_text("utf-8"))["address"]
    workers = [
        Worker(address, nthreads=1, memory_limit=0, dashboard=False, name=f"w{index}")
        for index in range(count)
    ]
    for first in range(0, count, 20):
        await asyncio.gather(*workers[first : first + 20])
    await asyncio.Event().wait()


def spent(process: psutil.Process) -> float:
    """CPU seconds of a process until now."""
    times = process.cpu_times()
    return times.user + times.system


def schedule(workers: int, folder: Path) -> dict[str, float]:
    """Run empty partitions on so many workers; CPU seconds of scheduler and client for each."""
    tasks = [Nothing(index) for index in range(TASKS)]
    with cluster(workers, folder) as (client, scheduler, many):
        fan_out = FanOut(client)
        fan_out.run(do_nothing, tasks[: 2 * workers], key=lambda task: task.name)
        made = client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.transition_counter)
        before, mine, others, start = spent(scheduler), time.process_time(), spent(many), time.perf_counter()
        fan_out.run(do_nothing, tasks, key=lambda task: task.name)
        wall = time.perf_counter() - start
        cpu, mine, others = spent(scheduler) - before, time.process_time() - mine, spent(many) - others
        made = client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.transition_counter) - made
        memory = scheduler.memory_info().rss / 1e6
        before = spent(scheduler)
        time.sleep(IDLE_S)
        idle = (spent(scheduler) - before) / IDLE_S
    return {
        "workers": workers,
        "tasks": TASKS,
        "tasks_a_second": TASKS / wall,
        "transitions_a_second": made / wall,
        "scheduler_ms": 1_000 * cpu / TASKS,
        "client_ms": 1_000 * mine / TASKS,
        "workers_ms": 1_000 * others / TASKS,
        "scheduler_most": TASKS / cpu,
        "idle_share": idle,
        "scheduler_mb": memory,
    }


def merge(partitions: int, row: PartitionResult, effects: Path, folder: Path) -> dict[str, float]:
    """Do with copies of one answer what the client does before it commits; seconds of each step."""
    run = folder / f"run-{partitions}"
    (run / "effects").mkdir(parents=True)
    for index in range(partitions):
        (run / "effects" / f"{partition_name(index)}.parquet").hardlink_to(effects)
    rows = [row.model_copy(update={"index": index}) for index in range(partitions)]
    marks = [time.process_time()]
    summarise_partitions(rows, [row.rows] * partitions)
    marks.append(time.process_time())
    read_summary(str(run)).importance()
    marks.append(time.process_time())
    files = {f"{name}/{partition_name(r.index)}.parquet": s for r in rows for name, s in r.files.items()}
    manifest = Manifest(
        run_id=RUN_ID, product=PRODUCT, as_of=AS_OF, target_week_start=TARGET, started_at=SCORED_AT,
        model_version=row.model_version, code_version="0", files=files,
    )  # fmt: skip
    text = Manifest.model_validate(manifest.model_dump()).model_dump_json(indent=2)
    marks.append(time.process_time())
    steps = dict(zip(("merge_s", "sums_s", "manifest_s"), np.diff(marks).tolist(), strict=True))
    return {"partitions": partitions, **steps, "manifest_mb": len(text) / 1e6}


def scale(console: Console, folder: Path) -> dict[str, Any]:
    """Measure and print both."""
    found: dict[str, Any] = {"scheduler": [schedule(workers, folder) for workers in WORKERS]}
    table = new_table(
        f"{TASKS:,} empty partitions", "workers", "partitions/s", "transitions/s", "scheduler CPU ms each",
        "client CPU ms each", "workers CPU ms each", "most/s of the scheduler", "scheduler busy when idle", "scheduler MB",
    )  # fmt: skip
    for each in found["scheduler"]:
        table.add_row(
            f"{each['workers']:,}",
            f"{each['tasks_a_second']:,.0f}",
            f"{each['transitions_a_second']:,.0f}",
            *(f"{each[f'{who}_ms']:.2f}" for who in ("scheduler", "client", "workers")),
            f"{each['scheduler_most']:,.0f}",
            f"{each['idle_share']:.1%}",
            f"{each['scheduler_mb']:.0f}",
        )
    console.print(table)
    features, rng = folder / "part.parquet", np.random.default_rng(0)
    write_features(features, SHAPE, rng, 16_384)
    fitted_model(rng).save(folder / "model")
    row = score_partition(partition_task(0, features, folder / "one", folder / "model"))
    effects = folder / "one" / "effects" / "part-00000.parquet"
    found["merge"] = [merge(partitions, row, effects, folder) for partitions in PARTITIONS]
    table = new_table(
        "the client before it commits, CPU s",
        "partitions",
        "rows",
        "sums",
        "manifest",
        "manifest MB",
        "ms each",
    )
    for each in found["merge"]:
        steps = [each[name] for name in ("merge_s", "sums_s", "manifest_s")]
        table.add_row(
            f"{each['partitions']:,}",
            *(f"{seconds:.2f}" for seconds in steps),
            f"{each['manifest_mb']:.2f}",
            f"{1_000 * sum(steps) / each['partitions']:.2f}",
        )
    console.print(table)
    return found


if __name__ == "__main__":
    # Each worker would look at this process's memory and sockets twice a second.
    seldom = {"distributed.worker.profile.enabled": False, "distributed.admin.system-monitor.interval": "60s"}
    dask.config.set(seldom)
    asyncio.run(host_workers(sys.argv[1], int(sys.argv[2])))
