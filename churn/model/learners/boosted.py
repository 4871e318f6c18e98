"""Gradient-boosted trees by XGBoost: the default learner."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import xgboost as xgb

from churn.config.training import TrainingSettings
from churn.model.encoding import Matrix
from churn.model.learners.base import FitData, Floats, Grown, Params, Watch, unwatched

# With fewer rows each, threads mostly wait for each other: ten times slower on a busy machine.
_ROWS_PER_THREAD = 50_000
_NOT_OF_THE_MODEL = ("nthread", "verbosity")


@dataclass(frozen=True, eq=False)
class Boosted:
    """A booster of XGBoost, with numeric splits and one output."""

    booster: xgb.Booster
    params: Params

    suffix: ClassVar[str] = "ubj"
    exact: ClassVar[bool] = True

    @property
    def size(self) -> int:
        """Number of trees."""
        return int(self.booster.num_boosted_rounds())

    def margin(self, X: Matrix, size: int | None = None) -> Floats:
        """Return the log-odds of churn, (rows,)."""
        if not len(X):
            return np.empty(0)
        predicted = self.booster.inplace_predict(
            X, predict_type="margin", validate_features=False, iteration_range=(0, min(size or 0, self.size))
        )
        margin: Floats = predicted.astype(np.float64)
        return margin

    def to_bytes(self) -> bytes:
        """Return the booster as universal binary JSON."""
        return bytes(self.booster.save_raw("ubj"))

    @classmethod
    def from_bytes(cls, raw: bytes, threads: int = 0) -> Self:
        """Read a booster."""
        booster = xgb.Booster({"nthread": threads, "verbosity": 0})
        try:
            booster.load_model(bytearray(raw))
        except xgb.core.XGBoostError as error:
            raise ValueError(f"XGBoost cannot read it: {error}") from error
        return cls(booster, {})


@dataclass(frozen=True)
class XGBoost:
    """Fits boosted trees; early stopping chooses their number on a fold's later rows."""

    settings: TrainingSettings
    seed: int = 1
    threads: int = 1
    params: Params | None = None  # in place of the settings'

    kind: ClassVar[str] = "xgboost"
    sized: ClassVar[bool] = True

    def grow(self, fit: FitData, validate: FitData, watch: Watch = unwatched) -> Grown:
        """Add trees until so many in a row have not lowered the later rows' log loss."""
        most, patience = self.settings.max_trees, self.settings.early_stopping_rounds
        params = self._params(fit)
        matrix = _quantile_matrix(fit, params)
        later = _quantile_matrix(validate, params, matrix)
        booster = xgb.Booster(params, [matrix, later])
        losses: list[float] = []
        best = 0
        while len(losses) < most and len(losses) - best <= patience:
            booster.update(matrix, len(losses))
            losses.append(float(booster.eval_set([(later, "later")], len(losses)).rpartition(":")[2]))
            if losses[-1] < losses[best]:
                best = len(losses) - 1
            watch(len(losses), most)
        return Grown(self._member(booster, params), np.array(losses))

    def fit(self, fit: FitData, size: int, watch: Watch = unwatched) -> Boosted:
        """Fit a number of trees."""
        params = self._params(fit)
        matrix = _quantile_matrix(fit, params)
        booster = xgb.Booster(params, [matrix])
        for tree in range(size):
            booster.update(matrix, tree)
            watch(tree + 1, size)
        return self._member(booster, params)

    def _member(self, booster: xgb.Booster, params: Params) -> Boosted:
        return Boosted(booster, {key: value for key, value in params.items() if key not in _NOT_OF_THE_MODEL})

    def _params(self, fit: FitData) -> Params:
        settings = self.settings
        threads = min(self.threads, 1 + len(fit) // _ROWS_PER_THREAD)
        return {
            "objective": "binary:logistic",
            "eval_metric": "logloss",
            "tree_method": "hist",
            "max_bin": settings.max_bin,
            "max_depth": settings.max_depth,
            "min_child_weight": settings.min_child_weight,
            "subsample": settings.subsample,
            "colsample_bytree": settings.colsample_bytree,
            "reg_lambda": settings.reg_lambda,
            "learning_rate": settings.learning_rate,
            "seed": self.seed,
            # Otherwise boosters that grow in turns share one stream of random numbers.
            "seed_per_iteration": True,
            **(self.params or {}),
            # The base margin is the log-odds of the churn rate of the fitted rows.
            "base_score": fit.churn_rate,
            "nthread": threads,
            "verbosity": 0,
        }


class _Batches(xgb.DataIter):  # type: ignore[misc]  # XGBoost has no types
    """Hands rows to XGBoost some at a time, so that they are never in memory twice."""

    def __init__(self, data: FitData) -> None:
        super().__init__(release_data=True)
        self._data = data
        self._batches = data.batches()

    def next(self, input_data: Callable[..., Any]) -> bool:
        batch = next(self._batches, None)
        if batch is None:
            return False
        matrix, churned = batch
        input_data(data=matrix, label=churned, feature_names=self._data.names)
        return True

    def reset(self) -> None:
        self._batches = self._data.batches()


def _quantile_matrix(data: FitData, params: Params, ref: xgb.DMatrix | None = None) -> xgb.DMatrix:
    # XGBoost calls back into Python for the rows. Ctrl-C raises in the main thread; inside such a callback it
    # would corrupt XGBoost's memory. So another thread reads the rows, and Ctrl-C waits for it.
    with ThreadPoolExecutor(1, "churn-matrix") as pool:
        return pool.submit(
            xgb.QuantileDMatrix,
            _Batches(data),
            max_bin=int(params["max_bin"]),
            nthread=int(params["nthread"]),
            ref=ref,
        ).result()
