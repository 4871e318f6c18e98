"""What it costs to explain a stack: CPU time a million users beside its trees alone, in one process.

    python -m tests.benchmarks.stack --data FOLDER_OF_A_DEMO/data --product iplayer

Trees of XGBoost and LightGBM and a logistic regression are fitted to the demo's snapshots with the default
settings. Then the same rows are explained by each of them and by stacks, in turns; figures are medians.
"""

import argparse
import time
from datetime import date
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from churn.config.training import TrainingSettings
from churn.explain.contributions import contributions
from churn.jobs.backtest import snapshots
from churn.model.artifact import Model, ModelMember
from churn.model.training import train

ROUNDS, BATCH = 5, 4096
KINDS = ("xgboost", "lightgbm", "logistic")


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.stack", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="a demo's data folder")
    parser.add_argument("--product", default="iplayer")
    parser.add_argument("--as-of", type=date.fromisoformat, default=date(2026, 6, 14))
    parser.add_argument("--rows", type=int, default=20_000)
    given = parser.parse_args()
    training, scored = snapshots(given.data, given.product, given.as_of)
    members: dict[str, ModelMember] = {}
    models: dict[str, Model] = {}
    for kind in KINDS:
        models[kind] = train(
            training,
            product=given.product,
            as_of=given.as_of,
            settings=TrainingSettings(sampling="all", learners=(kind,)),
            threads=1,
            code_version="benchmark",
        ).model
        members[kind] = models[kind].members[0]
    card = models["xgboost"].card

    def stacked(*kinds: str) -> Model:
        weight = 1 / len(kinds)
        return Model(tuple(ModelMember(kind, kind, members[kind].member, weight) for kind in kinds), card)

    models["xgboost + logistic"] = stacked("xgboost", "logistic")
    models["xgboost + lightgbm + logistic"] = stacked(*KINDS)
    X = card_rows(models["xgboost"], scored, given.rows)
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(ROUNDS):
        for name, model in models.items():
            started = time.process_time()
            for start in range(0, len(X), BATCH):
                contributions(model, X[start : start + BATCH])
            seconds[name].append(time.process_time() - started)
    table = Table(
        title=f"{len(card.features)} features, {len(X):,} rows, batches of {BATCH:,}", title_justify="left"
    )
    for column in ("model", "trees", "CPU s a million users", "against xgboost"):
        table.add_column(column, justify="left" if column == "model" else "right")
    base = float(np.median(seconds["xgboost"]))
    for name, found in seconds.items():
        trees = sum(each.member.size for each in models[name].members if each.kind != "logistic")
        median = float(np.median(found))
        table.add_row(name, f"{trees}", f"{median / len(X) * 1e6:.1f}", f"{median / base:.2f}")
    Console(width=110).print(table)


def card_rows(model: Model, scored: object, rows: int) -> np.ndarray:
    """Return encoded rows, the scored users as often as needed, column-major."""
    X = model.schema.encode(scored)
    times = -(-rows // len(X))
    return np.asfortranarray(np.tile(X, (times, 1))[:rows])


if __name__ == "__main__":
    main()
