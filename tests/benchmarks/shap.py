"""Exact SHAP contributions: CPU time of ours, of XGBoost's and of other packages, on the same models and rows.

    python -m tests.benchmarks.shap --json shap.json

Three models of 150 features, 11 % of whose values are missing: 300 trees of depth 6, 500 of depth 8, and 100 of
31 leaves grown leaf by leaf. Everybody has one thread. Runs are interleaved, a round of everybody after another,
and figures are medians over the rounds of CPU time for each row; the slow ones explain fewer rows. Errors are
the greatest difference from XGBoost's `pred_contribs` in log-odds. Compilation is measured in processes of
its own. Packages that are not installed are left out.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pandas as pd
import psutil
import shap
import xgboost as xgb
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from churn.explain.treeshap import TreeShap

FEATURES, MISSING, ROWS = 150, 0.11, 12_000
MODELS: dict[str, tuple[int, dict[str, Any]]] = {
    "300 trees, depth 6": (300, {"max_depth": 6}),
    "500 trees, depth 8": (500, {"max_depth": 8}),
    "100 trees, 31 leaves": (100, {"grow_policy": "lossguide", "max_leaves": 31, "max_depth": 0}),
}
_COLD = """
import json, time
def cpu(work):
    start = time.process_time()
    work()
    return time.process_time() - start
def start_numba():
    from numba.core.registry import cpu_target
    cpu_target.typing_context.refresh()
    cpu_target.target_context.refresh()
def import_churn():
    import churn.explain.treeshap
def load():
    from churn.explain.kernel import kernel
    kernel.ready()
def import_numba():
    import numba
