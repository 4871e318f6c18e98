"""Exact SHAP contributions of a model: the one place where they are computed."""

from typing import NamedTuple

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from churn.model import Model


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


def contributions(model: Model, X: NDArray[np.float32]) -> Contributions:
    """Return the path-dependent Shapley values of every row, by XGBoost's own exact algorithm.

    Lundberg, Erion, Lee: Consistent individualized feature attribution for tree ensembles (2018). For each
    row, ``bias + phi.sum()`` equals the margin up to the rounding of float32.

    Args:
        model: a model with one output.
        X: encoded features, (rows, features); NaN = missing. No rows give no contributions, and the bias.
    """
    # Not a QuantileDMatrix: that would bin the values anew, and explain other rows than these.
    rows = X if len(X) else np.full((1, X.shape[1]), np.nan, np.float32)
    matrix = xgb.DMatrix(
        rows, feature_names=model.booster.feature_names, feature_types=model.booster.feature_types
    )
    phi = model.booster.predict(matrix, pred_contribs=True, strict_shape=False)
    return Contributions(phi[: len(X), :-1], float(phi[0, -1]), model.margin(X))
