"""New accounts: trained on and scored, or left out of training, on simulated people whose true risk is known.

    python -m tests.benchmarks.accounts --json accounts.json

At each past as-of date every rule gets the same snapshots. `left out` trains without accounts of at most 14 days and
scores them all the same; `trained on` trains on everybody who can be scored, with the account's age and the days since
first seen as features; `weeks blanked` is the same with the features of weeks before the account as missing values.
A coin predicts one half for everybody, `their rate` the past churn rate of new or of older accounts. Not to score new
accounts at all changes nothing for the others: they get the predictions of `left out`.
"""

import argparse
import json
import re
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from churn.config.load import load_settings
from churn.config.settings import Settings
from churn.core.calendar import WEEK
from churn.jobs.backtest import prepare_snapshots
from churn.model.metrics import log_loss
from churn.model.training import train
from churn.sources.simulator import simulate
from churn.warehouse.open import open_in_memory
from tests.benchmarks.paired import paired_difference
from tests.benchmarks.quality import true_probability

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
YOUNG_DAYS = 14
LAST = date(2026, 6, 14)
BEFORE, AFTER, BLANKED = "left out", "trained on", "weeks blanked"
COIN, RATE = "a coin", "their rate"
WEEKLY = re.compile(r"_w(\d+)$")


def young(snapshots: pa.Table) -> Bools:
    """Return which snapshots are of accounts of at most 14 days, (rows,)."""
    age = pc.fill_null(snapshots["account_age_days"], 10_000)
    return np.asarray(pc.less_equal(age, YOUNG_DAYS))


def blank(snapshots: pa.Table) -> pa.Table:
    """Return the snapshots without the values of weeks that ended before the user was first seen."""
    tenure = snapshots["tenure_days"]
    for index, name in enumerate(snapshots.column_names):
        week = WEEKLY.search(name)
        if week is not None:
            before = pc.less(tenure, 7 * (int(week[1]) - 2))
            column = snapshots[name]
            snapshots = snapshots.set_column(
                index, name, pc.if_else(before, pa.scalar(None, column.type), column)
            )
    return snapshots


def everything(snapshots: pa.Table) -> pa.Table:
    return snapshots


def without_young(snapshots: pa.Table) -> pa.Table:
    return snapshots.filter(pa.array(~young(snapshots)))


# Rule -> what it trains on, and what it does to the rows that it scores.
RULES: dict[str, tuple[Callable[[pa.Table], pa.Table], Callable[[pa.Table], pa.Table]]] = {
    BEFORE: (without_young, everything),
    AFTER: (everything, everything),
    BLANKED: (blank, blank),
}


def predictions(
    settings: Settings, product: str, as_of: date
) -> tuple[pa.Table, dict[str, Floats], dict[str, int]]:
    """Return the scored snapshots of a date with what users did, the predictions of each rule, and rows trained on."""
    warehouse = open_in_memory(settings)
    try:
        made = prepare_snapshots(warehouse, settings, product, as_of)
    finally:
        warehouse.close()
    predicted, rows = {}, {}
    for name, (chosen, shown) in RULES.items():
        training = chosen(made.training)
        model = train(
            training,
            product=product,
            as_of=as_of,
            settings=settings.product(product).training,
            threads=1,
            code_version="benchmark",
        ).model
        predicted[name] = model.probability(model.schema.encode(shown(made.scored)))
        rows[name] = training.num_rows
    churned, new = made.training["churned"].to_numpy(), young(made.training)
    rates = np.where(young(made.scored), churned[new].mean(), churned[~new].mean())
    predicted |= {COIN: np.full(made.scored.num_rows, 0.5), RATE: rates}
    return made.scored, predicted, rows


def expected_log_loss(truth: Floats, predicted: Floats) -> float:
    """Return the mean log loss over what could have happened, by the true probabilities."""
    return float(np.mean(-truth * np.log(predicted) - (1 - truth) * np.log1p(-predicted)))


