"""Fit, judge and refit the default model of one product.

The scheme, on past as-of dates in order (a label is known after ``label_delay``, by default 14 days):

1. The *holdout* is the latest date. What is judged on it may know only what was known on that date: snapshots
   taken at least ``label_delay`` earlier (*development*). Dates between the two serve nothing at this stage.
2. The number of trees is chosen within development by forward chaining: the latest block of dates is
   predicted from dates at least ``label_delay`` before it; earlier blocks join until there are enough
   rows; the number with the lowest log loss over all blocks wins. One fixed number is kept afterwards:
   growing it with the rows of a refit did not help on real weekly tasks, nor did early stopping on random
   rows.
3. A model fitted on all of development with that number is judged on the holdout. Those are the figures
   that the card reports.
4. The shipped model is fitted on everything, holdout included, with that number: it knows the latest weeks,
   and should do no worse than the figures say.

With too few dates users take the place of dates: a fifth of them, by a hash of the id, are held out. Rows
are sorted first and every draw is seeded, so the same snapshots in any order give the same booster to the
byte, on any number of threads.
"""

import hashlib
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import xgboost as xgb
from numpy.typing import NDArray

from churn.config.training import TrainingSettings
from churn.core.calendar import LABEL_DELAY
from churn.core.errors import CheckError
from churn.model.artifact import DateSummary, FeatureSchema, Model, ModelCard, sigmoid
from churn.model.metrics import Evaluation, best_threshold, evaluate
from churn.model.rows import Mask, TrainingRows, read_rows
from churn.model.splits import Fold, Split, split

logger = logging.getLogger(__name__)

Params = dict[str, bool | int | float | str]
# Threads with fewer rows each wait for each other most of the time: ten times slower on a busy machine.
_ROWS_PER_THREAD = 50_000


@dataclass(frozen=True)
class TrainingResult:
    """A fitted model with what is known of its quality.

    Attributes:
        model: the shipped model, fitted on every row.
        holdout: user_id, as_of_date, churned, predicted_probability (by the model that had not seen them).
        evaluation: the holdout's metrics with 95 % intervals.
        trees_by_fold: the best number of trees of each validation block by itself, latest block first.
        notes: what was done differently from the usual scheme, in sentences.
    """

    model: Model
    holdout: pa.Table
    evaluation: Evaluation
    trees_by_fold: tuple[int, ...]
    notes: tuple[str, ...]


def train(
    snapshots: pa.Table,
    *,
    product: str,
    as_of: date,
    settings: TrainingSettings,
    label_delay: timedelta = LABEL_DELAY,
    seed: int = 1,
    threads: int = 0,
    code_version: str,
    created_at: datetime | None = None,
) -> TrainingResult:
    """Fit a product's model on labelled snapshots.

    Args:
        snapshots: user_id, as_of_date, churned (0 or 1) and feature columns; rows in any order.
        product: name of the product, for the card.
        as_of: the Sunday as of which everything must be known.
        settings: how to fit.
        label_delay: time from an as-of date until its label is known.
        seed: seed of row and column sampling, and of the holdout's intervals.
        threads: threads to use, at most; 0 = all. Few rows use fewer. The model does not depend on it.
        code_version: version of the code, for the card.
        created_at: time for the card, with a time zone; now by default.

    Raises:
        CheckError: keys or labels are missing or repeated, a label was not known on ``as_of``, there are too
            few rows or too few of a class, the churn rate is out of bounds, or the model's probabilities are
            constant or not numbers.
        RunError: a feature holds infinite numbers.
    """
    stage = f"training of {product}"
    rows = read_rows(snapshots, as_of=as_of, settings=settings, stage=stage, label_delay=label_delay)
    plan = split(rows, settings)
    params = _params(settings, seed, _useful_threads(threads, len(rows)))
    trees, by_fold = _choose_trees(rows, plan.folds, params, settings)
    logger.info("%s: %d trees; by validation block: %s", stage, trees, ", ".join(map(str, by_fold)))

    churned = rows.churned[plan.holdout]
    probability = _fit(rows, plan.development, params, trees).probability(rows, plan.holdout)
    _check_numbers(probability, stage)
    evaluation = evaluate(churned, probability, clusters=rows.users[plan.holdout], seed=seed)

    shipped = _fit(rows, rows.everything, params, trees)
    _check_scores(shipped.probability(rows, rows.everything), stage)
    fingerprint = rows.fingerprint()
    raw = bytes(shipped.booster.save_raw("ubj"))
    version = hashlib.sha256(raw + f"{fingerprint} {code_version}".encode()).hexdigest()[:10]
    card = ModelCard(
        product=product,
        as_of=as_of,
        model_version=f"{product}-{as_of:%Y%m%d}-{version}",
        features=shipped.schema.names,
        categories=dict(shipped.schema.categories),
        params={key: value for key, value in shipped.params.items() if key not in ("nthread", "verbosity")},
        trees=trees,
        training_dates=tuple(plan.roles),
        dates=_date_facts(rows, plan),
        rows=len(rows),
        churn_rate=float(rows.churned.mean()),
        judged_on=plan.judged_on,
        metrics=evaluation.to_dict(),
        threshold=best_threshold(churned, probability),
        seed=seed,
        data_fingerprint=fingerprint,
        code_version=code_version,
        created_at=created_at or datetime.now(UTC),
        notes=plan.notes,
    )
    holdout = rows.keys.filter(pa.array(plan.holdout)).append_column(
        "predicted_probability", pa.array(probability, pa.float64())
    )
    return TrainingResult(Model(shipped.booster, card), holdout, evaluation, by_fold, plan.notes)


