"""The SQL of features: all of it from nothing, a new week, and a naive pipeline that scans raw activity for each step.

    python -m tests.benchmarks.features --json features.json --users 50000,200000 --weeks 30

Simulated people of iPlayer and Sounds; DuckDB. Each job runs in a process of its own and makes the features of both products,
those of the as-of dates to learn from included. CPU seconds are the process's, with DuckDB in it; peak memory is its largest
resident set (VmHWM). Parts:

    full       from raw Parquet files and nothing else
    increment  the two weeks before were run; files with the new week's rows are added, as in a lake
    naive      ``tests.benchmarks.features_naive``, from raw Parquet files; it makes the features that read activity
    history    the increment after 30, 45 and 60 weeks of the same people

Before any time is told, the naive features are compared with ours (whole numbers and texts exactly, others to 1e-9 of their
size), and the engine's own profile of an increment must say that it read the new week's raw rows, each once. Jobs that are
compared take turns over --rounds, and figures are medians. Nothing is asserted about time.
"""

import argparse
import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psutil
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from churn.config.load import load_settings
from churn.config.settings import Settings
from churn.core.calendar import WEEK
from churn.dataset.build import plan_dataset, run_steps
from churn.dataset.run_schemas import drop_schema
from churn.sources.simulator import LAST_SUNDAY, simulate
from churn.sources.simulator.write import ACTIVITY, COHORTS_FROM
from churn.warehouse.duckdb.client import DuckDBWarehouse
from tests.benchmarks import features_naive
from tests.benchmarks.score import peak_mb
from tests.support.profiles import ProfiledWarehouse

ROOT = Path(__file__).parents[2]
PARTS = ("full", "increment", "naive", "history")
PRODUCTS = ("iplayer", "sounds")
MEMORY = "8GB"


@dataclasses.dataclass(frozen=True)
class Data:
    """A data folder as a lake has it: one set of files of activity up to the week before the last, one of the last.

    Attributes:
        folder: with ``before``, without the last week's files, and ``after``, with them.
        weeks: of history.
        rows: of raw activity.
        new_rows: those of the last week.
    """

    folder: str
    users: int
    weeks: int
    rows: int
    new_rows: int

    def settings(self, stage: str, sampling: str) -> Settings:
        """The settings of both products."""
        data = Path(self.folder) / stage
        training: dict[str, Any] = {"sampling": sampling} | ({"max_dates": 8} if sampling == "all" else {})
        return load_settings(
            data, data / "out", {"products": {name: {"training": training} for name in PRODUCTS}}
        )


@dataclasses.dataclass(frozen=True)
class Job:
    """What a process is to do.

    Attributes:
        what: a key of ``JOBS``.
        data: what it reads.
        sampling: which users are learnt from at which dates.
        database: DuckDB's file.
        threads: of DuckDB.
    """

    what: str
    data: Data
    sampling: str
    database: str
    threads: int


def split(source: Path, folder: Path, users: int, weeks: int) -> Data:
    """Make a data folder of a simulation's last weeks."""
    start = LAST_SUNDAY - weeks * WEEK + timedelta(days=1)
    last = LAST_SUNDAY - WEEK + timedelta(days=1)
    before, after = folder / "before", folder / "after"
    rows = new_rows = 0
    for table in sorted((source / "tables").iterdir()):
        for stage in (before, after):
            (stage / "tables" / table.name).mkdir(parents=True)
        for path in sorted(table.iterdir()):
            target = before / "tables" / table.name / path.name
            if table.name == ACTIVITY:
                rows += _copy_days(path, target, start, last)
                new = after / "tables" / table.name / f"{path.stem}-{last}.parquet"
                new_rows += _copy_days(path, new, last, LAST_SUNDAY + timedelta(days=1))
            else:
                os.link(path, target)
            os.link(target, after / "tables" / table.name / path.name)
    for stage in (before, after):
        (stage / "churn.toml").write_text('source = "bbc"\n', "utf-8")
    return Data(str(folder), users, weeks, rows + new_rows, new_rows)


