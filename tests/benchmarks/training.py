"""What training takes: memory of a fit by rows, CPU time of today's settings and of those before.

    python -m tests.benchmarks.training --rows 200000 --rows 1000000
    python -m tests.benchmarks.training --snapshots FOLDER_OF_A_DEMO

Memory is that of one process that reads the training files and fits the default trees, as a Dask worker
does: the peak of what cannot be given back (anonymous memory), beside the quantised matrix (one byte a value).
Pages of the temporary file of numbers are not counted: the system takes them back when memory is short.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from churn.config.training import TrainingSettings
from churn.jobs.backtest import snapshots
from churn.model.fits import ALL, Fit, TrainingJob, prepare, run_fit
from churn.model.snapshots import SnapshotFiles
from churn.model.training import train

AS_OF = date(2026, 6, 28)
FILE_ROWS, TREES = 100_000, 40
BEFORE = {
    "learners": ("xgboost",),
    "learning_rate": 0.03,
    "max_bin": 256,
    "early_stopping_rounds": 50,
    "validation_folds": 5,
}


def write(folder: Path, rows: int, features: int) -> None:
    """Write snapshots of random numbers at 26 dates, some of which say who leaves."""
    rng = np.random.default_rng(1)
    days = np.array([AS_OF - timedelta(days=14 + 7 * k) for k in range(26)], "datetime64[D]")
    for index, start in enumerate(range(0, rows, FILE_ROWS)):
        count = min(FILE_ROWS, rows - start)
        X = rng.standard_exponential((features, count), np.float32)
        X[rng.random(X.shape, np.float32) < 0.1] = np.nan
        risk = np.nan_to_num(X[: features // 4]).mean(axis=0)
        table = {
            "user_id": [f"user-{start + i:09d}" for i in range(count)],
            "as_of_date": pa.array(days[rng.integers(0, 26, count)]),
            "churned": pa.array((risk + rng.normal(0, 0.1, count) > np.median(risk)).astype(np.int8)),
        }
        table |= {f"f{i:03d}": pa.array(X[i], from_pandas=True) for i in range(features)}
        pq.write_table(pa.table(table), folder / f"part-{index:05d}.parquet", compression="snappy")


def memory(kind: str) -> int:
    """Return this process's memory of a kind now, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) * 1024
    return 0


def measure(folder: Path) -> dict[str, Any]:
    """Prepare and fit in this process; return bytes and seconds."""
    base, peak, over = memory("RssAnon"), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not over.wait(0.02):
            peak = max(peak, memory("RssAnon"))

    watching = threading.Thread(target=watch)
    watching.start()
    started = time.process_time()
    job = TrainingJob("x", AS_OF, TrainingSettings(sampling="all"), threads=2)
    prepared = prepare(job, SnapshotFiles(tuple(str(path) for path in sorted(folder.iterdir()))))
    read, peak_read = time.process_time() - started, peak
    peak = 0
    run_fit(prepared, Fit("xgboost", ALL, TREES))
    over.set()
    watching.join()
    values = len(prepared.rows) * len(prepared.rows.names)
    return {
        "rows": len(prepared.rows),
        "features": len(prepared.rows.names),
        "quantised": values,
        "peak_read": peak_read - base,
        "peak_fit": peak - base,
        "cpu_read": read,
        "cpu_fit": time.process_time() - started - read,
    }


def by_rows(rows: list[int], features: int, console: Console) -> list[dict[str, Any]]:
    """Measure each number of rows in a process of its own."""
    table = Table(title=f"One fit of {TREES} trees to rows x {features} features", title_justify="left")
    for column in (
        "rows",
        "quantised MB",
        "peak while reading MB",
        "peak of the fit MB",
        "ratio",
        "CPU s read",
        "fit",
    ):
        table.add_column(column, justify="right")
    found = []
    for count in rows:
        with tempfile.TemporaryDirectory(prefix="churn-training-") as scratch:
            write(Path(scratch), count, features)
            command = [sys.executable, "-m", "tests.benchmarks.training", "--measure", scratch]
            result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        found.append(result)
        mb = {key: f"{result[key] / 1e6:,.0f}" for key in ("quantised", "peak_read", "peak_fit")}
        table.add_row(
            f"{result['rows']:,}", mb["quantised"], mb["peak_read"], mb["peak_fit"],
            f"{result['peak_fit'] / result['quantised']:.2f}",
            f"{result['cpu_read']:.1f}", f"{result['cpu_fit']:.1f}",
        )  # fmt: skip
    console.print(table)
    return found


def before_and_after(demo: Path, console: Console) -> list[dict[str, Any]]:
    """Train each product of a demo with the settings of before and of today."""
    found = []
    for product in ("iplayer", "sounds"):
        training, _ = snapshots(demo / "data", product, AS_OF - timedelta(days=14))
        settings = TrainingSettings(sampling="all")
        for name, changes in (("before", BEFORE), ("trees alone", {"learners": ("xgboost",)}), ("today", {})):
            started = time.process_time()
            card = train(
                training,
                product=product,
                as_of=AS_OF - timedelta(days=14),
                settings=TrainingSettings.model_validate(settings.model_dump() | changes),
                threads=1,
                code_version="benchmark",
            ).model.card
            cpu = time.process_time() - started
            found.append(
                {"product": product, "settings": name, "cpu": cpu, "trees": card.trees, "rows": card.rows}
            )
            console.print(f"{product}, {name}: {cpu:.1f} CPU s, {card.rows:,} rows, {card.trees} trees")
    return found


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.training", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "--rows", type=int, action="append", default=[], help="training rows; may be repeated"
    )
    parser.add_argument("--features", type=int, default=200)
    parser.add_argument("--snapshots", type=Path, help="a demo's folder: CPU time before and after")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure)))
        return
    console = Console(width=120)
    figures = {
        "memory": by_rows(given.rows, given.features, console) if given.rows else [],
        "cpu": before_and_after(given.snapshots, console) if given.snapshots else [],
    }
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
