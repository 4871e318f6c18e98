"""Gradient-boosted trees by LightGBM; an extra, ``churn[lightgbm]``."""

import re
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from churn.config.training import TrainingSettings
from churn.model.encoding import Matrix
from churn.model.learners.base import FitData, Floats, Grown, LearnerError, Params, Watch, unwatched

_NOT_OF_THE_MODEL = ("num_threads", "verbosity")


def _lightgbm() -> Any:
    try:
        import lightgbm  # an extra
    except ImportError as error:
        raise LearnerError(
            "the library of the learner lightgbm is missing: pip install 'churn[lightgbm]'"
        ) from error
    return lightgbm


@dataclass(frozen=True, eq=False)
class LightBoosted:
    """A booster of LightGBM, with numeric splits and one output."""

    booster: Any
    params: Params

    suffix: ClassVar[str] = "txt"
    exact: ClassVar[bool] = True

    @property
    def size(self) -> int:
        """Number of trees."""
        return int(self.booster.num_trees())

    @property
    def text(self) -> str:
        """The booster in LightGBM's own notation."""
        text = str(self.booster.model_to_string(num_iteration=-1))
        return re.sub(r"\[num_threads: \d+\]", "[num_threads: 0]", text)  # the model does not depend on it

    def margin(self, X: Matrix, size: int | None = None) -> Floats:
        """Return the log-odds of churn, (rows,)."""
        if not len(X):
            return np.empty(0)
        rows = np.ascontiguousarray(X)
        margin: Floats = self.booster.predict(rows, raw_score=True, num_iteration=size or -1, num_threads=1)
        return margin

    def to_bytes(self) -> bytes:
        """Return the booster as text."""
        return self.text.encode()

    @classmethod
    def from_bytes(cls, raw: bytes, threads: int = 0) -> Self:
        """Read a booster."""
        lightgbm = _lightgbm()
        try:
            return cls(lightgbm.Booster(model_str=raw.decode()), {})
        except (UnicodeDecodeError, lightgbm.basic.LightGBMError) as error:
            raise ValueError(f"LightGBM cannot read it: {error}") from error


@dataclass(frozen=True)
class LightGBM:
    """Fits boosted trees with the same settings as XGBoost's, by leaves of at most ``2 ** max_depth``."""

    settings: TrainingSettings
    seed: int = 1
    threads: int = 1
    params: Params | None = None

    kind: ClassVar[str] = "lightgbm"
    sized: ClassVar[bool] = True

    def grow(self, fit: FitData, validate: FitData, watch: Watch = unwatched) -> Grown:
        """Add trees until so many in a row have not lowered the later rows' log loss."""
        lightgbm = _lightgbm()
        most, patience = self.settings.max_trees, self.settings.early_stopping_rounds
        params = self._params(fit)
        data = self._dataset(fit, params)
        later = data.create_valid(validate.matrix, label=validate.churned, params=params)
        booster = lightgbm.Booster(params, data)
        booster.add_valid(later, "later")
        losses: list[float] = []
        best = 0
        while len(losses) < most and len(losses) - best <= patience:
            finished = booster.update()
            losses.append(float(booster.eval_valid()[0][2]))
            if losses[-1] < losses[best]:
                best = len(losses) - 1
            watch(len(losses), most)
            if finished:
                break
        return Grown(self._member(booster, params), np.array(losses))

    def fit(self, fit: FitData, size: int, watch: Watch = unwatched) -> LightBoosted:
        """Fit a number of trees."""
        lightgbm = _lightgbm()
        params = self._params(fit)
        booster = lightgbm.Booster(params, self._dataset(fit, params))
        for tree in range(size):
            finished = booster.update()
            watch(tree + 1, size)
            if finished:
                break
        return self._member(booster, params)

    def _member(self, booster: Any, params: Params) -> LightBoosted:
        kept = {key: value for key, value in params.items() if key not in _NOT_OF_THE_MODEL}
        return LightBoosted(booster, kept)

    def _dataset(self, data: FitData, params: Params) -> Any:
        names = [f"f{index}" for index in range(len(data.names))]  # any text may name a feature here
        return _lightgbm().Dataset(
            data.matrix, label=data.churned, feature_name=names, params=params, free_raw_data=True
        )

    def _params(self, fit: FitData) -> Params:
        settings = self.settings
        return {
            "objective": "binary",
            "metric": "binary_logloss",
            "num_leaves": 1 << settings.max_depth,
            "max_bin": settings.max_bin,
            "min_sum_hessian_in_leaf": settings.min_child_weight,
            "min_data_in_leaf": 20,
            "bagging_fraction": settings.subsample,
            "bagging_freq": 1,
            "feature_fraction": settings.colsample_bytree,
            "lambda_l2": settings.reg_lambda,
            "learning_rate": settings.learning_rate,
            "seed": self.seed,
            "deterministic": True,
            "force_row_wise": True,
            **(self.params or {}),
            "num_threads": self.threads,
            "verbosity": -1,
        }
