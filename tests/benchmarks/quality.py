"""The default model against its learners and its peers, on the same snapshots of real and simulated people.

    python -m tests.benchmarks.quality --json quality.json

Real logs: grocery (households, food) and cdnow (customers of a CD shop), each at late as-of dates a
fortnight apart. For each date, every model is fitted on what was known then, and judged by what people did in
the target week; figures are over all dates together, and intervals resample users. On the simulator the true
probabilities are known, so that regret can be stated: 0 = as good as the truth, 1 = knows the churn rate.
CatBoost is a peer where it is installed (``pip install 'churn[peers]'``).
"""

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xgboost as xgb
from rich.console import Console
from rich.table import Table
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from churn.config.load import load_settings
from churn.config.training import KINDS, TrainingSettings
from churn.jobs.backtest import snapshots
from churn.model.encoding import FeatureSchema, Matrix
from churn.model.metrics import evaluate, log_loss
from churn.model.training import train
from churn.sources.ingest import ingest
from churn.sources.simulator import simulate
from tests.benchmarks.paired import paired_difference

DEFAULT = "churn default"
BEFORE = "churn 0.2 (0.03, 256 bins)"
LIGHTGBM = "LightGBM, 100 trees"
SMOOTHING_ROWS = 20
FORTNIGHT = timedelta(days=14)


@dataclass(frozen=True)
class Task:
    """One product whose users are predicted at several as-of dates."""

    name: str
    make: Callable[[Path], object]
    product: str
    dates: tuple[date, ...]


@dataclass(frozen=True)
class Fitting:
    """What every model gets: the same rows and columns."""

    training: pa.Table
    scored: pa.Table
    X: Matrix
    y: np.ndarray
    Z: Matrix
    product: str
    as_of: date
    settings: TrainingSettings
    threads: int


def fortnights(last: date, count: int) -> tuple[date, ...]:
    return tuple(last - k * FORTNIGHT for k in reversed(range(count)))


def simulated(sampling: str, users: int) -> Callable[[Path], None]:
    def make(into: Path) -> None:
        simulate(into, users=users, weeks=30)
        if (
            sampling == "cohort"
        ):  # as a large audience is trained: what `simulate` writes for a small one goes
            (into / "churn.toml").write_text('source = "bbc"\n')

    return make


def tasks(users: int) -> tuple[Task, ...]:
    simulator = {f"simulator-{sampling}": simulated(sampling, users) for sampling in ("all", "cohort")}
    return (
        Task(
            "grocery",
            lambda into: ingest("grocery", into, columns={}),
            "food",
            fortnights(date(2017, 12, 17), 6),
        ),
        Task(
            "cdnow", lambda into: ingest("cdnow", into, columns={}), "main", fortnights(date(1998, 6, 14), 12)
        ),
        *(
            Task(name, make, product, fortnights(date(2026, 6, 14), 2))
            for name, make in simulator.items()
            for product in ("iplayer", "sounds")
        ),
    )


def churn(**changes: Any) -> Callable[[Fitting], np.ndarray]:
    """Return the program's own training with some of its settings changed."""

    def fit(fitting: Fitting) -> np.ndarray:
        model = train(
            fitting.training,
            product=fitting.product,
            as_of=fitting.as_of,
            settings=TrainingSettings.model_validate(fitting.settings.model_dump() | changes),
            threads=fitting.threads,
            code_version="benchmark",
        ).model
        return model.probability(model.schema.encode(fitting.scored))

    return fit


def catboost(fitting: Fitting) -> np.ndarray:
    from catboost import CatBoostClassifier

    model = CatBoostClassifier(
        verbose=0, random_seed=1, thread_count=fitting.threads, allow_writing_files=False
    )
    return model.fit(fitting.X, fitting.y).predict_proba(fitting.Z)[:, 1]


def logistic_regression(fitting: Fitting) -> np.ndarray:
    # Columns without a single value have no median; as they are constant nothing is lost.
    filled = ~np.isnan(fitting.X).all(axis=0)
    model = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True),
        StandardScaler(),
        LogisticRegression(C=0.01, max_iter=1_000),
    )
    return model.fit(fitting.X[:, filled], fitting.y).predict_proba(fitting.Z[:, filled])[:, 1]


