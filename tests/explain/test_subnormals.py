"""Contributions where another library has switched subnormal numbers off."""

import numpy as np
import pytest
import xgboost as xgb

from churn.explain.treeshap import TreeShap
from tests.support.subnormals import subnormals_off


def split_at_zero(values):
    """Return a booster that splits on small values, with missing ones on both sides, and rows to explain."""
    rng = np.random.default_rng(0)
    X = rng.choice(np.array(values, np.float32), (2_000, 4))
    X[rng.random(X.shape) < 0.1] = np.nan
    y = (np.nan_to_num(X[:, 0]) >= 0) ^ (rng.random(2_000) < 0.2)
    parameters = {"objective": "binary:logistic", "max_depth": 3, "nthread": 1}
    return xgb.train(parameters, xgb.DMatrix(X, label=y.astype(float)), 10), X[:300]


@pytest.mark.parametrize("values", [(-2, -1, 0, 1, 2), (-1e-40, 0, 1e-40, 3e-39), (0, 1.5e-45)])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("off_while", ["explaining", "loading", "both"])
def test_contributions_and_margins_are_those_with_subnormal_numbers(values, threads, off_while):
    booster, X = split_at_zero(values)
    matrix = xgb.DMatrix(X)
    margin = booster.predict(matrix, output_margin=True)
    phi = booster.predict(matrix, pred_contribs=True)
    if off_while == "explaining":
        explainer = TreeShap(booster)
        with subnormals_off():
            found = explainer.margin_and_contributions(X, threads)
    elif off_while == "loading":
        with subnormals_off():
            explainer = TreeShap(booster)
        found = explainer.margin_and_contributions(X, threads)
    else:
        with subnormals_off():
            found = TreeShap(booster).margin_and_contributions(X, threads)
    np.testing.assert_allclose(found[0], margin, atol=1e-5)
    np.testing.assert_allclose(found[1], phi, atol=1e-5)
