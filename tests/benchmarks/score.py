"""Scoring with explanations at scale: CPU seconds, wall and memory from features to committed scores, SHAP and reasons.

    python -m tests.benchmarks.score --json score.json

Snapshots of 150 features in Parquet partitions (see ``score_data``) are scored by 300 trees of depth 6 on workers
of a real local Dask cluster, through the same fan-out as a weekly run. Parts:

    scaling   one worker, several numbers of users; the main figure is the one of --rows
    stages    CPU seconds of the main figure by stage, and the SHAP kernel on its own
    workers   two worker processes against one
    peers     the same job without us, on a sample: pandas with shap, Dask dataframes with pred_contribs
    chaos     a worker is killed at a random moment, --runs times: are the files those of a calm run?

CPU seconds are those of the worker processes, all their threads included, as the system counts them; those of the client
(with scheduler and nanny), of starting a worker and of loading model and kernel ("load") are given apart. Runs
are interleaved, and figures are medians over --rounds. Peak memory is the largest resident set that a worker
ever had (VmHWM), shared libraries included. Nothing is asserted about time: machines differ and are shared.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from churn.config.cluster import ClusterSettings
from churn.scoring.cluster.client import open_client
from churn.scoring.fanout import FanOut
from churn.scoring.partition import summarise_partitions
from churn.scoring.scorer import score_partition
from tests.benchmarks.score_data import Snapshots, write_snapshots
from tests.benchmarks.score_peers import kernel_alone, peers

PARTS = ("scaling", "stages", "workers", "peers", "chaos")
WORKERS_ROWS = 300_000
_BYTES_PER_ROW = 2_000  # features, and the outputs of one run; generous


@dataclass(frozen=True)
class Job:
    """One run over a cluster: seconds in all, memory of the largest worker.

    Attributes:
        rows: users scored.
        workers: worker processes.
        wall_s: from the first submission to the merged rows.
        worker_cpu_s: CPU of the workers meanwhile, loading of model and kernel included.
        client_cpu_s: CPU of client, scheduler and nannies meanwhile.
        start_cpu_s: CPU of the workers, and of the server that they are forked from, before that.
        peak_mb: largest resident set of a worker.
        output_mb: scores, SHAP and reasons.
        stages: CPU seconds of the workers by stage; "load" is among them.
        machine_load: load average of the last minute.
    """

    rows: int
    workers: int
    wall_s: float
    worker_cpu_s: float
    client_cpu_s: float
    start_cpu_s: float
    peak_mb: float
    output_mb: float
    stages: dict[str, float]
    machine_load: float

    @property
    def work_cpu_s(self) -> float:
        """CPU of the workers without loading, which does not grow with the users."""
        return self.worker_cpu_s - self.stages["load"]

    @property
    def cores(self) -> float:
        """Cores that the workers really had; fewer than workers where others use the machine too."""
        return self.worker_cpu_s / self.wall_s

    @property
    def us_per_row(self) -> float:
        """CPU microseconds of the workers for each user, without loading."""
        return 1e6 * self.work_cpu_s / self.rows


def run_job(snapshots: Snapshots, workers: int, folder: Path) -> Job:
    """Score the snapshots on a new cluster, and measure it."""
    with (
        tempfile.TemporaryDirectory(prefix="run-", dir=folder) as run,
        open_client(ClusterSettings(workers=workers)) as client,
    ):
        tasks = snapshots.tasks(Path(run))
        processes = [psutil.Process(pid) for pid in client.run(os.getpid).values()]
        forked_from = {process.parent() for process in processes} - {None, psutil.Process()}
        server = cpu_of(forked_from)
        before, mine, start = cpu_of(processes), time.process_time(), time.perf_counter()
        rows = FanOut(client).run(score_partition, tasks, key=lambda task: task.name)
        summary = summarise_partitions(rows, snapshots.rows)
        wall, mine = time.perf_counter() - start, time.process_time() - mine
        used = cpu_of(processes) - before
        peak = max(map(peak_mb, processes))
    return Job(
        rows=summary.rows,
        workers=workers,
        wall_s=wall,
        worker_cpu_s=used,
        client_cpu_s=mine,
        start_cpu_s=before + server,
        peak_mb=peak,
        output_mb=summary.bytes / 1e6,
        stages=summary.cpu,
        machine_load=os.getloadavg()[0],
    )


def cpu_of(processes: Iterable[psutil.Process]) -> float:
    """CPU seconds of processes until now, of all their threads, in user and system mode."""
    times = [process.cpu_times() for process in processes]
    return sum(t.user + t.system for t in times)


def peak_mb(process: psutil.Process) -> float:
    """The largest resident set that a process ever had, in MB (Linux)."""
    for line in Path(f"/proc/{process.pid}/status").read_text("utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise SystemExit("this system does not tell the peak memory of a process (VmHWM)")


def typical(jobs: Sequence[Job]) -> Job:
    """Return the medians of runs of one kind."""
    values = [asdict(job) for job in jobs]
    medians = {
        name: statistics.median(each[name] for each in values)
        for name, value in values[0].items()
        if isinstance(value, float)
    }
    stages = {name: statistics.median(job.stages[name] for job in jobs) for name in jobs[0].stages}
    return replace(jobs[0], **medians, stages=stages)


def interleaved(
    kinds: Mapping[Any, tuple[Snapshots, int]], rounds: int, folder: Path
) -> dict[Any, list[Job]]:
    """Run every kind of job (snapshots, workers) once a round."""
    jobs: dict[Any, list[Job]] = {kind: [] for kind in kinds}
    run_job(*next(iter(kinds.values())), folder)  # compiles what is not compiled yet
    for _ in range(rounds):
        for kind, (snapshots, workers) in kinds.items():
            jobs[kind].append(run_job(snapshots, workers, folder))
    return jobs


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="users of the main figure")
    parser.add_argument("--sizes", default="0.1,1,3", help="users of the scaling part, in millions")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--partition-rows", type=int, default=25_000)
    parser.add_argument("--peer-rows", type=int, default=2_000, help="the sample that the peers explain")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=20, help="of the chaos part")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--folder", type=Path, help="where to put the data meanwhile; default: temporary files"
    )
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    wanted = arguments.parts.split(",")
    if unknown := set(wanted) - set(PARTS):
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}")
    console = Console(width=130)
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="churn-score-", dir=arguments.folder) as name:
        folder = Path(name)
        if set(wanted) - {"chaos"}:
            _measure(arguments, wanted, folder, console, report)
        if "chaos" in wanted:
            from tests.scoring.test_worker_kills import many_runs

            (folder / "chaos").mkdir()
            report["chaos"] = many_runs(folder / "chaos", arguments.runs)
            console.print(f"chaos: {report['chaos']}")
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", "utf-8")


def _measure(
    arguments: argparse.Namespace, wanted: list[str], folder: Path, console: Console, report: dict[str, Any]
) -> None:
    sizes = [arguments.rows] if {"scaling", "stages"} & set(wanted) else []
    if "scaling" in wanted:
        sizes = sorted({*sizes, *(round(1e6 * float(size)) for size in arguments.sizes.split(","))})
    shared = min(arguments.rows, WORKERS_ROWS)
    most = max([*sizes, *([shared] if "workers" in wanted else []), arguments.partition_rows])
    if shutil.disk_usage(folder).free < _BYTES_PER_ROW * most:
        raise SystemExit(f"{folder} has not {_BYTES_PER_ROW * most / 1e9:.0f} GB free: give --folder")
    snapshots = write_snapshots(folder, most, arguments.partition_rows, arguments.seed)
    size = sum(path.stat().st_size for path, _ in snapshots.files) / 1e6
    console.print(
        f"{most:,} rows of 150 features in {len(snapshots.files)} partitions, {size:,.0f} MB; "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    if sizes:
        jobs = interleaved({rows: (snapshots.first(rows), 1) for rows in sizes}, arguments.rounds, folder)
        report["scaling"] = [asdict(job) for found in jobs.values() for job in found]
        _print_scaling(console, list(jobs.values()))
        if "stages" in wanted:
            report["kernel_us_per_row"] = kernel_alone(snapshots, arguments.rounds)
            _print_stages(console, typical(jobs[arguments.rows]), report["kernel_us_per_row"])
    if "workers" in wanted:
        part = snapshots.first(shared)
        both = interleaved({workers: (part, workers) for workers in (1, 2)}, arguments.rounds, folder)
        report["workers"] = [asdict(job) for found in both.values() for job in found]
        _print_workers(console, {workers: typical(found) for workers, found in both.items()})
    if "peers" in wanted:
        report["peers"] = peers(snapshots, folder, arguments.peer_rows, arguments.rounds)
        _print_peers(console, report["peers"])


def _print_scaling(console: Console, jobs: list[list[Job]]) -> None:
    table = _table("one worker", "users", "worker CPU s", "of it load", "CPU us / user", "best", "users / CPU-s",
                   "explain", "client CPU s", "wall s", "peak MB", "output MB", "load avg")  # fmt: skip
    for runs in jobs:
        job = typical(runs)
        table.add_row(
            f"{job.rows:,}",
            f"{job.worker_cpu_s:.2f}",
            f"{job.stages['load']:.2f}",
            f"{job.us_per_row:.1f}",
            f"{min(run.us_per_row for run in runs):.1f}",
            f"{job.rows / job.work_cpu_s:,.0f}",
            f"{job.stages['explain'] / job.worker_cpu_s:.0%}",
            f"{job.client_cpu_s:.2f}",
            f"{job.wall_s:.1f}",
            f"{job.peak_mb:.0f}",
            f"{job.output_mb:,.0f}",
            f"{job.machine_load:.1f}",
        )
    console.print(table)
    each, best = (
        [choose(run.us_per_row for run in runs) for runs in jobs] for choose in (statistics.median, min)
    )
    console.print(
        f"time for a user differs by {max(each) / min(each) - 1:.0%} between the sizes (best runs "
        f"{max(best) / min(best) - 1:.0%}); starting the worker took {jobs[0][0].start_cpu_s:.2f} CPU-s more\n"
    )


def _print_stages(console: Console, job: Job, kernel_us: float) -> None:
    table = _table(f"stages of {job.rows:,} users (CPU seconds)", "stage", "s", "share", "us / user")
    other = job.worker_cpu_s - sum(job.stages.values())
    for name, seconds in [*job.stages.items(), ("other", other), ("in all", job.worker_cpu_s)]:
        table.add_row(
            name,
            f"{seconds:.2f}",
            f"{seconds / job.worker_cpu_s:.1%}",
            f"{1e6 * seconds / job.rows:.2f}",
        )
    console.print(table)
    console.print(
        f"the SHAP kernel on its own takes {kernel_us:.2f} us a user: {kernel_us / job.us_per_row:.0%} of the work\n"
    )


def _print_workers(console: Console, jobs: dict[Any, Job]) -> None:
    table = _table(
        f"{jobs[1].rows:,} users",
        "workers",
        "wall s",
        "cores had",
        "worker CPU s",
        "client CPU s",
        "peak MB each",
        "load avg",
    )
    for workers, job in jobs.items():
        table.add_row(
            f"{workers}",
            f"{job.wall_s:.2f}",
            f"{job.cores:.2f}",
            f"{job.worker_cpu_s:.2f}",
            f"{job.client_cpu_s:.2f}",
            f"{job.peak_mb:.0f}",
            f"{job.machine_load:.1f}",
        )
    console.print(table)
    one, two = jobs[1], jobs[2]
    console.print(
        f"two workers: {one.wall_s / two.wall_s:.2f}x as fast, {two.worker_cpu_s / one.worker_cpu_s:.2f}x the CPU\n"
    )


def _print_peers(console: Console, found: list[dict[str, Any]]) -> None:
    table = _table(
        "the same job by others", "", "rows", "CPU us / user", "CPU-s a million", "churn is", "error"
    )
    ours = found[0]["cpu_us_per_row"]
    for peer in found:
        table.add_row(
            peer["name"],
            f"{peer['rows']:,}",
            f"{peer['cpu_us_per_row']:,.1f}",
            f"{peer['cpu_us_per_row']:,.0f}",
            f"{peer['cpu_us_per_row'] / ours:,.1f}x",
            f"{peer['error']:.1e}" if peer["error"] is not None else "",
        )
    console.print(table)


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title)
    table.add_column(first)
    for heading in others:
        table.add_column(heading, justify="right")
    return table


if __name__ == "__main__":
    main()