def lightgbm(fitting: Fitting) -> np.ndarray:
    model = lgb.LGBMClassifier(
        num_leaves=31,
        n_estimators=100,
        learning_rate=0.1,
        colsample_bytree=0.55,
        subsample=0.67,
        subsample_freq=1,
        random_state=1,
        n_jobs=fitting.threads,
        verbose=-1,
    )
    return model.fit(fitting.X, fitting.y).predict_proba(fitting.Z)[:, 1]


def xgboost_defaults(fitting: Fitting) -> np.ndarray:
    model = xgb.XGBClassifier(random_state=1, n_jobs=fitting.threads)
    return model.fit(fitting.X, fitting.y).predict_proba(fitting.Z)[:, 1].astype(np.float64)


def recency_only(fitting: Fitting) -> np.ndarray:
    """Churn rate by days since last active, smoothed towards the overall rate."""
    seen, now = (
        np.nan_to_num(table["days_since_last"].to_numpy().astype(np.float64), nan=-1)
        for table in (fitting.training, fitting.scored)
    )
    overall = fitting.y.mean()
    result = np.full(len(now), overall)
    for days in np.unique(now):
        same = fitting.y[seen == days]
        result[now == days] = (same.sum() + SMOOTHING_ROWS * overall) / (len(same) + SMOOTHING_ROWS)
    return result


MODELS: dict[str, Callable[[Fitting], np.ndarray]] = {
    DEFAULT: churn(),
    BEFORE: churn(
        learners=("xgboost",), learning_rate=0.03, max_bin=256, early_stopping_rounds=50, validation_folds=5
    ),
    **{f"only {kind}": churn(learners=(kind,)) for kind in KINDS},
    "all six, stacked": churn(learners=KINDS),
    "logistic regression": logistic_regression,
    LIGHTGBM: lightgbm,
    "XGBoost defaults": xgboost_defaults,
    "recency only": recency_only,
    **({"CatBoost defaults": catboost} if find_spec("catboost") else {}),
}


def run(task: Task, data: Path, threads: int, console: Console) -> dict[str, Any]:
    """Fit and judge every model at every date of a task."""
    if not data.exists():
        task.make(data)
    settings = load_settings(data, data).product(task.product).training
    labels, users, truths, dates = [], [], [], []
    predicted: dict[str, list[np.ndarray]] = {name: [] for name in MODELS}
    seconds = dict.fromkeys(MODELS, 0.0)  # CPU
    for as_of in task.dates:
        training, scored = snapshots(data, task.product, as_of)
        y = training["churned"].to_numpy()
        schema = FeatureSchema.fit(training, y)
        fitting = Fitting(
            training, scored, schema.encode(training), y, schema.encode(scored),
            task.product, as_of, settings, threads,
        )  # fmt: skip
        churned = scored["churned"].to_numpy()
        for name, fit in MODELS.items():
            started = time.process_time()
            predicted[name].append(fit(fitting))
            seconds[name] += time.process_time() - started
        labels.append(churned)
        users.append(scored["user_id"].to_numpy())
        truths.append(true_probability(data, task.product, as_of, scored))
        dates.append(
            {
                "as_of": as_of.isoformat(),
                "training_rows": training.num_rows,
                "features": len(schema.names),
                "rows": scored.num_rows,
                "churn_rate": float(churned.mean()),
                "log_loss": {name: log_loss(churned, parts[-1]) for name, parts in predicted.items()},
            }
        )
        console.log(
            f"{task.name} {task.product} as of {as_of}: {training.num_rows:,} + {scored.num_rows:,} rows"
        )
    together = {name: np.concatenate(parts) for name, parts in predicted.items()}
    truth = None if truths[0] is None else np.concatenate(truths)
    y, ids = np.concatenate(labels), np.concatenate(users)
    figures = {name: figures_of(y, p, together[DEFAULT], truth, ids) for name, p in together.items()}
    for name in MODELS:
        figures[name]["seconds"] = round(seconds[name], 1)
    return {
        "task": task.name,
        "product": task.product,
        "rows": len(y),
        "churn_rate": float(y.mean()),
        "base_log_loss": log_loss(y, np.full(len(y), y.mean())),
        "true_log_loss": None if truth is None else log_loss(y, truth),
        **{
            f"gain_over_{short}_percent": 100
            * (1 - figures[DEFAULT]["log_loss"]["value"] / figures[name]["log_loss"]["value"])
            for short, name in (("lightgbm", LIGHTGBM), ("before", BEFORE))
        },
        "models": figures,
        "dates": dates,
    }


