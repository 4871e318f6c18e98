"""CPU seconds that short commands take: mostly imports.

    churn demo --users 1500 --weeks 20 --into startup
    python -m tests.benchmarks.startup --demo startup

Prints the median over several runs of user and system seconds together, after one run that warms the caches.
"""

import argparse
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import pyarrow.dataset as ds


def main() -> None:
    """Measure `churn --help`, `churn products` and `churn explain`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--demo", type=Path, required=True, help="folder that `churn demo --into` wrote")
    parser.add_argument("--times", type=int, default=7)
    arguments = parser.parse_args()
    out = arguments.demo / "out"
    scores = ds.dataset(next((out / "lake/runs/product=iplayer").glob("*/*/scores")), format="parquet")
    user = scores.head(1, columns=["user_id"])["user_id"][0].as_py()
    commands = {
        "--help": ["--help"],
        "products": ["products", "--data", str(arguments.demo / "no-such-folder")],
        "explain": ["explain", "--product", "iplayer", "--user", user, "--out", str(out)],
    }
    for name, command in commands.items():
        _cpu_seconds(command)
        seconds = statistics.median(_cpu_seconds(command) for _ in range(arguments.times))
        print(f"churn {name:10} {seconds:.2f} CPU s")


def _cpu_seconds(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "flows.cli", *command], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
