"""Between warehouse and lake: unloading snapshots, scoring what was unloaded, publishing scores and reasons.

    python -m tests.benchmarks.warehouse --json warehouse.json

Each job runs in a process of its own, which is told what to do on its command line. Its CPU seconds are the program's, with DuckDB
in it; the stand-ins for Redshift and S3 run in this process and in PostgreSQL's, so their time is only in the wall seconds. Peak
memory is the job's largest resident set (VmHWM) less what it had before it began. Parts:

    unload    snapshots in DuckDB -> Parquet -> scored; the same rows by DuckDB's own COPY
    publish   scores and five reasons a user into DuckDB, at several sizes
    redshift  both through Redshift's and S3's stand-ins; the same rows fetched and inserted by the driver

Jobs that are compared take turns over --rounds, and figures are medians. Nothing is asserted about time.
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil
from rich.console import Console
from rich.table import Table

from churn.warehouse.base import Warehouse
from tests.benchmarks import warehouse_data
from tests.benchmarks.score import peak_mb

ROOT = Path(__file__).parents[2]
PARTS = ("unload", "publish", "redshift")


@dataclasses.dataclass(frozen=True)
class Job:
    """What a process is to do.

    Attributes:
        what: a key of ``JOBS``.
        rows: users.
        folder: of its data, and for what it writes: a path or a URL.
        local: a folder on this machine, with the model and DuckDB's file.
        redshift: settings of the warehouse; DuckDB without.
    """

    what: str
    rows: int
    folder: str
    local: str
    redshift: Mapping[str, Any] | None = None

    def open(self) -> Warehouse:
        """Open the warehouse."""
        return warehouse_data.open_warehouse(Path(self.local), self.redshift)


def _unload(job: Job, warehouse: Warehouse) -> None:
    warehouse_data.unload_snapshots(warehouse, f"{job.folder}/unloaded", job.rows)


def _unload_and_score(job: Job, warehouse: Warehouse) -> None:
    files = warehouse_data.unload_snapshots(warehouse, f"{job.folder}/unloaded", job.rows)
    warehouse_data.score(files, Path(job.local) / "model", f"{job.folder}/run")


def _publish(job: Job, warehouse: Warehouse) -> None:
    warehouse_data.publish(warehouse, job.folder, job.rows)


JOBS = {
    "unload": _unload,
    "unload and score": _unload_and_score,
    "publish": _publish,
    "DuckDB's COPY": lambda job, warehouse: warehouse_data.copy_by_duckdb(warehouse, f"{job.local}/copy"),
    "driver and pandas": lambda job, warehouse: warehouse_data.fetch_by_driver(
        warehouse, f"{job.local}/fetched.parquet"
    ),
    "rows by the driver": lambda job, warehouse: warehouse_data.insert_by_driver(warehouse, job.folder),
}


def carry_out(job: Job) -> dict[str, Any]:
    """Do a job in this process; return its figures."""
    process = psutil.Process()
    with closing(job.open()) as warehouse:
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
        before, cpu, start = process.memory_info().rss / 1e6, time.process_time(), time.perf_counter()
        JOBS[job.what](job, warehouse)
        return {
            "what": job.what,
            "rows": job.rows,
            "cpu_s": time.process_time() - cpu,
            "wall_s": time.perf_counter() - start,
            "peak_mb": peak_mb(process) - before,
            "load": os.getloadavg()[0],
        }


def run(job: Job) -> dict[str, Any]:
    """Do a job in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.warehouse",
        "--job",
        json.dumps(dataclasses.asdict(job)),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{job.what} of {job.rows:,} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def interleaved(jobs: Sequence[Job], rounds: int) -> list[dict[str, Any]]:
    """Do every job once a round; return medians, in the jobs' order."""
    found = [[run(job) for job in jobs] for _ in range(rounds)]
    return [
        {
            name: statistics.median(each[name] for each in kind)
            if name.endswith(("_s", "_mb", "load"))
            else value
            for name, value in kind[0].items()
        }
        for kind in zip(*found, strict=True)
    ]


def measure_unload(folder: Path, rows: int, rounds: int) -> list[dict[str, Any]]:
    """Unload and score on DuckDB, and DuckDB's own COPY."""
    warehouse_data.make_snapshots(folder, rows)
    with closing(warehouse_data.open_warehouse(folder, None)) as warehouse:
        warehouse_data.fill(warehouse, warehouse_data.snapshot_files(folder))
    kinds = ("unload", "DuckDB's COPY", "unload and score")
    return interleaved([Job(kind, rows, str(folder), str(folder)) for kind in kinds], rounds)