def true_probability(data: Path, product: str, as_of: date, scored: pa.Table) -> np.ndarray | None:
    """Return the simulator's probability of churn of each user scored; None for real people."""
    folder = data / "truth" / f"product={product}" / f"as_of_date={as_of}"
    if not folder.exists():
        return None
    truth = pq.read_table(folder, columns=["user_id", "churn_probability"], partitioning=None)
    known = dict(zip(truth["user_id"].to_pylist(), truth["churn_probability"].to_pylist(), strict=True))
    return np.array([known[user] for user in scored["user_id"].to_pylist()])


def figures_of(
    y: np.ndarray, p: np.ndarray, default_p: np.ndarray, truth: np.ndarray | None, users: np.ndarray
) -> dict[str, Any]:
    """Return a model's figures; ``worse_than_default`` above 0 means that the default is better."""
    found = evaluate(y, p, clusters=users)
    figures: dict[str, Any] = {
        "log_loss": found.log_loss.to_dict(),
        "auc": None if found.auc is None else found.auc.to_dict(),
        "ece": found.ece.to_dict(),
        "worse_than_default": paired_difference(y, p, default_p, users).to_dict(),
    }
    if truth is not None:
        span = found.base_log_loss - log_loss(y, truth)
        excess = paired_difference(y, p, truth, users).to_dict()
        figures["regret"] = {key: value / span for key, value in excess.items()}
    return figures


def show(result: dict[str, Any], console: Console) -> None:
    truth = result["true_log_loss"]
    title = (
        f"{result['task']} {result['product']}: {result['rows']:,} rows at {len(result['dates'])} dates, "
        f"{result['churn_rate']:.1%} churned" + (f", true log loss {truth:.4f}" if truth else "")
    )
    table = Table(title=title, title_justify="left")
    regrets = ["regret (95 %)"] if truth else []
    for column in ("model", "log loss", "AUC", "ECE", "worse than default (95 %)", *regrets, "CPU s"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for name, figures in result["models"].items():
        worse, regret = figures["worse_than_default"], figures.get("regret")
        table.add_row(
            name,
            f"{figures['log_loss']['value']:.4f}",
            f"{figures['auc']['value']:.4f}",
            f"{figures['ece']['value']:.4f}",
            "" if name == DEFAULT else f"{worse['value']:+.4f} ({worse['low']:+.4f} to {worse['high']:+.4f})",
            *([f"{regret['value']:.1%} ({regret['low']:.1%} to {regret['high']:.1%})"] if regret else []),
            f"{figures['seconds']:.1f}",
        )
    console.print(table)
    for short, name in (("lightgbm", LIGHTGBM), ("before", BEFORE)):
        gain = result[f"gain_over_{short}_percent"]
        side = "below" if gain > 0 else "above"
        console.print(f"log loss of the default is {abs(gain):.2f} % {side} that of {name}")


@contextmanager
def folder_of(given: Path | None) -> Iterator[Path]:
    if given:
        given.mkdir(parents=True, exist_ok=True)
        yield given
    else:
        with tempfile.TemporaryDirectory(prefix="churn-quality-") as scratch:
            yield Path(scratch)


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.quality", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument(
        "--only", action="append", help="a task, such as grocery or simulator-all; may be repeated"
    )
    parser.add_argument("--dates", type=int, help="as-of dates a task at most, the latest")
    parser.add_argument("--users", type=int, default=20_000, help="simulated users")
    parser.add_argument("--threads", type=int, default=1, help="threads of each model")
    parser.add_argument("--data", type=Path, help="keep the data folders here, and use those that are there")
    given = parser.parse_args()
    chosen = [task for task in tasks(given.users) if not given.only or task.name in given.only]
    if not chosen:
        parser.error(f"no such task: choose from {', '.join(sorted({task.name for task in tasks(1)}))}")
    console = Console()
    console = Console(width=max(console.width, 120))
    # LightGBM's scikit-learn wrapper names columns by itself and then misses the names.
    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    results = []
    with folder_of(given.data) as folder:
        for task in chosen:
            dates = task.dates[-given.dates :] if given.dates else task.dates
            results.append(
                run(
                    Task(task.name, task.make, task.product, dates),
                    folder / task.name,
                    given.threads,
                    console,
                )
            )
            show(results[-1], console)
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n")
        console.print(f"written to {given.json}")


if __name__ == "__main__":
    main()