def _copy_days(source: Path, target: Path, start: date, end: date) -> int:
    """Copy the rows of some days, in row groups as they are; return their number."""
    with (
        pq.ParquetFile(source) as file,
        pq.ParquetWriter(target, file.schema_arrow, compression="zstd", compression_level=1) as into,
    ):
        rows = 0
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            days = table["date_of_event"]
            table = table.filter(pc.and_(pc.greater_equal(days, start), pc.less(days, end)))
            if table.num_rows:
                into.write_table(table, table.num_rows)
                rows += table.num_rows
    return rows


def features(warehouse: DuckDBWarehouse, settings: Settings, as_of: date) -> dict[str, int]:
    """Make both products' features of an as-of date, and drop what a run drops; return their rows."""
    found = make_features(warehouse, settings, as_of)
    for name in PRODUCTS:
        drop_schema(warehouse, schema_of(name, as_of))
    return found


def make_features(warehouse: DuckDBWarehouse, settings: Settings, as_of: date) -> dict[str, int]:
    """Make both products' features of an as-of date, as a run has them before its end; return their rows."""
    found = {}
    for name in PRODUCTS:
        schema, today = schema_of(name, as_of), LAST_SUNDAY + timedelta(days=1)
        made = plan_dataset(warehouse, settings, name, as_of, schema, today=today)
        found[name] = run_steps(warehouse, made)["feature_set"]
    return found


def schema_of(name: str, as_of: date) -> str:
    """A run's schema."""
    return f"bench_{name}_{as_of:%Y%m%d}"


def _full(job: Job, warehouse: DuckDBWarehouse) -> dict[str, int]:
    return features(warehouse, job.data.settings("after", job.sampling), LAST_SUNDAY)


def _compared(job: Job, warehouse: DuckDBWarehouse) -> dict[str, int]:
    return make_features(warehouse, job.data.settings("after", job.sampling), LAST_SUNDAY)


def _before(job: Job, warehouse: DuckDBWarehouse) -> dict[str, int]:
    settings = job.data.settings("before", job.sampling)
    features(warehouse, settings, LAST_SUNDAY - 2 * WEEK)
    return features(warehouse, settings, LAST_SUNDAY - WEEK)


def _naive(job: Job, warehouse: DuckDBWarehouse) -> dict[str, int]:
    settings = job.data.settings("after", job.sampling)
    first = LAST_SUNDAY - job.data.weeks * WEEK + timedelta(days=1)
    return {name: features_naive.build(warehouse, settings, name, first, LAST_SUNDAY) for name in PRODUCTS}


JOBS = {"full": _full, "compared": _compared, "before": _before, "increment": _full, "naive": _naive}


def carry_out(job: Job) -> dict[str, Any]:
    """Do a job in this process; return its figures."""
    process, cpu, start = psutil.Process(), time.process_time(), time.perf_counter()
    stage = "before" if job.what == "before" else "after"
    data = Path(job.data.folder) / stage
    with closing(DuckDBWarehouse(Path(job.database), data, memory=MEMORY, threads=job.threads)) as warehouse:
        snapshots = JOBS[job.what](job, warehouse)
    return {
        "what": job.what,
        "users": job.data.users,
        "weeks": job.data.weeks,
        "raw_rows": job.data.rows,
        "new_rows": job.data.new_rows,
        "snapshots": sum(snapshots.values()),
        "cpu_s": time.process_time() - cpu,
        "wall_s": time.perf_counter() - start,
        "peak_mb": peak_mb(process),
        "load": os.getloadavg()[0],
    }