def measure_publish(folder: Path, sizes: Sequence[int], rounds: int) -> list[dict[str, Any]]:
    """Publish into a fresh DuckDB file at each size: every round's file is the one before, whose rows it replaces."""
    jobs = []
    for rows in sizes:
        place = folder / str(rows)
        warehouse_data.write_run(str(place), rows)
        jobs.append(Job("publish", rows, str(place), str(place)))
    return interleaved(jobs, rounds)


def measure_redshift(folder: Path, sizes: Sequence[int], rounds: int) -> list[dict[str, Any]]:
    """Unload, score and publish through the stand-ins; at the first size also by rows through the driver."""
    from tests.stand_ins.postgres import postgres_server
    from tests.stand_ins.redshift import Front
    from tests.stand_ins.s3 import BUCKET, environment, s3_server
    from tests.support.fixtures_aws import LOGIN, PASSWORD, ROLE

    found = []
    with postgres_server() as postgres, s3_server() as s3:
        variables = {
            **environment(s3.endpoint),
            "CHURN_REDSHIFT_USER": LOGIN,
            "CHURN_REDSHIFT_PASSWORD": PASSWORD,
        }
        for rows in sizes:
            with ExitStack() as stack:
                stack.enter_context(patch.dict(os.environ, variables))
                database = stack.enter_context(postgres.database())
                front = Front(postgres.port, s3)
                stack.callback(front.close)
                settings = {
                    "kind": "redshift", "host": "127.0.0.1", "port": front.port, "database": database,
                    "auth": "environment", "ssl": "prefer", "iam_role": ROLE,
                }  # fmt: skip
                local, url = folder / f"redshift-{rows}", f"s3://{BUCKET}/{rows}"
                warehouse_data.make_snapshots(local, rows)
                warehouse_data.upload(local / "features", f"{url}/features")
                warehouse_data.write_run(url, rows)
                with closing(warehouse_data.open_warehouse(local, settings)) as warehouse:
                    warehouse_data.fill(
                        warehouse, [f"{url}/features/{path.name}" for path in warehouse_data.paths_of(local)]
                    )
                # The rivals need minutes for a million users: they run at the first size only.
                rivals = ("driver and pandas", "rows by the driver") if rows == sizes[0] else ()
                kinds = ("unload", "unload and score", "publish", *rivals)
                found += interleaved([Job(kind, rows, url, str(local), settings) for kind in kinds], rounds)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="users of the unload part")
    parser.add_argument("--sizes", default="0.25,0.5,1,2,4", help="users of the publish part, in millions")
    parser.add_argument("--stand-in-sizes", default="0.1,0.2", help="users of the redshift part, in millions")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--folder", type=Path, help="where to put the data meanwhile; default: temporary files"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        print(json.dumps(carry_out(Job(**json.loads(arguments.job)))))
        return
    wanted = arguments.parts.split(",")
    if unknown := set(wanted) - set(PARTS):
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}")
    sizes, small = (
        [round(1e6 * float(size)) for size in text.split(",")]
        for text in (arguments.sizes, arguments.stand_in_sizes)
    )
    report, console = {}, Console(width=130)
    with tempfile.TemporaryDirectory(prefix="churn-warehouse-", dir=arguments.folder) as name:
        folder = Path(name)
        measures = {
            "unload": lambda: measure_unload(folder / "unload", arguments.rows, arguments.rounds),
            "publish": lambda: measure_publish(folder / "publish", sizes, arguments.rounds),
            "redshift": lambda: measure_redshift(folder / "redshift", small, arguments.rounds),
        }
        for part in wanted:
            report[part] = measures[part]()
            _print(console, part, report[part])
            if arguments.json:
                arguments.json.write_text(json.dumps(report, indent=2) + "\n", "utf-8")


def _print(console: Console, part: str, found: Sequence[dict[str, Any]]) -> None:
    table = Table(title=part)
    for heading in (
        "job",
        "users",
        "CPU s",
        "CPU us / user",
        "wall s",
        "users / wall s",
        "peak MB",
        "load avg",
    ):
        table.add_column(heading, justify="left" if heading == "job" else "right")
    for each in found:
        rows = each["rows"]
        table.add_row(
            each["what"],
            f"{rows:,}",
            f"{each['cpu_s']:.2f}",
            f"{1e6 * each['cpu_s'] / rows:.1f}",
            f"{each['wall_s']:.1f}",
            f"{rows / each['wall_s']:,.0f}",
            f"{each['peak_mb']:.0f}",
            f"{each['load']:.1f}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
