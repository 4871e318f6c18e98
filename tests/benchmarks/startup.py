"""CPU seconds of what does not depend on data: short commands, a repeated run, and Prefect's temporary server.

    churn demo --users 1500 --weeks 20 --into startup
    python -m tests.benchmarks.startup --demo startup

Prints the median over several runs of user and system seconds together, after one run that warms the caches.
With ``--whole``, also what `churn run` of iPlayer on the demo's data costs beyond the same work done by
`churn.run` with every module loaded: imports, Prefect's server and client, the command.
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
# The work alone: modules are loaded before the clock starts, and no flow runs.
_WORK = """
import resource, sys
from datetime import date
from importlib import import_module
for name in ("churn.jobs.weekly.job", "churn.model.training", "mlflow", "sklearn.metrics", "xgboost"):
    import_module(name)
import churn
def seconds():
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
before = seconds()
data, out, as_of = sys.argv[1:]
churn.run(churn.load_settings(data, out), "iplayer", date.fromisoformat(as_of))
print(seconds() - before)
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
    parser.add_argument("--whole", action="store_true", help="also time fresh runs (minutes)")
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
    data, as_of = str(arguments.demo / "data"), f"{day - timedelta(days=8)}"
    repeat = ["run", "--data", data, "--product", "iplayer", "--as-of", as_of]
    commands["run again"] = [*repeat, "--out", str(out)]
    for name, command in commands.items():
        program = ["-m", "flows.cli", *command]
        _cpu_seconds(program)
        seconds = statistics.median(_cpu_seconds(program) for _ in range(arguments.times))
        print(f"churn {name:10} {seconds:.2f} CPU s")
    for name, program in {"ours": _OURS, "Prefect's": _PREFECTS}.items():
        seconds = statistics.median(_cpu_seconds(["-c", program], fresh=True) for _ in range(arguments.times))
        print(f"server, {name:9} {seconds:.2f} CPU s")
    if arguments.whole:
        run, work = _whole_runs(["-m", "flows.cli", *repeat], [data, as_of])
        print(
            f"churn run {run:.1f} CPU s, its work alone {work:.1f}: {run - work:.1f} do not depend on the data"
        )


def _whole_runs(command: list[str], place: list[str]) -> tuple[float, float]:
    """CPU seconds of a fresh `churn run` and of its work alone: medians of three, run in turn."""
    runs, works = [], []
    for _ in range(3):
        with TemporaryDirectory() as out:
            runs.append(_cpu_seconds([*command, "--out", f"{out}/flow"], fresh=True))
            work = [sys.executable, "-c", _WORK, place[0], f"{out}/work", place[1]]
            printed = subprocess.run(work, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
            works.append(float(printed.stdout.splitlines()[-1]))
    return statistics.median(runs), statistics.median(works)


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
