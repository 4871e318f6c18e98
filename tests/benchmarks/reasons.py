"""How often a user's reasons change when a model is fitted again with another seed.

    python -m tests.benchmarks.reasons --json reasons.json

For each product the default model is fitted with several seeds on the same snapshots (a seed draws the rows and
columns that each tree sees), and the users of one as-of date are explained by every model. Models are compared
in pairs; rates are means over pairs and users. Then the same for what might make reasons steadier: feature
groups in place of features, one feature of a group, slower learning, and contributions averaged over models,
which are exactly those of the averaged margin. For comparison, the same seed on one as-of date less.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from churn.config.load import load_settings
from churn.config.training import TrainingSettings
from churn.explain.contributions import contributions
from churn.explain.reasons import top_reasons
from churn.features.catalogue import catalogue
from churn.jobs.backtest import snapshots
from churn.model.encoding import sigmoid
from churn.model.metrics import log_loss
from churn.model.training import train
from churn.sources.availability import Availability
from tests.benchmarks.quality import Task, folder_of, tasks

REASONS = 3
SLOW = {"learning_rate": 0.01, "max_trees": 3_000, "early_stopping_rounds": 150}

MEASURES = {
    "top": ("first reason differs", ".1%"),
    "top_direction": ("first reason has the other sign", ".1%"),
    "top_three": ("set of the first three differs", ".1%"),
    "displaced_by_second": ("where the first differs: second took its place", ".0%"),
    "lost": ("where the first differs: not even among the three", ".0%"),
    "gap_where_changed": ("median gap between first and second: where it differs", ".0%"),
    "gap_where_kept": ("median gap between first and second: where it does not", ".0%"),
    "commonest": ("users with the commonest first reason", ".0%"),
    "log_loss": ("log loss", ".4f"),
    "log_loss_difference": ("log loss differs by", ".4f"),
    "margin_difference": ("margin differs by (log-odds)", ".3f"),
    "trees": ("trees", ".0f"),
}

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Explained:
    """The users of one date as one model explains them: contributions, margins, and its trees."""

    phi: Floats
    margin: Floats
    trees: float


@dataclass(frozen=True)
class Change:
    """How two explanations of the same users differ, as shares of users unless said otherwise.

    Attributes:
        top: the first reason is another.
        top_direction: the first reason of the one has the other sign in the other, wherever it stands there.
        top_three: the three largest are another set.
        displaced_by_second: of those whose first reason is another, the share where the second took its place.
        lost: of those whose first reason is another, the share where it is not among the other's three.
        gap_where_changed: median of (first - second) / first, in size, where the first is another.
        gap_where_kept: the same where it is not.
        commonest: users who share the commonest first reason.
    """

    top: float
    top_direction: float
    top_three: float
    displaced_by_second: float
    lost: float
    gap_where_changed: float
    gap_where_kept: float
    commonest: float


def change(a: Floats, b: Floats) -> Change:
    """Compare two matrices of contributions, (users, reasons to choose from), each with the other."""
    return mean([_one_way(a, b), _one_way(b, a)])


def _one_way(a: Floats, b: Floats) -> Change:
    (first, sizes), (other, _) = top_reasons(a, REASONS), top_reasons(b, REASONS)  # both (3, users)
    changed = first[0] != other[0]
    size = np.abs(sizes)
    gap = (size[0] - size[1]) / size[0]
    in_b = b[np.arange(len(b)), first[0]]
    return Change(
        top=float(changed.mean()),
        top_direction=float((sizes[0] * in_b < 0).mean()),
        top_three=float((np.sort(first, axis=0) != np.sort(other, axis=0)).any(axis=0).mean()),
        displaced_by_second=_middle(np.mean, (first[1] == other[0])[changed]),
        lost=_middle(np.mean, (other != first[0]).all(axis=0)[changed]),
        gap_where_changed=_middle(np.median, gap[changed]),
        gap_where_kept=_middle(np.median, gap[~changed]),
        commonest=float(np.bincount(first[0]).max() / len(a)),
    )


def _middle(middle: Callable[[Any], Any], values: NDArray[Any]) -> float:
    return float(middle(values)) if len(values) else float("nan")


def mean(changes: Sequence[Change]) -> Change:
    return Change(**{f.name: float(np.mean([getattr(c, f.name) for c in changes])) for f in fields(Change)})


def by_group(phi: Floats, groups: NDArray[np.int64]) -> Floats:
    """Sum contributions within groups: (users, groups)."""
    return np.stack([phi[:, groups == g].sum(axis=1) for g in range(groups.max() + 1)], axis=1)


def best_of_group(phi: Floats, groups: NDArray[np.int64]) -> Floats:
    """Keep the largest contribution of each group and set the others to 0: (users, features)."""
    kept = np.zeros_like(phi)
    rows = np.arange(len(phi))
    for g in range(groups.max() + 1):
        members = np.flatnonzero(groups == g)
        best = members[np.abs(phi[:, members]).argmax(axis=1)]
        kept[rows, best] = phi[rows, best]
    return kept


def told_by_best(phi: Floats, groups: NDArray[np.int64]) -> Floats:
    """Give each group's sum to its largest contribution of the same sign: (users, features)."""
    sums = by_group(phi, groups)
    told = np.zeros_like(phi)
    rows = np.arange(len(phi))
    for g in range(groups.max() + 1):
        members = np.flatnonzero(groups == g)
        along = phi[:, members] * np.sign(sums[:, g])[:, None]
        told[rows, members[along.argmax(axis=1)]] = sums[:, g]
    return told


