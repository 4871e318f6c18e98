"""The capacity plan against real runs, and how much of a distributed run is useful work.

    python -m tests.benchmarks.plan --json plan.json

Made-up users with 150 features and 300 trees of depth 6 (``score_data``). Parts:

    validate    calibrate, predict, then really run --sizes users through the fan-out, and commit them to a lake
    requests    the same over a real S3 API (moto over HTTP, behind a proxy that counts): requests and bytes
    efficiency  useful CPU seconds / all CPU seconds of the workers, at --rows users; two workers against one
    overhead    what one more partition takes: the same users in few and in many partitions, and empty ones
    scale       many workers, as threads, on a real scheduler; and what the client does for many partitions

Predictions are made before the run, for this machine: no waits for S3, no start of a Fargate task. They are of idle cores:
"cores had" tells how much of them there was, and "shared" is the prediction for that much. Nothing is asserted about time: machines differ and are shared.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console

from churn.config.cluster import ClusterSettings
from churn.config.store import StoreSettings
from churn.dataset.unload import partition_size
from churn.explain.effects import read_summary
from churn.jobs.capacity.calibrate import calibrate
from churn.jobs.capacity.model import CapacityPlan, ScoringJob, plan_capacity
from churn.jobs.capacity.prices import Prices, read_prices
from churn.jobs.capacity.probe import Nothing, do_nothing
from churn.jobs.capacity.rates import Rates
from churn.jobs.capacity.sample import (
    AS_OF,
    PRODUCT,
    RUN_ID,
    SCORED_AT,
    TARGET,
    partition_task,
    write_features,
)
from churn.lake.filesystem import ConfiguredTask
from churn.lake.lake import Lake, RunFolder
from churn.lake.manifest import Manifest
from churn.model.artifact import Model
from churn.outputs.report.build import aggregate_scores
from churn.scoring.cluster.client import open_client
from churn.scoring.fanout import FanOut
from churn.scoring.partition import PartitionResult, partition_name, summarise_partitions
from churn.scoring.scorer import score_partition
from tests.benchmarks.plan_scale import scale
from tests.benchmarks.plan_tables import print_efficiency, print_overhead, print_requests, print_validation
from tests.benchmarks.score import cpu_of, interleaved, peak_mb, typical
from tests.benchmarks.score_data import DEPTH, FEATURES, SHAPE, TREES, fitted_model, write_snapshots
from tests.benchmarks.score_peers import kernel_alone
from tests.stand_ins.s3 import BUCKET, Faults, environment, faulting, s3_server

PARTS = ("validate", "requests", "efficiency", "overhead", "scale")
WITHIN = 0.25
# What scoring is for; "load" is not among them, nor are Dask, partitions' files and rows.
USEFUL = ("read", "encode", "explain", "check", "reasons", "summary", "write")


@dataclass(frozen=True)
class Measured:
    """One run: wall and CPU seconds, bytes by dataset.

    Attributes:
        users: users scored.
        workers: worker processes.
        partitions: how many.
        wall_s: from the first submission to the merged rows.
        worker_s: CPU of the workers meanwhile, loading included.
        client_s: CPU of client, scheduler and nannies meanwhile, and of the commit.
        commit_s: wall of the commit.
        peak_mb: largest resident set of a worker.
        bytes: read and written.
        machine_load: load average of the last minute.
    """

    users: int
    workers: int
    partitions: int
    wall_s: float
    worker_s: float
    client_s: float
    commit_s: float
    peak_mb: float
    bytes: dict[str, float]
    machine_load: float


def here(prices: Prices) -> Prices:
    """What this machine is like: files on its disk, workers forked from one server."""
    near = {"task_start_seconds": 0.0, "request_seconds": 0.0, "megabytes_a_second": 1e6}
    return prices.model_copy(update={"place": prices.place.model_copy(update=near)})


def fill(run: RunFolder, users: int, size: int, seed: int) -> tuple[list[int], int]:
    """Write model and features of so many users into a run's folder; return rows of each partition, and bytes."""
    rng = np.random.default_rng(seed)
    _model().save(run.path("model"))
    rows = [min(size, users - first) for first in range(0, users, size)]
    written = 0
    with tempfile.TemporaryDirectory(prefix="features-") as scratch:
        made = Path(scratch, "part.parquet")
        for index, count in enumerate(rows):
            write_features(made, SHAPE, rng, count)
            written += made.stat().st_size
            run.fs.put_file(str(made), f"{run.base}/features/{partition_name(index)}.parquet")
    return rows, written


