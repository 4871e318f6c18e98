"""Compute the exact SHAP contributions of a model."""

import logging
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from churn.core.floats import standard_floats
from churn.explain.treeshap import TreeShap, UnsupportedModelError
from churn.model.artifact import Model

logger = logging.getLogger(__name__)


class Contributions(NamedTuple):
    """What each feature adds to each row's margin, in log-odds.

    Attributes:
        phi: contributions, float32 (rows, features) in the order of the model's features; column-major
            (``.T`` is C-contiguous).
        bias: the margin of an average training row.
        margin: the rows' margins, float32 (rows,): bias plus contributions, summed in float64.
    """

    phi: NDArray[np.float32]
    bias: float
    margin: NDArray[np.float32]


# A booster's explainer is built once and dropped with the booster.
_explainers: WeakKeyDictionary[xgb.Booster, TreeShap | None] = WeakKeyDictionary()


def contributions(model: Model, X: NDArray[np.float32]) -> Contributions:
    """Return the exact path-dependent Shapley values of every row.

    ``TreeShap`` computes them. For a model that it does not support, XGBoost's slower algorithm does
    (Lundberg, Erion, Lee: Consistent individualized feature attribution for tree ensembles, 2018), and a
    warning is logged. ``margin`` equals ``model.margin(X)`` up to float32 rounding; ``additivity_gap``
    measures the difference.

    Args:
        model: a model with one output.
        X: encoded features, (rows, features); NaN = missing. Zero rows are allowed.
    """
    if model.booster not in _explainers:
        _explainers[model.booster] = _explainer(model.booster)
    explainer = _explainers[model.booster]
    if explainer is None:
        return _by_xgboost(model, X)
    margin, phi = explainer.margin_and_contributions(X)
    return Contributions(phi[:, :-1], explainer.bias, margin)


def _explainer(booster: xgb.Booster) -> TreeShap | None:
    try:
        return TreeShap(booster)
    except UnsupportedModelError as error:
        logger.warning("contributions are computed by XGBoost, which is slower: %s", error)
        return None


@standard_floats()
def _by_xgboost(model: Model, X: NDArray[np.float32]) -> Contributions:
    # Not a QuantileDMatrix: it would bin the values and explain changed rows.
    rows = X if len(X) else np.full((1, X.shape[1]), np.nan, np.float32)
    matrix = xgb.DMatrix(
        rows, feature_names=model.booster.feature_names, feature_types=model.booster.feature_types
    )
    predicted = model.booster.predict(matrix, pred_contribs=True, strict_shape=False)
    phi, bias = np.asfortranarray(predicted[: len(X), :-1]), float(predicted[0, -1])
    margin = (bias + phi.sum(axis=1, dtype=np.float64)).astype(np.float32)
    return Contributions(phi, bias, margin)


@standard_floats()
def additivity_gap(
    model: Model, X: NDArray[np.float32], explained: Contributions, rows: int
) -> tuple[int, float]:
    """Return how far bias plus contributions are from XGBoost's margin, on a sample of rows.

    Args:
        X: encoded features, (rows, features).
        explained: their contributions.
        rows: largest number of rows to compare, spread evenly.

    Returns:
        The number of rows compared, and the largest difference: in log-odds, relative for margins beyond 1.
    """
    sampled = slice(None, None, max(1, -(-len(X) // rows)))
    margin = model.margin(X[sampled])
    summed = explained.bias + explained.phi[sampled].sum(axis=1, dtype=np.float64)
    gap = np.maximum(np.abs(margin - summed), np.abs(margin - explained.margin[sampled].astype(np.float64)))
    return len(margin), float((gap / np.maximum(1.0, np.abs(margin))).max(initial=0.0))