def average(models: Sequence[Explained]) -> Explained:
    return Explained(
        np.mean([m.phi for m in models], axis=0),
        np.mean([m.margin for m in models], axis=0),
        float(np.sum([m.trees for m in models])),
    )


def compare(
    pairs: Sequence[tuple[Explained, Explained]],
    churned: NDArray[np.int8],
    view: Callable[[Floats], Floats] = lambda phi: phi,
) -> dict[str, float]:
    """Return the changes between the models of each pair, seen as ``view`` shows contributions, as means."""
    losses = np.array([[log_loss(churned, sigmoid(model.margin)) for model in pair] for pair in pairs])
    return asdict(mean([change(view(a.phi), view(b.phi)) for a, b in pairs])) | {
        "log_loss": float(losses.mean()),
        "log_loss_difference": float(np.abs(losses[:, 0] - losses[:, 1]).mean()),
        "margin_difference": float(np.mean([np.abs(a.margin - b.margin).mean() for a, b in pairs])),
        "trees": float(np.mean([[a.trees, b.trees] for a, b in pairs])),
    }


def run(task: Task, data: Path, seeds: int, threads: int, console: Console) -> dict[str, Any]:
    """Fit one product's model with several seeds and compare the reasons."""
    if not data.exists():
        task.make(data)
    as_of = task.dates[-1]
    product = load_settings(data, data).product(task.product)
    training, scored = snapshots(data, task.product, as_of)

    def explain(
        seed: int, settings: TrainingSettings, rows: pa.Table = training
    ) -> tuple[Explained, tuple[str, ...]]:
        started = time.perf_counter()
        model = train(
            rows,
            product=task.product,
            as_of=as_of,
            settings=settings,
            seed=seed,
            threads=threads,
            code_version="benchmark",
        ).model
        found = contributions(model, model.schema.encode(scored))
        spent = time.perf_counter() - started
        console.log(f"{task.name} {task.product}, seed {seed}: {model.card.trees} trees, {spent:.1f} s")
        return Explained(found.phi, found.margin, model.card.trees), model.schema.names

    default, names = zip(*(explain(seed, product.training) for seed in range(1, seeds + 1)), strict=True)
    slow, slow_names = zip(
        *(explain(seed, product.training.model_copy(update=SLOW)) for seed in (1, 2)), strict=True
    )
    dates = training["as_of_date"]
    earlier, earlier_names = explain(1, product.training, training.filter(pc.less(dates, pc.max(dates))))
    if len({*names, *slow_names, earlier_names}) > 1:
        raise ValueError("the models have different features: their contributions cannot be compared")
    group_of = {f.name: f.group for f in catalogue(product, Availability()).features}
    _, groups = np.unique([group_of[name] for name in names[0]], return_inverse=True)
    half = seeds // 2
    halves = average(default[:half]), average(default[half:])
    pairs = list(zip(default[::2], default[1::2], strict=True))
    churned = scored["churned"].to_numpy()
    return {
        "task": task.name,
        "product": task.product,
        "as_of": as_of.isoformat(),
        "training_rows": training.num_rows,
        "users": scored.num_rows,
        "features": len(names[0]),
        "features_that_are_a_first_reason": len(np.unique(top_reasons(default[0].phi, 1).features)),
        "pairs": len(pairs),
        "rows": {
            "features": compare(pairs, churned),
            "features, one of a group": compare(pairs, churned, lambda phi: best_of_group(phi, groups)),
            "groups": compare(pairs, churned, lambda phi: by_group(phi, groups)),
            "groups, told by a feature": compare(pairs, churned, lambda phi: told_by_best(phi, groups)),
            "same seed, one date less": compare([(default[0], earlier)], churned),
            "learning rate 0.01": compare([slow], churned),
            f"mean of {half} models": compare([halves], churned),
            f"mean of {half} models, groups": compare([halves], churned, lambda phi: by_group(phi, groups)),
        },
    }


def show(result: dict[str, Any], console: Console) -> None:
    title = (
        f"{result['task']} {result['product']} as of {result['as_of']}: {result['training_rows']:,} snapshots, "
        f"{result['users']:,} users, {result['features']} features, "
        f"{result['features_that_are_a_first_reason']} of which are somebody's first reason"
    )
    table = Table(title=title, title_justify="left")
    rows = result["rows"]
    for column in ("", *rows):
        table.add_column(column, justify="right" if column else "left")
    for name, (words, form) in MEASURES.items():
        table.add_row(words, *(format(row[name], form) for row in rows.values()))
    console.print(table)


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.reasons", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument(
        "--seeds", type=int, default=4, help="models with the default settings, an even number"
    )
    parser.add_argument("--users", type=int, default=20_000, help="simulated users")
    parser.add_argument("--threads", type=int, default=1, help="threads of each fit")
    parser.add_argument("--data", type=Path, help="keep the data folders here, and use those that are there")
    given = parser.parse_args()
    if given.seeds < 2 or given.seeds % 2:
        parser.error("--seeds must be an even number, 2 at least")
    console = Console(width=240)
    results = []
    with folder_of(given.data) as folder:
        for task in tasks(given.users):
            if task.name in ("simulator-all", "grocery"):
                results.append(run(task, folder / task.name, given.seeds, given.threads, console))
                show(results[-1], console)
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n")
        console.print(f"written to {given.json}")


if __name__ == "__main__":
    main()