def score(client: Any, run: RunFolder, count: int, function: Any = score_partition) -> list[PartitionResult]:
    """Score the partitions of a run's folder over a cluster."""
    nowhere = Path("-")
    tasks = [
        replace(
            partition_task(index, nowhere, nowhere, nowhere),
            features=run.path("features", f"{partition_name(index)}.parquet"),
            run_folder=run.path(),
            model_folder=run.path("model"),
        )
        for index in range(count)
    ]
    return FanOut(client).run(function, tasks, key=lambda task: task.name)


def commit(run: RunFolder, rows: Sequence[PartitionResult]) -> None:
    """Do what a weekly run does with the partitions' answers, but for drawing the report."""
    names = [f"{partition_name(row.index)}.parquet" for row in rows]
    read_summary(run.path()).importance()
    aggregate_scores(*([run.path(part, name) for name in names] for part in ("features", "scores")))
    files = {
        f"{dataset}/{name}": stamp
        for name, row in zip(names, rows, strict=True)
        for dataset, stamp in row.files.items()
    }
    run.commit(
        Manifest(
            run_id=RUN_ID, product=PRODUCT, as_of=AS_OF, target_week_start=TARGET, started_at=SCORED_AT,
            model_version=rows[0].model_version, code_version="0", files=files,
        )
    )  # fmt: skip


def sizes_of(rows: Sequence[PartitionResult], features: int) -> dict[str, int]:
    """Return bytes by dataset."""
    sizes = Counter({"features": features})
    for row in rows:
        sizes.update({name: stamp.size for name, stamp in row.files.items()})
    return dict(sizes)


def run_one(users: int, workers: int, folder: Path, seed: int) -> Measured:
    """Score so many users on a new cluster, commit them to a new lake, and measure it."""
    with tempfile.TemporaryDirectory(prefix="lake-", dir=folder) as root:
        run = Lake(root).start_run(PRODUCT, TARGET, RUN_ID)
        parts, features = fill(run, users, partition_size(users, len(FEATURES), workers), seed)
        with open_client(ClusterSettings(workers=workers)) as client:
            processes = [psutil.Process(pid) for pid in client.run(os.getpid).values()]
            before, mine, start = cpu_of(processes), time.process_time(), time.perf_counter()
            rows = score(client, run, len(parts))
            summarise_partitions(rows, parts)
            wall = time.perf_counter() - start
            used, peak = cpu_of(processes) - before, max(map(peak_mb, processes))
            start = time.perf_counter()
            commit(run, rows)
            took, mine = time.perf_counter() - start, time.process_time() - mine
    return Measured(
        users=users,
        workers=workers,
        partitions=len(parts),
        wall_s=wall,
        worker_s=used,
        client_s=mine,
        commit_s=took,
        peak_mb=peak,
        bytes=sizes_of(rows, features),
        machine_load=os.getloadavg()[0],
    )


def validate(
    sizes: Sequence[int], workers: Sequence[int], rates: Rates, folder: Path
) -> list[dict[str, Any]]:
    """Predict each run, then do it."""
    found = []
    prices, forked = here(read_prices()), replace(rates, start_s=0.0)
    for users in sizes:
        for count in workers:
            predicted = plan_capacity(ScoringJob(users), count, forked, prices)
            measured = run_one(users, count, folder, seed=users)
            found.append({"measured": asdict(measured), "compared": compare(predicted, measured, rates)})
    return found


