"""What each group of features adds: log loss with the whole catalogue, and without one group.

    python -m tests.benchmarks.groups --json groups.json

For real logs and the simulator, as `tests.benchmarks.quality` has them. The number of trees is chosen once for a
task, by training on the whole catalogue at its first date, and kept: so a difference is the features'. A group that
is left out is never drawn for a tree, and trees draw the same share of what is left, so that one matrix serves all.
*without* is the log loss without the group, less that with everything; *beside* the log loss of a small model (how
much and how often in 13 weeks, and the trend) less that of it with the group: above 0, the group helps. Differences
are means over seeds, and 95 % intervals resample users. Candidates are columns that the catalogue does not have.
"""

import argparse
import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import xgboost as xgb

from churn.config.load import load_settings
from churn.config.settings import Product
from churn.features.catalogue import catalogue
from churn.jobs.backtest import snapshots
from churn.model.encoding import FeatureSchema
from churn.model.training import train
from churn.sources.availability import Availability
from tests.benchmarks.groups_candidates import GROUPS, candidates
from tests.benchmarks.paired import Floats, mean_difference
from tests.benchmarks.quality import Task, folder_of, tasks

BASE = ("activity", "trend")
# Features that are measured apart from their group.
APART = {"gap_variation": "regularity"}
BOOTSTRAP = 2_000


def group_of(product: Product) -> Mapping[str, str]:
    """Return the group of each feature, candidates included."""
    names = {feature.name: feature.group for feature in catalogue(product, Availability()).features}
    return names | APART | {name: group for group, columns in GROUPS.items() for name in columns}


class Date:
    """The rows of one as-of date, ready to be fitted with any choice of groups."""

    def __init__(self, data: Path, product: str, as_of: date, groups: Mapping[str, str]) -> None:
        training, scored = snapshots(data, product, as_of)
        self.training, self.as_of = training, as_of
        columns = candidates(data, product, as_of)
        self.y, self.churned = (table["churned"].to_numpy() for table in (training, scored))
        self.users = scored["user_id"].to_numpy(zero_copy_only=False)
        schema = FeatureSchema.fit(training, self.y)
        X, self.Z = (
            np.column_stack([schema.encode(table), *columns(table).values()]).astype(np.float32)
            for table in (training, scored)
        )
        names = (*schema.names, *(name for columns in GROUPS.values() for name in columns))
        self.groups = np.array([groups[name] for name in names])
        self.matrix = xgb.QuantileDMatrix(X, label=self.y, nthread=1)

    def losses(self, chosen: frozenset[str], params: Mapping[str, Any], trees: int, seed: int) -> Floats:
        """Return each scored row's log loss of a model of the chosen groups."""
        drawn = np.isin(self.groups, list(chosen))
        self.matrix.set_info(feature_weights=drawn.astype(np.float32))
        share = float(params["colsample_bytree"]) * drawn.mean()
        start = float(self.y.mean())
        fitted = {**params, "colsample_bytree": share, "base_score": start, "seed": seed, "nthread": 1}
        booster = xgb.train(fitted, self.matrix, trees)
        unwanted = {int(name[1:]) for name in booster.get_score()} - set(np.flatnonzero(drawn))
        if unwanted:
            raise RuntimeError(f"features were drawn that should not be: {sorted(unwanted)}")
        p = booster.inplace_predict(self.Z).astype(np.float64)
        return -np.log(np.where(self.churned == 1, p, 1 - p))


