"""CPU seconds of what does not depend on data: short commands, a repeated run, and Prefect's temporary server.

    churn demo --users 1500 --weeks 20 --into startup
    python -m tests.benchmarks.startup --demo startup

Prints the median over several runs of user and system seconds together, after one run that warms the caches.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.dataset as ds

ROOT = Path(__file__).parents[2]
# Start a server on an empty home, ask it something, and end it.
_OURS = """
from flows.console import silence_libraries
silence_libraries()
from flows.server.start import start_server
start_server()
from prefect.client.orchestration import get_client
get_client(sync_client=True).hello()
"""
_PREFECTS = _OURS.replace("from flows.server.start import start_server\nstart_server()\n", "")


def main() -> None:
    """Measure short commands, a run of a committed date, and the start and end of Prefect's temporary server."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--demo",
        type=lambda path: Path(path).resolve(),
        required=True,
        help="folder that `churn demo --into` wrote",
    )
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
    day = date.fromisoformat(next((out / "lake/runs/product=iplayer").glob("week_start=*")).name[11:])
    repeat = ["run", "--data", str(arguments.demo / "data"), "--out", str(out), "--product", "iplayer"]
    commands["run again"] = [*repeat, "--as-of", f"{day - timedelta(days=8)}"]
    for name, command in commands.items():
        program = ["-m", "flows.cli", *command]
        _cpu_seconds(program)
        seconds = statistics.median(_cpu_seconds(program) for _ in range(arguments.times))
        print(f"churn {name:10} {seconds:.2f} CPU s")
    for name, program in {"ours": _OURS, "Prefect's": _PREFECTS}.items():
        seconds = statistics.median(_cpu_seconds(["-c", program], fresh=True) for _ in range(arguments.times))
        print(f"server, {name:9} {seconds:.2f} CPU s")


def _cpu_seconds(program: list[str], *, fresh: bool = False) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with TemporaryDirectory() as home:
        variables = {**os.environ, **({"PREFECT_HOME": home} if fresh else {})}
        subprocess.run(
            [sys.executable, *program], check=True, stdout=subprocess.DEVNULL, env=variables, cwd=ROOT
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