def compare(predicted: CapacityPlan, measured: Measured, rates: Rates) -> dict[str, tuple[float, float]]:
    """Return predicted and measured figures by name."""
    outputs = sum(size for name, size in predicted.bytes.items() if name != "features")
    wall = predicted.seconds["load"] + predicted.seconds["score"]
    # A local lake stamps what was written too; on S3 it has been stamped as it was written.
    client = predicted.client_s + rates.hash_byte_s * outputs
    # Had the plan known how much of the machine there would be: workers wait, and the client watches them longer.
    had = min(1.0, measured.worker_s / measured.wall_s / measured.workers)
    watch = rates.watch + measured.workers * rates.watch_worker
    longer = watch * (measured.wall_s - predicted.seconds["score"])
    return {
        "wall s": (wall, measured.wall_s),
        "wall s, shared": (wall / had, measured.wall_s),
        "worker CPU s": (predicted.worker_s, measured.worker_s),
        "client CPU s": (client, measured.client_s),
        "client CPU s, shared": (client + longer, measured.client_s),
        **{f"{name} MB": (size / 1e6, measured.bytes[name] / 1e6) for name, size in predicted.bytes.items()},
    }


def count_requests(sizes: Sequence[int], rates: Rates, workers: int) -> list[dict[str, Any]]:
    """Score and commit over a real S3 API, and count what arrives there."""
    found = []
    kinds: Counter[str] = Counter()

    def seen(method: str, path: str) -> bool:
        listed = method == "GET" and ("list-type=" in path or "uploads" in path)
        if method != "DELETE" and "?delete" not in path:
            kinds["writes" if listed or method in ("PUT", "POST") else "reads"] += 1
        return False

    with s3_server() as s3, faulting(s3, Faults(only=seen)) as endpoint:
        os.environ.update(environment(endpoint))
        for users in sizes:
            run = Lake(f"s3://{BUCKET}/{users}", StoreSettings()).start_run(PRODUCT, TARGET, RUN_ID)
            parts, features = fill(run, users, partition_size(users, len(FEATURES), workers), users)
            predicted = plan_capacity(ScoringJob(users), workers, rates, read_prices())
            with open_client(ClusterSettings(workers=workers)) as client:
                kinds.clear()
                rows = score(client, run, len(parts), ConfiguredTask(StoreSettings(), score_partition))
                commit(run, rows)
            compared: dict[str, tuple[float, float]] = {
                "writes": (predicted.requests.writes, kinds["writes"]),
                "reads": (predicted.requests.reads, kinds["reads"]),
            }
            for name, size in sizes_of(rows, features).items():
                compared[f"{name} MB"] = (predicted.bytes[name] / 1e6, size / 1e6)
            found.append({"users": users, "partitions": len(parts), "compared": compared})
    return found


