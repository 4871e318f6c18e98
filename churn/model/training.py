"""Fit, evaluate and refit one product's model.

The scheme, on past as-of dates in order (a label is known after ``label_delay``, by default 14 days):

1. The *holdout* is the latest date. The model evaluated on it may use only what was known on that date:
   snapshots taken at least ``label_delay`` earlier (*development*). Dates between the two are not used at
   this stage.
2. The number of trees is chosen within development by forward chaining: the latest block of dates is
   predicted from dates at least ``label_delay`` before it, then earlier blocks, until there are enough rows.
   The number with the lowest log loss over all blocks is used from then on. Scaling it with the rows of the
   refit did not help on real weekly tasks, nor did early stopping on random rows.
3. A model with that number of trees is fitted on all of development and evaluated on the holdout. The card
   reports these figures.
4. The shipped model is fitted on all rows, holdout included, with the same number of trees.

With too few dates, users are held out instead: a fifth of them, by a hash of the id. Rows are sorted first
and every draw is seeded. The same snapshots in any order give the same booster, byte for byte, on any number
of threads.
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
from churn.model.progress import Rounds, Told
from churn.model.rows import Mask, TrainingRows, read_rows
from churn.model.splits import Fold, Split, split

logger = logging.getLogger(__name__)

Params = dict[str, bool | int | float | str]
# With fewer rows each, threads mostly wait for each other: ten times slower on a busy machine.
_ROWS_PER_THREAD = 50_000


@dataclass(frozen=True)
class TrainingResult:
    """A fitted model and its holdout evaluation.

    Attributes:
        model: the shipped model, fitted on every row.
        holdout: user_id, as_of_date, churned, predicted_probability, by a model not fitted on these rows.
        evaluation: the holdout's metrics with 95 % intervals.
    """

    model: Model
    holdout: pa.Table
    evaluation: Evaluation


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
    on_progress: Told | None = None,
) -> TrainingResult:
    """Fit a product's model on labelled snapshots.

    Example:
        >>> result = train(
        ...     snapshots, product="iplayer", as_of=date(2026, 6, 28),
        ...     settings=TrainingSettings(), code_version="0.2.0",
        ... )
        >>> result.evaluation.auc.value
        >>> result.model.save("model")

    Args:
        snapshots: user_id, as_of_date, churned (0 or 1) and feature columns; rows in any order.
        product: name of the product, for the card.
        as_of: the run's as-of date, a Sunday; every label must be known by then.
        label_delay: time from an as-of date until its label is known.
        seed: seed of row and column sampling, and of the holdout's intervals.
        threads: largest number of threads; 0 = all. Few rows use fewer. The model does not depend on it.
        code_version: version of the code, for the card.
        created_at: time for the card, with a time zone; by default now.
        on_progress: called with a sentence after each round: how many there were, how many seconds are left.

    Raises:
        CheckError: keys or labels are missing or repeated, a label was not known on ``as_of``, there are too
            few rows in all or of one class, the churn rate is out of bounds, or the predicted probabilities
            are constant or NaN.
        RunError: a feature holds infinite numbers.
    """
    stage = f"training of {product}"
    rows = read_rows(snapshots, as_of=as_of, settings=settings, stage=stage, label_delay=label_delay)
    parts = split(rows, settings)
    useful_threads = min(threads or os.cpu_count() or 1, 1 + len(rows) // _ROWS_PER_THREAD)
    params = _params(settings, seed, useful_threads)
    trees, by_fold = _choose_trees(rows, parts.folds, params, settings, on_progress)
    logger.info("%s: %d trees; by validation block: %s", stage, trees, ", ".join(map(str, by_fold)))
    notes = [*parts.notes, *_too_few_trees(product, trees, settings)]

    churned = rows.churned[parts.holdout]
    probability = _fit(
        rows, parts.development, params, Rounds("fit to judge", trees, on_progress), trees
    ).probability(rows, parts.holdout)
    _check_numbers(probability, stage)
    evaluation = evaluate(churned, probability, clusters=rows.users[parts.holdout], seed=seed)

    shipped = _fit(rows, rows.everything, params, Rounds("fit to all rows", trees, on_progress), trees)
    _check_scores(shipped.probability(rows, rows.everything), stage)
    fingerprint = rows.fingerprint()
    booster_bytes = bytes(shipped.booster.save_raw("ubj"))
    version = hashlib.sha256(booster_bytes + f"{fingerprint} {code_version}".encode()).hexdigest()[:10]
    card = ModelCard(
        product=product,
        as_of=as_of,
        model_version=f"{product}-{as_of:%Y%m%d}-{version}",
        features=shipped.schema.names,
        categories=dict(shipped.schema.categories),
        params={key: value for key, value in shipped.params.items() if key not in ("nthread", "verbosity")},
        trees=trees,
        training_dates=tuple(parts.roles),
        dates=_date_summaries(rows, parts),
        rows=len(rows),
        churn_rate=float(rows.churned.mean()),
        judged_on=parts.judged_on,
        metrics=evaluation.to_dict(),
        threshold=best_threshold(churned, probability),
        seed=seed,
        data_fingerprint=fingerprint,
        code_version=code_version,
        created_at=created_at or datetime.now(UTC),
        notes=tuple(notes),
    )
    holdout = rows.keys.filter(pa.array(parts.holdout)).append_column(
        "predicted_probability", pa.array(probability, pa.float64())
    )
    return TrainingResult(Model(shipped.booster, card), holdout, evaluation)


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
        # Otherwise boosters that grow in turns share one stream of random numbers.
        "seed_per_iteration": True,
        "nthread": threads,
        "verbosity": 0,
    }


def _quantile_matrix(
    rows: TrainingRows, schema: FeatureSchema, which: Mask, threads: int, ref: xgb.DMatrix | None = None
) -> xgb.DMatrix:
    # XGBoost calls back into Python for the rows. Ctrl-C raises in the main thread; inside such a callback it
    # would corrupt XGBoost's memory. So another thread reads the rows, and Ctrl-C waits for it.
    with ThreadPoolExecutor(1, "churn-matrix") as pool:
        return pool.submit(
            xgb.QuantileDMatrix,
            rows.matrix(schema, which),
            label=rows.churned[which],
            feature_names=list(schema.names),
            nthread=threads,
            ref=ref,
        ).result()


def _with_base_score(rows: TrainingRows, fit: Mask, params: Params) -> Params:
    # The base margin is the log-odds of the churn rate of the fitted rows.
    return {**params, "base_score": float(rows.churned[fit].mean())}


def _fit(rows: TrainingRows, which: Mask, params: Params, rounds: Rounds, trees: int) -> _Fitted:
    schema = rows.schema(which)
    complete = _with_base_score(rows, which, params)
    matrix = _quantile_matrix(rows, schema, which, int(params["nthread"]))
    booster = xgb.train(complete, matrix, trees, callbacks=[rounds])
    return _Fitted(schema, complete, booster)


class _FoldBooster:
    """One fold's booster, which grows a tree at a time."""

    def __init__(self, rows: TrainingRows, fold: Fold, params: Params) -> None:
        schema = rows.schema(fold.fit)  # category order must not depend on the validation rows
        threads = int(params["nthread"])
        self._fit = _quantile_matrix(rows, schema, fold.fit, threads)
        self._validate = _quantile_matrix(rows, schema, fold.validate, threads, ref=self._fit)
        self._booster = xgb.Booster(_with_base_score(rows, fold.fit, params), [self._fit, self._validate])
        self.rows = int(fold.validate.sum())

    def grow(self, iteration: int) -> float:
        """Add a tree; return the validation log loss."""
        self._booster.update(self._fit, iteration)
        return float(self._booster.eval_set([(self._validate, "validation")], iteration).rpartition(":")[2])