def rows_read(job: Job) -> list[int]:
    """Do an increment in this process; return the rows of each scan of raw activity, by the engine's own profile.

    Scans that look whether there are any rows (``limit 1``) are left out.
    """
    data = Path(job.data.folder) / "after"
    with closing(
        ProfiledWarehouse(Path(job.database), data, memory=MEMORY, threads=job.threads)
    ) as warehouse:
        _full(job, warehouse)
        return [rows for sql, rows in warehouse.scans(ACTIVITY) if rows and not sql.endswith("limit 1")]


def differences(job: Job, naive_database: Path) -> dict[str, dict[str, int]]:
    """Return by product in how many snapshots each column of ours differs from the naive one."""
    data, found = Path(job.data.folder) / "after", {}
    with closing(DuckDBWarehouse(Path(job.database), data, memory=MEMORY, threads=job.threads)) as warehouse:
        warehouse.execute(f"attach '{naive_database}' as naive (read_only)")
        for name in PRODUCTS:
            ours = f"{schema_of(name, LAST_SUNDAY)}.feature_set"
            found[name] = features_naive.compare(warehouse, ours, "naive", features_naive.schema_of(name))
    return found


def run(job: Job, template: Path | None = None) -> dict[str, Any]:
    """Do a job in a process of its own, on a database that is new or a copy."""
    for left in (job.database, f"{job.database}.wal"):  # of a run that was stopped
        Path(left).unlink(missing_ok=True)
    if template:
        shutil.copy(template, job.database)
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.features",
        "--job",
        json.dumps(dataclasses.asdict(job)),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{job.what} of {job.data.users:,} users failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


class Bench:
    """The jobs on one data folder."""

    def __init__(self, data: Data, sampling: str, threads: int) -> None:
        """Run the week before, from which increments begin."""
        self.data, self.sampling, self.threads = data, sampling, threads
        self.template = self.job("before").database
        run(self.job("before"))

    def job(self, what: str) -> Job:
        """A job with a database of its own."""
        place = f"{self.data.folder}/{what}.duckdb"
        return Job(what, self.data, self.sampling, place, self.threads)

    def run(self, what: str) -> dict[str, Any]:
        """Do a job of a kind."""
        return run(self.job(what), Path(self.template) if what == "increment" else None)

    def check(self) -> int:
        """Check that ours and naive features are equal, and which raw rows are read; return how many columns were compared."""
        for what in ("compared", "naive"):
            if not Path(self.job(what).database).exists():
                self.run(what)
        different = differences(self.job("compared"), Path(self.job("naive").database))
        wrong = {
            f"{product}: {name}": count
            for product, found in different.items()
            for name, count in found.items()
            if count
        }
        assert not wrong, f"snapshots in which columns differ from the naive ones: {wrong}"
        self.check_rows_read()
        return sum(len(found) for found in different.values())

    def check_rows_read(self) -> None:
        """Check that an increment reads the new week's raw rows, each once."""
        job = dataclasses.replace(self.job("increment"), database=f"{self.data.folder}/profiled.duckdb")
        shutil.copy(self.template, job.database)
        read = rows_read(job)
        assert read == [self.data.new_rows], (read, self.data.new_rows)
        Path(job.database).unlink()