def efficiency(rows: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Share of useful CPU seconds in all of the workers', starting them included; two workers against one."""
    snapshots = write_snapshots(folder, rows, partition_size(rows, len(FEATURES), 2))
    jobs = {
        count: typical(found)
        for count, found in interleaved({n: (snapshots, n) for n in (1, 2)}, rounds, folder).items()
    }
    kernel = kernel_alone(snapshots, rounds)
    shares = {}
    for count, job in jobs.items():
        whole = job.worker_cpu_s + job.start_cpu_s
        useful = sum(job.stages[stage] for stage in USEFUL)
        shares[count] = {
            **asdict(job),
            "useful_s": useful,
            "whole_s": whole,
            "useful": useful / whole,
            "explain": job.stages["explain"] / whole,
            "kernel": 1e-6 * kernel * rows / whole,
        }
    return {"rows": rows, "kernel_us": kernel, "by_workers": shares}


def overhead(rounds: int, folder: Path) -> dict[str, Any]:
    """What one more partition takes, in ms: the same users in few and in many, and partitions of nothing."""
    users, few, many = 200_000, 8, 40
    kinds = {}
    for count in (few, many):
        (folder / f"{count}").mkdir()
        kinds[count] = (write_snapshots(folder / f"{count}", users, users // count), 1)
    jobs = interleaved(kinds, rounds, folder)
    extra = {
        name: 1_000
        * (
            statistics.median(getattr(job, name) for job in jobs[many])
            - statistics.median(getattr(job, name) for job in jobs[few])
        )
        / (many - few)
        for name in ("worker_cpu_s", "client_cpu_s", "wall_s")
    }
    empty = {}
    with open_client(ClusterSettings(workers=1)) as client:
        single = _single(client, _made(folder / "single"), 100)
    with open_client(ClusterSettings(workers=2)) as client:
        for total in (200, 2_000):
            tasks = [Nothing(index) for index in range(total)]
            cpu, start = time.process_time(), time.perf_counter()
            FanOut(client).run(do_nothing, tasks, key=lambda task: task.name)
            wall, cpu = time.perf_counter() - start, time.process_time() - cpu
            empty[total] = {"wall_ms": 1_000 * wall / total, "client_cpu_ms": 1_000 * cpu / total}
    return {
        "users": users,
        "partitions": (few, many),
        "extra_ms": extra,
        "single_user_ms": single,
        "empty": empty,
    }


def _single(client: Any, folder: Path, count: int) -> dict[str, float]:
    """Score partitions of one user each on one worker; ms of each, the first few left out."""
    features = folder / "part.parquet"
    write_features(features, SHAPE, np.random.default_rng(0), 1)
    _model().save(folder / "model")
    (process,) = (psutil.Process(pid) for pid in client.run(os.getpid).values())
    tasks = [partition_task(index, features, folder / "run", folder / "model") for index in range(count + 5)]
    fan_out = FanOut(client)
    fan_out.run(score_partition, tasks[count:], key=lambda task: task.name)
    worker, mine, start = cpu_of([process]), time.process_time(), time.perf_counter()
    fan_out.run(score_partition, tasks[:count], key=lambda task: task.name)
    wall, mine, worker = time.perf_counter() - start, time.process_time() - mine, cpu_of([process]) - worker
    spent = {"worker_cpu_s": worker, "client_cpu_s": mine, "wall_s": wall}
    return {name: 1_000 * seconds / count for name, seconds in spent.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--sizes", default="0.25,0.5,1,2", help="users of validate, in millions")
    parser.add_argument("--workers", default="1,2", help="numbers of workers of validate")
    parser.add_argument("--s3-sizes", default="0.1,0.25", help="users of requests, in millions")
    parser.add_argument("--rows", type=int, default=1_000_000, help="users of efficiency")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--folder", type=Path, help="where to put the data meanwhile; default: temporary files"
    )
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    wanted = arguments.parts.split(",")
    if unknown := set(wanted) - set(PARTS):
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}")
    console, report = Console(width=150), {}
    console.print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    if {"validate", "requests"} & set(wanted):
        rates = calibrate(len(FEATURES), TREES, DEPTH)
        report["rates"] = asdict(rates)
        console.print(
            f"calibrated in {rates.took_s:.0f} s (load {rates.load_average:.1f}): {1e6 * rates.user_s:.1f} us a user, "
            f"{1e3 * rates.partition_s:.0f} ms a partition, {rates.load_s:.2f} s to load"
        )
    with tempfile.TemporaryDirectory(prefix="churn-plan-", dir=arguments.folder) as name:
        folder = Path(name)
        if "validate" in wanted:
            counts = [int(count) for count in arguments.workers.split(",")]
            report["validate"] = validate(_millions(arguments.sizes), counts, rates, folder)
            print_validation(console, report["validate"], WITHIN)
        if "requests" in wanted:
            report["requests"] = count_requests(_millions(arguments.s3_sizes), rates, workers=2)
            print_requests(console, report["requests"], WITHIN)
        if "efficiency" in wanted:
            report["efficiency"] = efficiency(arguments.rows, arguments.rounds, _made(folder / "efficiency"))
            print_efficiency(console, report["efficiency"])
        if "overhead" in wanted:
            report["overhead"] = overhead(arguments.rounds, _made(folder / "overhead"))
            print_overhead(console, report["overhead"])
        if "scale" in wanted:
            report["scale"] = scale(console, _made(folder / "scale"))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", "utf-8")


@lru_cache
def _model() -> Model:
    return fitted_model(np.random.default_rng(0))


def _millions(text: str) -> list[int]:
    return [round(1e6 * float(size)) for size in text.split(",")]


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()