def run(data: Path, product: str, sampling: str, dates: list[date], console: Console) -> dict[str, Any]:
    """Judge every rule on new and on older accounts, all dates together."""
    settings = load_settings(data, data, {"products": {product: {"training": {"sampling": sampling}}}})
    parts: dict[str, list[Any]] = {name: [] for name in (*RULES, COIN, RATE)}
    churned, truth, users, new, riskiest = [], [], [], [], dict.fromkeys(RULES, 0)
    for as_of in dates:
        scored, predicted, rows = predictions(settings, product, as_of)
        for name, values in predicted.items():
            parts[name].append(values)
        churned.append(scored["churned"].to_numpy())
        known = true_probability(data, product, as_of, scored)
        assert known is not None, "the data are not simulated"
        truth.append(known)
        users.append(scored["user_id"].to_numpy())
        new.append(young(scored))
        for name in RULES:
            riskiest[name] += int(new[-1][np.argsort(-predicted[name])[:500]].sum())
        console.log(
            f"{product}, {sampling}, {as_of}: {scored.num_rows:,} scored, {new[-1].sum()} new, {rows}"
        )
    y, t, ids, is_new = (np.concatenate(each) for each in (churned, truth, users, new))
    groups = {"new accounts": is_new, "the others": ~is_new, "everybody": np.ones(len(y), np.bool_)}
    figures = {
        group: {
            name: figures_of(y[inside], np.concatenate(values)[inside], t[inside])
            | {
                "worse_than_before": paired_difference(
                    y[inside],
                    np.concatenate(values)[inside],
                    np.concatenate(parts[BEFORE])[inside],
                    ids[inside],
                ).to_dict()
            }
            for name, values in parts.items()
        }
        for group, inside in groups.items()
    }
    return {
        "product": product,
        "sampling": sampling,
        "dates": [day.isoformat() for day in dates],
        "new_among_500_riskiest": riskiest,
        "groups": {
            group: {
                "snapshots": int(inside.sum()),
                "churn_rate": float(y[inside].mean()),
                "true_rate": float(t[inside].mean()),
                "true_log_loss": log_loss(y[inside], t[inside]),
                "true_expected_log_loss": expected_log_loss(t[inside], t[inside]),
                "rules": figures[group],
            }
            for group, inside in groups.items()
        },
    }


def figures_of(y: NDArray[Any], p: Floats, truth: Floats) -> dict[str, Any]:
    return {
        "mean_probability": float(p.mean()),
        "log_loss": log_loss(y, p),
        "expected_log_loss": expected_log_loss(truth, p),
        "distance_from_truth": float(np.abs(p - truth).mean()),
    }


def show(result: dict[str, Any], console: Console) -> None:
    for group, found in result["groups"].items():
        table = Table(
            title=f"{result['product']}, {result['sampling']}: {group}, {found['snapshots']:,} snapshots, "
            f"{found['churn_rate']:.1%} churned (true {found['true_rate']:.1%}); log loss of the truth "
            f"{found['true_log_loss']:.4f}, expected {found['true_expected_log_loss']:.4f}",
            title_justify="left",
        )
        for column in (
            "rule",
            "predicted",
            "log loss",
            "expected log loss",
            "worse than left out (95 %)",
            "|p - truth|",
        ):
            table.add_column(column, justify="left" if column == "rule" else "right")
        for name, rule in found["rules"].items():
            worse = rule["worse_than_before"]
            table.add_row(
                name,
                f"{rule['mean_probability']:.1%}",
                f"{rule['log_loss']:.4f}",
                f"{rule['expected_log_loss']:.4f}",
                f"{worse['value']:+.4f} ({worse['low']:+.4f} to {worse['high']:+.4f})",
                f"{rule['distance_from_truth']:.4f}",
            )
        console.print(table)
    console.print(f"new accounts among the 500 riskiest, all dates: {result['new_among_500_riskiest']}\n")


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.accounts", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--users", type=int, default=20_000, help="simulated users")
    parser.add_argument("--data", type=Path, help="a simulated data folder to use")
    parser.add_argument("--product", action="append", help="default: iplayer and sounds")
    parser.add_argument("--sampling", action="append", choices=["all", "cohort"], help="default: both")
    parser.add_argument("--dates", type=int, default=4, help="as-of dates, a fortnight apart")
    given = parser.parse_args()
    console = Console()
    console = Console(width=max(console.width, 130))
    dates = [LAST - 2 * back * WEEK for back in reversed(range(given.dates))]
    results = []
    with tempfile.TemporaryDirectory(prefix="churn-accounts-") as scratch:
        data = given.data or Path(scratch, "data")
        if given.data is None:
            simulate(data, users=given.users, weeks=30)
        for sampling in given.sampling or ["all", "cohort"]:
            for product in given.product or ["iplayer", "sounds"]:
                results.append(run(data, product, sampling, dates, console))
                show(results[-1], console)
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
        console.print(f"written to {given.json}")


if __name__ == "__main__":
    main()