names = ("import_numba", "start_numba", "import_churn", "kernel")
print(json.dumps(dict(zip(names, map(cpu, (import_numba, start_numba, import_churn, load))))))
"""

_COUNT = "for _ in range(8_000_000): pass"

Floats = NDArray[np.float32]


@dataclass
class Contender:
    """Somebody who explains rows.

    Attributes:
        name: of the package.
        explain: rows -> contributions, with or without a last column for the bias; or margins.
        rows: how many it is given in each round.
        exact: whether its result is compared.
        once: it runs in the first round only: its seconds hardly depend on the rows, and are many.
        cpu: CPU seconds of each round.
        wall: wall seconds of each round.
        error: greatest difference from `pred_contribs`.
    """

    name: str
    explain: Callable[[Floats], Any]
    rows: int
    exact: bool = True
    once: bool = False
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    error: float | None = None

    def result(self) -> dict[str, Any]:
        """Microseconds and rows for each CPU second, as medians over the rounds."""
        cpu, wall = statistics.median(self.cpu) / self.rows, statistics.median(self.wall) / self.rows
        return {
            "name": self.name,
            "rows": self.rows,
            "cpu_us_per_row": 1e6 * cpu,
            "wall_us_per_row": 1e6 * wall,
            "rows_per_cpu_second": 1 / cpu,
            "error": self.error,
        }


def made_up_data(seed: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Return (rows, 150) values, some missing, and labels with effects and interactions in noise."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(ROWS, FEATURES)).astype(np.float32)
    X[rng.random(X.shape) < MISSING] = np.nan
    known = np.nan_to_num(X)
    signal = known[:, :40] @ rng.normal(size=40) + 2 * known[:, 0] * known[:, 1]
    return X, signal + 4 * rng.normal(size=ROWS) > 0


def train(X: Floats, y: NDArray[np.bool_], trees: int, shape: dict[str, Any]) -> xgb.Booster:
    """Fit a model of one of the shapes."""
    params = {"objective": "binary:logistic", "eta": 0.05, "nthread": 1, "seed": 1, "max_bin": 64}
    params |= {"subsample": 0.3, "colsample_bytree": 0.5, "min_child_weight": 1}
    return xgb.train(params | shape, xgb.QuantileDMatrix(X, y, max_bin=64), trees)


def contenders(booster: xgb.Booster, rows: int, slow_rows: int) -> list[Contender]:
    """Everybody who is installed."""
    ours = TreeShap(booster)
    found = [
        Contender("churn", ours.contributions, rows),
        Contender(
            "margins only (inplace_predict)",
            lambda X: booster.inplace_predict(X, predict_type="margin"),
            rows,
            exact=False,
        ),
        Contender("xgboost pred_contribs", _pred_contribs(booster), slow_rows),
        Contender("shap.TreeExplainer", _shap(booster), slow_rows),
    ]
    if importlib.util.find_spec("fasttreeshap_fixed"):
        found.append(Contender("fasttreeshap-fixed", _fasttreeshap(booster), slow_rows))
    if importlib.util.find_spec("woodelf"):
        found.append(Contender("woodelf-explainer", _woodelf(booster), rows, once=True))
    return found


def _pred_contribs(booster: xgb.Booster) -> Callable[[Floats], Any]:
    return lambda X: booster.predict(xgb.DMatrix(X), pred_contribs=True)


def _shap(booster: xgb.Booster) -> Callable[[Floats], Any]:
    explainer = shap.TreeExplainer(booster, feature_perturbation="tree_path_dependent")
    explainer.model.model_type = "internal"  # its own algorithm; else it asks XGBoost
    return lambda X: explainer.shap_values(X, check_additivity=False)


def _fasttreeshap(booster: xgb.Booster) -> Callable[[Floats], Any]:
    from fasttreeshap_fixed import TreeExplainer

    explainer = TreeExplainer(booster, algorithm="v1", n_jobs=1)  # v2 errs where values are missing
    return lambda X: explainer.shap_values(X, check_additivity=False)


def _woodelf(booster: xgb.Booster) -> Callable[[Floats], Any]:
    from woodelf import WoodelfExplainer

    explainer = WoodelfExplainer(booster, feature_perturbation="tree_path_dependent")
    names = [f"f{i}" for i in range(FEATURES)]
    return lambda X: explainer.shap_values(pd.DataFrame(X, columns=names), verbose=False)


def measure(who: list[Contender], X: Floats, rounds: int) -> None:
    """Fill in times and errors. Who fails or never ends is said, and left out."""
    reference = next(c for c in who if c.name.endswith("pred_contribs"))
    expected = reference.explain(X[: reference.rows])
    for contender in list(who):
        n = min(contender.rows, reference.rows)
        try:
            found = np.asarray(contender.explain(X[:n]))
        except Exception as error:  # another package's; whatever it is, the others are still measured
            print(f"{contender.name} failed: {type(error).__name__}: {error}", file=sys.stderr)
            who.remove(contender)
            continue
        if contender.exact:
            contender.error = float(np.abs(found[:, :FEATURES] - expected[:n, :FEATURES]).max())
    for _ in range(rounds):
        for contender in who:
            if contender.once and contender.cpu:
                continue
            rows = X[: contender.rows]
            cpu, wall = time.process_time(), time.perf_counter()
            contender.explain(rows)
            contender.cpu.append(time.process_time() - cpu)
            contender.wall.append(time.perf_counter() - wall)


def scaling(booster: xgb.Booster, X: Floats, rounds: int) -> dict[str, float]:
    """How many times as fast two threads are as one, and what a row costs in CPU time then.

    Beside it, in turn, what the machine itself allows just now: two processes that only count, against one.
    """
    ours = TreeShap(booster)
    wall: dict[str, list[float]] = {}
    cpu: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, work in {
            "one": lambda: ours.contributions(X),
            "two": lambda: ours.contributions(X, threads=2),
            "one counts": lambda: _count(1),
            "two count": lambda: _count(2),
        }.items():
            start, used = time.perf_counter(), time.process_time()
            work()
            wall.setdefault(name, []).append(time.perf_counter() - start)
            cpu.setdefault(name, []).append(time.process_time() - used)
    middle = {name: statistics.median(seconds) for name, seconds in wall.items()}
    return {
        "rows": len(X),
        "ratio": middle["one"] / middle["two"],
        "best": min(wall["one"]) / min(wall["two"]),
        "machine": 2 * middle["one counts"] / middle["two count"],
        "cpu_of_two": statistics.median(cpu["two"]) / statistics.median(cpu["one"]),
    }


def _count(processes: int) -> None:
    counting = [subprocess.Popen([sys.executable, "-ISc", _COUNT]) for _ in range(processes)]
    for process in counting:
        process.wait()


def compilation() -> dict[str, dict[str, float]]:
    """CPU seconds of a first process, that compiles, and of a second one, that reads the cache."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="churn-numba-") as folder:
        for process in ("first", "second"):
            out = subprocess.run(
                [sys.executable, "-c", _COLD],
                env=os.environ | {"NUMBA_CACHE_DIR": folder},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            found[process] = json.loads(out.stdout)
    return found


def memory(booster: xgb.Booster, X: Floats) -> dict[str, float]:
    """MB: scratch of one thread, the flat trees, and growth of the process beyond its result."""
    ours = TreeShap(booster)
    ours.contributions(X[:64])
    before = psutil.Process().memory_info().rss
    result = ours.contributions(X)
    growth = psutil.Process().memory_info().rss - before - result.nbytes
    tables = sum(table.nbytes for table in ours._trees if isinstance(table, np.ndarray))
    return {
        "scratch_mb": 4e-6 * ours._trees.floats,
        "trees_mb": 1e-6 * tables,
        "growth_mb": 1e-6 * max(0, growth),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=4096, help="for the quick ones")
    parser.add_argument("--slow-rows", type=int, default=48, help="for pred_contribs and its like")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    console = Console(width=130)
    load = os.getloadavg()[0]
    versions = {"xgboost": xgb.__version__, "shap": shap.__version__, "numba": numba.__version__}
    report: dict[str, Any] = {
        "versions": versions,
        "load": load,
        "compile_cpu_s": compilation(),
        "models": {},
    }
    console.print(f"{versions}, load {load:.1f}; CPU seconds: {_rounded(report['compile_cpu_s'])}")
    X, y = made_up_data(arguments.seed)
    new_rows = made_up_data(arguments.seed + 1)[0]
    for name, (trees, shape) in MODELS.items():
        booster = train(X, y, trees, shape)
        start = time.process_time()
        TreeShap(booster)
        prepared = time.process_time() - start
        who = contenders(booster, arguments.rows, arguments.slow_rows)
        measure(who, new_rows, arguments.rounds)
        found = {
            "prepare_cpu_s": prepared,
            "memory": memory(booster, new_rows),
            "threads": scaling(booster, new_rows, arguments.rounds),
            "results": [contender.result() for contender in who],
            "load": os.getloadavg()[0],
        }
        report["models"][name] = found
        _print(console, name, found)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", "utf-8")


def _print(console: Console, name: str, found: dict[str, Any]) -> None:
    table = Table(title=name)
    for heading in ("", "rows", "CPU us / row", "wall us / row", "rows / CPU-s", "churn is", "error"):
        table.add_column(heading, justify="left" if not heading else "right")
    ours = found["results"][0]["cpu_us_per_row"]
    for result in found["results"]:
        table.add_row(
            result["name"],
            f"{result['rows']:,}",
            f"{result['cpu_us_per_row']:,.1f}",
            f"{result['wall_us_per_row']:,.1f}",
            f"{result['rows_per_cpu_second']:,.0f}",
            f"{result['cpu_us_per_row'] / ours:,.2f}x",
            "" if result["error"] is None else f"{result['error']:.1e}",
        )
    console.print(table)
    threads = found["threads"]
    console.print(
        f"two threads: {threads['ratio']:.2f}x as fast as one (best runs {threads['best']:.2f}x) where two "
        f"counting processes do {threads['machine']:.2f}x as much as one; CPU time of two threads "
        f"{threads['cpu_of_two']:.2f}x; "
        f"prepared in {found['prepare_cpu_s']:.2f} CPU-s; {_rounded(found['memory'])}; load {found['load']:.1f}\n"
    )


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return round(value, 3) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