@dataclass(frozen=True)
class _Fitted:
    schema: FeatureSchema
    params: Params
    booster: xgb.Booster

    def probability(self, rows: TrainingRows, which: Mask) -> NDArray[np.float64]:
        matrix = rows.matrix(self.schema, which)
        return sigmoid(self.booster.inplace_predict(matrix, predict_type="margin", validate_features=False))


def _params(settings: TrainingSettings, seed: int, threads: int) -> Params:
    return {
        "objective": "binary:logistic",
        "eval_metric": "logloss",
        "tree_method": "hist",
        "max_depth": settings.max_depth,
        "min_child_weight": settings.min_child_weight,
        "subsample": settings.subsample,
        "colsample_bytree": settings.colsample_bytree,
        "reg_lambda": settings.reg_lambda,
        "learning_rate": settings.learning_rate,
        "seed": seed,
        # Otherwise boosters that grow in turns would share one stream of random numbers.
        "seed_per_iteration": True,
        "nthread": threads,
        "verbosity": 0,
    }


def _useful_threads(threads: int, rows: int) -> int:
    return min(threads or os.cpu_count() or 1, 1 + rows // _ROWS_PER_THREAD)


def _data(
    rows: TrainingRows, schema: FeatureSchema, which: Mask, threads: int, ref: xgb.DMatrix | None = None
) -> xgb.DMatrix:
    # XGBoost calls back into Python for the rows. Ctrl-C raises in the main thread; raised in there, it would
    # leave XGBoost's memory broken. So they are read in another thread, which a stop waits for.
    with ThreadPoolExecutor(1, "churn-matrix") as apart:
        return apart.submit(
            xgb.QuantileDMatrix,
            rows.matrix(schema, which),
            label=rows.churned[which],
            feature_names=list(schema.names),
            nthread=threads,
            ref=ref,
        ).result()


def _start(rows: TrainingRows, fit: Mask, params: Params) -> Params:
    # The base margin is the log-odds of the rows that are fitted.
    return {**params, "base_score": float(rows.churned[fit].mean())}


def _fit(rows: TrainingRows, which: Mask, params: Params, trees: int) -> _Fitted:
    schema = rows.schema(which)
    complete = _start(rows, which, params)
    booster = xgb.train(complete, _data(rows, schema, which, int(params["nthread"])), trees)
    return _Fitted(schema, complete, booster)


class _Trial:
    """One fold's booster, which grows a tree at a time."""

    def __init__(self, rows: TrainingRows, fold: Fold, params: Params) -> None:
        schema = rows.schema(fold.fit)  # the order of categories must not know the rows that judge
        threads = int(params["nthread"])
        self._fit = _data(rows, schema, fold.fit, threads)
        self._validate = _data(rows, schema, fold.validate, threads, ref=self._fit)
        self._booster = xgb.Booster(_start(rows, fold.fit, params), [self._fit, self._validate])
        self.rows = int(fold.validate.sum())

    def grow(self, iteration: int) -> float:
        """Add a tree; return the validation log loss."""
        self._booster.update(self._fit, iteration)
        return float(self._booster.eval_set([(self._validate, "validation")], iteration).rpartition(":")[2])


def _choose_trees(
    rows: TrainingRows, folds: tuple[Fold, ...], params: Params, settings: TrainingSettings
) -> tuple[int, tuple[int, ...]]:
    """Return the number of trees with the lowest log loss over all folds, and each fold's own best.

    All folds grow together, so that early stopping looks at their common curve.
    """
    trials = [_Trial(rows, fold, params) for fold in folds]
    weights = np.array([trial.rows for trial in trials], dtype=np.float64)
    curves: list[NDArray[np.float64]] = []
    best, lowest = 1, np.inf
    for iteration in range(settings.max_trees):
        curves.append(np.array([trial.grow(iteration) for trial in trials]))
        loss = float(curves[-1] @ weights / weights.sum())
        if loss < lowest:
            best, lowest = iteration + 1, loss
        elif iteration + 1 - best >= settings.early_stopping_rounds:
            break
    by_fold = np.argmin(np.array(curves), axis=0) + 1
    return best, tuple(int(trees) for trees in by_fold)


def _check_numbers(probability: NDArray[Any], stage: str) -> None:
    wrong = int(np.isnan(probability).sum())
    if wrong:
        raise CheckError(stage, [f"{wrong:,} of {len(probability):,} probabilities are not numbers"])


def _check_scores(probability: NDArray[Any], stage: str) -> None:
    _check_numbers(probability, stage)
    if np.ptp(probability) < 1e-7:
        raise CheckError(
            stage,
            [
                f"all {len(probability):,} probabilities are {probability[0]:.4f}: "
                "no feature tells churners from others; see which features are empty or constant"
            ],
        )


def _date_facts(rows: TrainingRows, plan: Split) -> tuple[DateSummary, ...]:
    facts = []
    for day, role in plan.roles.items():
        churned = rows.churned[rows.dates == np.datetime64(day)]
        facts.append(DateSummary(as_of=day, rows=len(churned), churn_rate=float(churned.mean()), role=role))
    return tuple(facts)