def run(task: Task, data: Path, seeds: int, beside: bool, trees: int | None) -> dict[str, Any]:
    """Fit every choice of groups at every date of a task."""
    product = load_settings(data, data).product(task.product)
    dates = [Date(data, task.product, as_of, group_of(product)) for as_of in task.dates]
    here = [str(group) for group in dict.fromkeys(dates[0].groups)]
    everything = frozenset(here) - GROUPS.keys()
    base = frozenset(BASE)
    chosen = {"everything": everything}
    chosen |= {f"without {group}": everything - {group} for group in here if group not in GROUPS}
    chosen |= {f"without {group}": everything | {group} for group in GROUPS}  # turned round below
    if beside:
        chosen |= {"base": base}
        chosen |= {f"beside {group}": base | {group} for group in here if group not in base}
    trees = trees or trees_at(dates[0], product, task.product)
    params = params_of(product)
    users = np.concatenate([made.users for made in dates])
    total = {name: np.zeros(len(users)) for name in chosen}
    for seed in range(1, seeds + 1):
        for name, groups in chosen.items():
            total[name] += (
                np.concatenate([made.losses(groups, params, trees, seed) for made in dates]) / seeds
            )
    figures: dict[str, dict[str, Any]] = {group: {} for group in here}
    for name, losses in total.items():
        kind, _, group = name.partition(" ")
        if kind == "without":
            worse = losses - total["everything"]
            figures[group]["without"] = mean_difference(
                worse if group not in GROUPS else -worse, users
            ).to_dict()
        elif kind == "beside":
            figures[group]["beside"] = mean_difference(total["base"] - losses, users).to_dict()
    return {
        "task": task.name,
        "product": task.product,
        "dates": [as_of.isoformat() for as_of in task.dates],
        "training_rows": [len(made.y) for made in dates],
        "rows": len(users),
        "seeds": seeds,
        "trees": trees,
        "log_loss": {name: float(total[name].mean()) for name in ("everything", "base") if name in total},
        "features": {group: int((dates[0].groups == group).sum()) for group in here},
        "groups": figures,
    }


def trees_at(made: Date, product: Product, name: str) -> int:
    """Return the number of trees of the product's model at a date."""
    return train(
        made.training, product=name, as_of=made.as_of, settings=product.training,
        threads=1, code_version="benchmark",
    ).model.card.trees  # fmt: skip


def params_of(product: Product) -> dict[str, Any]:
    """Return what the product's model is fitted with."""
    shared = {"max_depth", "min_child_weight", "subsample", "colsample_bytree", "reg_lambda", "learning_rate"}
    return {
        **product.training.model_dump(include=shared),
        "objective": "binary:logistic",
        "tree_method": "hist",
        "seed_per_iteration": True,
    }


def markdown(results: list[dict[str, Any]]) -> str:
    """Return the figures as tables: differences in thousandths of a nat."""
    lines: list[str] = []
    for result in results:
        losses = ", ".join(f"{name} {value:.4f}" for name, value in result["log_loss"].items())
        lines += [
            f"**{result['task']} {result['product']}**: {result['rows']:,} rows at {len(result['dates'])} dates, "
            f"{result['trees']} trees, {result['seeds']} seeds; log loss: {losses}",
            "",
            "| group | features | without it | beside the base |",
            "| --- | ---: | ---: | ---: |",
        ]
        for group, kinds in result["groups"].items():
            name = f"*{group}* (candidate)" if group in GROUPS else group
            cells = [said(kinds.get(kind)) for kind in ("without", "beside")]
            lines.append(f"| {name} | {result['features'][group]} | {cells[0]} | {cells[1]} |")
        lines.append("")
    return "\n".join(lines)


def said(figure: Mapping[str, float] | None) -> str:
    """Return a difference with its interval, in thousandths."""
    if not figure:
        return ""
    value, low, high = (1000 * figure[key] for key in ("value", "low", "high"))
    return f"{value:+.2f} ({low:+.2f} to {high:+.2f})"


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.groups", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument(
        "--only", action="append", help="a task, such as grocery or simulator-all; may be repeated"
    )
    parser.add_argument("--product", action="append", help="a product, such as iplayer; may be repeated")
    parser.add_argument("--dates", type=int, default=4, help="as-of dates a task at most, the latest")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each model")
    parser.add_argument("--users", type=int, default=20_000, help="simulated users")
    parser.add_argument("--beside", action="store_true", help="also add each group to a small model")
    parser.add_argument("--trees", type=int, help="this many trees, in place of training once to know")
    parser.add_argument("--data", type=Path, help="keep the data folders here, and use those that are there")
    given = parser.parse_args()
    results: list[dict[str, Any]] = []
    with folder_of(given.data) as folder:
        for task in tasks(given.users):
            if task.name == "simulator-cohort" or (given.only and task.name not in given.only):
                continue
            if given.product and task.product not in given.product:
                continue
            if not (folder / task.name).exists():
                task.make(folder / task.name)
            shorter = Task(task.name, task.make, task.product, task.dates[-given.dates :])
            results.append(run(shorter, folder / task.name, given.seeds, given.beside, given.trees))
            print(markdown(results[-1:]), flush=True)
            if given.json:
                given.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
