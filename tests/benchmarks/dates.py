"""How many past dates to train on: log loss by number of dates, and what the program chooses.

    python -m tests.benchmarks.dates --json dates.json

Logs: `years`, 40,000 simulated customers of a shop over 13 years (Pareto/NBD, Schmittlein, Morrison and Colombo,
Management Science 1987, with the parameters that Fader and Hardie found for cdnow, and a Christmas season); cdnow;
grocery; and `simulator`, 4,000 people of the simulated broadcaster over 90 weeks. At late as-of dates a fortnight apart the model is fitted on the latest 13, 26, 52, ... past dates, and judged
by what people did. "Worse than 26" is the difference in log loss, with a paired 95 % interval that resamples users.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from churn.config.load import load_settings
from churn.jobs.backtest import prepare_snapshots
from churn.model.metrics import log_loss
from churn.model.training import train
from churn.sources.ingest import ingest
from churn.sources.simulator import simulate
from churn.warehouse.open import open_in_memory
from tests.benchmarks.paired import paired_difference
from tests.benchmarks.quality import folder_of, fortnights

COUNTS = (13, 26, 39, 52, 78, 104)
USUAL = 26
YEARS, LAST_DAY = 13, date(2025, 6, 29)
CHRISTMAS = 1.6  # purchases in December, relative to the rest of the year


@dataclass(frozen=True)
class Case:
    """A log, one of its products, and the as-of dates at which models are compared."""

    name: str
    make: Callable[[Path], object]
    product: str
    dates: tuple[date, ...]


def shop(into: Path, customers: int, seed: int = 1) -> None:
    """Ingest a simulated shop: customers come at any time, buy at their own rate, and leave for good unseen."""
    rng = np.random.default_rng(seed)
    weeks = YEARS * 52
    rate = rng.gamma(0.553, 1 / 10.578, customers)  # purchases a week
    leaves = rng.exponential(1 / rng.gamma(0.606, 1 / 11.669, customers))  # weeks until the customer has left
    start = rng.uniform(0, weeks, customers)
    life = np.minimum(leaves, weeks - start)
    bought = rng.poisson(rate * life * CHRISTMAS)
    user = np.repeat(np.arange(customers), bought)
    at = start[user] + rng.uniform(0, 1, len(user)) * life[user]
    user, at = np.concatenate([np.arange(customers), user]), np.concatenate([start, at])
    first = datetime.combine(LAST_DAY, datetime.min.time()) - timedelta(weeks=weeks) + timedelta(days=1)
    days = np.datetime64(first, "D") + (7 * at).astype(np.int64)
    december = days.astype("datetime64[M]").astype(int) % 12 == 11
    kept = december | (np.arange(len(at)) < customers) | (rng.uniform(size=len(at)) < 1 / CHRISTMAS)
    table = pa.table(
        {
            "user_id": np.char.add("c", user[kept].astype(str)),
            "occurred_at": days[kept],
            "value": np.round(rng.lognormal(3.2, 0.8, int(kept.sum())), 2),
        }
    )
    with tempfile.TemporaryDirectory(prefix="churn-shop-") as scratch:
        pq.write_table(table, Path(scratch, "shop.parquet"))
        ingest(Path(scratch, "shop.parquet"), into, columns={})


def cases(customers: int) -> tuple[Case, ...]:
    last = LAST_DAY - timedelta(days=14)
    return (
        Case("years", lambda into: shop(into, customers), "main", fortnights(last, 12)),
        Case(
            "cdnow", lambda into: ingest("cdnow", into, columns={}), "main", fortnights(date(1998, 6, 14), 12)
        ),
        Case(
            "grocery",
            lambda into: ingest("grocery", into, columns={}),
            "food",
            fortnights(date(2017, 12, 17), 6),
        ),
        Case(
            "simulator",
            lambda into: simulate(into, users=4_000, weeks=90),
            "iplayer",
            fortnights(date(2026, 6, 14), 4),
        ),
    )


def run(case: Case, data: Path, counts: list[int], threads: int, console: Console) -> dict[str, Any]:
    """Fit and judge the model with each number of past dates."""
    if not data.exists():
        case.make(data)
    overrides = {"products": {case.product: {"training": {"sampling": "all", "max_dates": max(counts)}}}}
    settings = load_settings(data, data, overrides)
    fitted = settings.product(case.product).training
    churned, users = [], []
    predicted: dict[int, list[Any]] = {count: [] for count in counts}
    rows: dict[int, list[int]] = {count: [] for count in counts}
    for as_of in case.dates:
        warehouse = open_in_memory(settings)
        try:
            made = prepare_snapshots(warehouse, settings, case.product, as_of)
        finally:
            warehouse.close()
        churned.append(made.scored["churned"].to_numpy())
        users.append(made.scored["user_id"].to_numpy())
        for count in counts:
            model = train(
                made.training,
                product=case.product,
                as_of=as_of,
                settings=fitted.model_copy(update={"max_dates": count}),
                threads=threads,
                code_version="benchmark",
            ).model
            predicted[count].append(model.probability(model.schema.encode(made.scored)))
            rows[count].append(model.card.rows)
        console.log(f"{case.name} as of {as_of}: {made.training.num_rows:,} + {made.scored.num_rows:,} rows")
    y, ids = np.concatenate(churned), np.concatenate(users)
    together = {count: np.concatenate(parts) for count, parts in predicted.items()}
    return {
        "log": case.name,
        "rows": len(y),
        "churn_rate": float(y.mean()),
        "dates": {
            count: {
                "training_rows": float(np.mean(rows[count])),
                "log_loss": log_loss(y, p),
                "worse_than_usual": paired_difference(y, p, together[USUAL], ids).to_dict(),
            }
            for count, p in together.items()
        },
    }


def show(result: dict[str, Any], console: Console) -> None:
    table = Table(
        title=f"{result['log']}: {result['rows']:,} judged, {result['churn_rate']:.1%} churned",
        title_justify="left",
    )
    for column in ("past dates", "rows", "log loss", f"worse than {USUAL} (95 %)", "%"):
        table.add_column(column, justify="right")
    usual = result["dates"][USUAL]["log_loss"]
    for count, found in result["dates"].items():
        worse = found["worse_than_usual"]
        table.add_row(
            f"{count}",
            f"{found['training_rows']:,.0f}",
            f"{found['log_loss']:.4f}",
            f"{worse['value']:+.4f} ({worse['low']:+.4f} to {worse['high']:+.4f})",
            f"{100 * worse['value'] / usual:+.2f}",
        )
    console.print(table)


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.dates", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--only", action="append", help="a log; may be repeated")
    parser.add_argument("--counts", type=int, nargs="+", help="numbers of past dates; 26 must be among them")
    parser.add_argument("--dates", type=int, help="as-of dates a log at most, the latest")
    parser.add_argument("--customers", type=int, default=40_000, help="simulated customers")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path, help="keep the data folders here, and use those that are there")
    given = parser.parse_args()
    console = Console()
    console = Console(width=max(console.width, 110))
    results = []
    with folder_of(given.data) as folder:
        for case in cases(given.customers):
            if not given.only or case.name in given.only:
                dates = case.dates[-given.dates :] if given.dates else case.dates
                chosen = Case(case.name, case.make, case.product, dates)
                results.append(
                    run(chosen, folder / case.name, given.counts or list(COUNTS), given.threads, console)
                )
                show(results[-1], console)
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