def medians(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The medians of runs of one kind."""
    return {
        name: statistics.median(each[name] for each in found)
        if name.endswith(("_s", "_mb", "load"))
        else value
        for name, value in found[0].items()
    }


def interleaved(runs: Sequence[tuple[Bench, str]], rounds: int) -> list[dict[str, Any]]:
    """Do every job once a round; return medians, in the jobs' order."""
    found = [[bench.run(what) for bench, what in runs] for _ in range(rounds)]
    return [medians(kind) for kind in zip(*found, strict=True)]


def measure(
    folder: Path, users: int, weeks: int, parts: Sequence[str], extra_rows: float, sampling: str | None,
    threads: int, rounds: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """Compare full, increment and naive at one size."""
    simulate(folder / "simulated", users=users, weeks=weeks, extra_rows=extra_rows)
    sampling = sampling or usual_sampling(users)
    bench = Bench(split(folder / "simulated", folder / "lake", users, weeks), sampling, threads)
    found = interleaved([(bench, what) for what in parts], rounds)
    columns = bench.check()
    shutil.rmtree(folder)
    return [{**each, "sampling": sampling, "columns_compared": columns} for each in found]


def usual_sampling(users: int) -> str:
    """The sampling that a simulation of so many people sets in its ``churn.toml``."""
    return "all" if users < COHORTS_FROM else "cohort"


def measure_history(
    folder: Path, users: int, lengths: Sequence[int], extra_rows: float, sampling: str | None, threads: int,
    rounds: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """The increment after histories of several lengths: the same people's last weeks."""
    simulate(folder / "simulated", users=users, weeks=max(lengths), extra_rows=extra_rows)
    sampling = sampling or usual_sampling(users)
    benches = []
    for weeks in lengths:
        benches.append(
            Bench(split(folder / "simulated", folder / str(weeks), users, weeks), sampling, threads)
        )
        benches[-1].check_rows_read()
    found = interleaved([(bench, "increment") for bench in benches], rounds)
    shutil.rmtree(folder)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--users", default="50000,200000", help="accounts, at each size")
    parser.add_argument("--weeks", type=int, default=30, help="of history")
    parser.add_argument("--history-users", type=int, default=20_000)
    parser.add_argument("--history", default="30,45,60", help="weeks of the part history")
    parser.add_argument(
        "--sampling", choices=["cohort", "all"],
        help="cohort: each user at one past date, as in the pipeline before; all: at each of the last 8;\n"
        "default: what a simulation of that size sets, all below 100,000 users",
    )  # fmt: skip
    parser.add_argument(
        "--extra-rows", type=float, default=1.9, help="of activity, a day: 50,000 users have ten million rows"
    )
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--folder", type=Path, help="where to put the data meanwhile; default: temporary files"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        given = json.loads(arguments.job)
        print(json.dumps(carry_out(Job(**{**given, "data": Data(**given["data"])}))))
        return
    wanted = arguments.parts.split(",")
    if unknown := set(wanted) - set(PARTS):
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}")
    how = (arguments.extra_rows, arguments.sampling, arguments.threads, arguments.rounds)
    report: dict[str, Any] = {}
    console = Console(width=140)
    with tempfile.TemporaryDirectory(prefix="churn-features-", dir=arguments.folder) as name:
        sizes = [int(size) for size in arguments.users.split(",")] if set(wanted) - {"history"} else []
        measures = {
            f"{users:,} users": lambda users=users: measure(
                Path(name) / str(users),
                users,
                arguments.weeks,
                [part for part in wanted if part != "history"],
                *how,
            )
            for users in sizes
        }
        if "history" in wanted:
            lengths = [int(weeks) for weeks in arguments.history.split(",")]
            measures["history"] = lambda: measure_history(
                Path(name) / "history", arguments.history_users, lengths, *how
            )
        for title, measured in measures.items():
            report[title] = measured()
            _print(console, title, report[title])
            if arguments.json:
                arguments.json.write_text(json.dumps(report, indent=2) + "\n", "utf-8")


def _print(console: Console, title: str, found: Sequence[dict[str, Any]]) -> None:
    table = Table(title=title)
    headings = (
        "job", "weeks", "raw rows", "new rows", "snapshots", "CPU s", "of full", "wall s", "peak MB", "load avg",
    )  # fmt: skip
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "job" else "right")
    full = next((each["cpu_s"] for each in found if each["what"] == "full"), None)
    for each in found:
        table.add_row(
            each["what"],
            f"{each['weeks']}",
            f"{each['raw_rows']:,}",
            f"{each['new_rows']:,}",
            f"{each['snapshots']:,}",
            f"{each['cpu_s']:.1f}",
            f"{each['cpu_s'] / full:.2f}" if full else "",
            f"{each['wall_s']:.1f}",
            f"{each['peak_mb']:.0f}",
            f"{each['load']:.1f}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
