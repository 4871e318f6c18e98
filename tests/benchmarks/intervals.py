"""How often the 95 % intervals of metrics hold what they are intervals of, by simulation.

    python -m tests.benchmarks.intervals

Each trial draws probabilities, the true probabilities behind them (shifted or flattened by a known amount),
and outcomes. The aim of an interval is the metric's mean over many such samples of the same size. Edge is how
often an interval ends at its own estimate.
"""

import argparse

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from churn.model.metrics import METRICS, evaluate

Floats = NDArray[np.float64]
# Name, shift and slope of the true log-odds, as a function of the predicted ones.
CASES = (
    ("right", 0.0, 1.0),
    ("0.15 too low", 0.15, 1.0),
    ("too extreme", 0.0, 0.85),
    ("0.4 too low", 0.4, 1.0),
)


def sample(rows: int, shift: float, slope: float, generator: np.random.Generator) -> tuple[Floats, Floats]:
    """Return outcomes and predicted probabilities, float64 (rows,) each."""
    predicted = generator.beta(1.2, 3.0, rows)
    margin = shift + slope * np.log(predicted / (1 - predicted))
    return (generator.random(rows) < 1 / (1 + np.exp(-margin))).astype(float), predicted


def coverage(rows: int, shift: float, slope: float, trials: int, seed: int) -> dict[str, tuple[float, float]]:
    """Return by metric how often its interval held the mean, and how often it ended at its estimate."""
    generator = np.random.default_rng(seed)
    drawn = [evaluate(*sample(rows, shift, slope, generator), seed=trial) for trial in range(trials)]
    plain = [
        evaluate(*sample(rows, shift, slope, generator), intervals=False).metrics for _ in range(10 * trials)
    ]
    found = {}
    for name in METRICS:
        aim = np.mean([metrics[name].value for metrics in plain])
        estimates = [evaluation.metrics[name] for evaluation in drawn]
        held = np.mean([e.low <= aim <= e.high for e in estimates])
        edge = np.mean([e.value in (e.low, e.high) for e in estimates])
        found[name] = (float(held), float(edge))
    return found


def main() -> None:
    """Print a table with a row for each case and number of rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_500, 6_000])
    args = parser.parse_args()
    table = Table("probabilities", "rows", *METRICS)
    for rows in args.rows:
        for name, shift, slope in CASES:
            found = coverage(rows, shift, slope, args.trials, seed=1)
            table.add_row(
                name, f"{rows:,}", *(f"{held:.1%}, edge {edge:.0%}" for held, edge in found.values())
            )
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
