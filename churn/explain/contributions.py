"""Exact SHAP contributions of a model: the one place where they are computed."""

import logging
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from churn.explain.treeshap import TreeShap, UnsupportedModelError
from churn.model import Model

logger = logging.getLogger(__name__)


class Contributions(NamedTuple):
    """What each feature adds to each row's margin, in log-odds.

    Attributes:
        phi: contributions, float32 (rows, features), in the order of the model's features.
        bias: the margin that the model expects of an average training row.
        margin: the rows' margins, float32 (rows,), predicted on their own and not summed up from ``phi``.
    """

    phi: NDArray[np.float32]
    bias: float
    margin: NDArray[np.float32]


# A booster's trees are prepared once for all batches, and forgotten with it.
_explainers: WeakKeyDictionary[xgb.Booster, TreeShap | None] = WeakKeyDictionary()


def contributions(model: Model, X: NDArray[np.float32]) -> Contributions:
    """Return the exact path-dependent Shapley values of every row.

    ``TreeShap`` computes them; a model that it refuses goes to XGBoost's own, slower algorithm (Lundberg,
    Erion, Lee: Consistent individualized feature attribution for tree ensembles, 2018), and one line says
    so. For each row, ``bias + phi.sum()`` equals the margin up to the rounding of float32.

    Args:
        model: a model with one output.
        X: encoded features, (rows, features); NaN = missing. No rows give no contributions, and the bias.
    """
    booster = model.booster
    if booster not in _explainers:
        _explainers[booster] = _explainer(booster)
    explainer = _explainers[booster]
    if explainer is None:
        return _by_xgboost(model, X)
    return Contributions(explainer.contributions(X)[:, :-1], float(explainer.bias), model.margin(X))


def _explainer(booster: xgb.Booster) -> TreeShap | None:
    try:
        return TreeShap(booster)
    except UnsupportedModelError as error:
        logger.warning("contributions are computed by XGBoost, which is slower: %s", error)
        return None


def _by_xgboost(model: Model, X: NDArray[np.float32]) -> Contributions:
    # Not a QuantileDMatrix: that would bin the values anew, and explain other rows than these.
    rows = X if len(X) else np.full((1, X.shape[1]), np.nan, np.float32)
    matrix = xgb.DMatrix(
        rows, feature_names=model.booster.feature_names, feature_types=model.booster.feature_types
    )
    phi = model.booster.predict(matrix, pred_contribs=True, strict_shape=False)
    return Contributions(phi[: len(X), :-1], float(phi[0, -1]), model.margin(X))