def _choose_trees(
    rows: TrainingRows,
    folds: tuple[Fold, ...],
    params: Params,
    settings: TrainingSettings,
    on_progress: Told | None,
) -> tuple[int, tuple[int, ...]]:
    """Return the number of trees with the lowest log loss over all folds, and each fold's own best.

    All folds grow together: early stopping uses their weighted mean loss.
    """
    boosters = [_FoldBooster(rows, fold, params) for fold in folds]
    weights = np.array([booster.rows for booster in boosters], dtype=np.float64)
    curves: list[NDArray[np.float64]] = []
    best, lowest = 1, np.inf
    rounds = Rounds("choose the number of trees", settings.max_trees, on_progress, at_most=True)
    for iteration in range(settings.max_trees):
        curves.append(np.array([booster.grow(iteration) for booster in boosters]))
        loss = float(curves[-1] @ weights / weights.sum())
        rounds.after_iteration(None, iteration, {})
        if loss < lowest:
            best, lowest = iteration + 1, loss
        elif iteration + 1 - best >= settings.early_stopping_rounds:
            break
    by_fold = np.argmin(np.array(curves), axis=0) + 1
    return best, tuple(int(trees) for trees in by_fold)


def _too_few_trees(product: str, trees: int, settings: TrainingSettings) -> list[str]:
    """Return a warning if the limit on trees ended the fit while more trees still helped."""
    if trees < settings.max_trees:
        return []
    return [
        f"The model has {trees:,} trees, all that max_trees allows, and was still getting better: its "
        f"probabilities are too close to the average. Raise max_trees or learning_rate of "
        f"[products.{product}.training]."
    ]


def _check_numbers(probability: NDArray[Any], stage: str) -> None:
    wrong = int(np.isnan(probability).sum())
    if wrong:
        raise CheckError(stage, [f"{wrong:,} of {len(probability):,} probabilities are NaN"])


def _check_scores(probability: NDArray[Any], stage: str) -> None:
    _check_numbers(probability, stage)
    if np.ptp(probability) < 1e-7:
        constant = (
            f"all {len(probability):,} probabilities are {probability[0]:.4f}: "
            "no feature separates churners from others; see which features are empty or constant"
        )
        raise CheckError(stage, [constant])


def _date_summaries(rows: TrainingRows, parts: Split) -> tuple[DateSummary, ...]:
    churned = {day: rows.churned[rows.dates == np.datetime64(day)] for day in parts.roles}
    return tuple(
        DateSummary(as_of=day, rows=len(labels), churn_rate=float(labels.mean()), role=parts.roles[day])
        for day, labels in churned.items()
    )
