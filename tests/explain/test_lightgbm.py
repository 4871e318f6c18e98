"""LightGBM's trees in the kernel: equal to LightGBM's own contributions."""

import lightgbm as lgb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn.explain.contributions import contributions, explained_names
from churn.explain.effects import bin_edges
from churn.explain.ensemble import UnsupportedModelError, read_lightgbm
from churn.explain.treeshap import TreeShap
from churn.model.artifact import Model
from churn.model.learners.light import LightBoosted
from tests.support.small_models import booster_of, model_of


def trained(X, y, trees=12, **params):
    fixed = {"objective": "binary", "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 1, "seed": 1}
    return lgb.train(fixed | params, lgb.Dataset(X, y, free_raw_data=False), trees)


def explainer_of(booster):
    return TreeShap(read_lightgbm(booster.model_to_string(), lambda X: booster.predict(X, raw_score=True)))


def random_rows(seed, rows, features, missing, zeros):
    rng = np.random.default_rng(seed)
    X = rng.normal(0, 1, (rows, features)).round(1).astype(np.float32)  # rounded: ties with thresholds
    X[rng.random(X.shape) < zeros] = 0
    X[rng.random(X.shape) < missing] = np.nan
    y = (np.nan_to_num(X[:, 0]) + rng.normal(0, 1, rows) > 0).astype(np.int8)
    return X, y


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    rows=st.integers(2, 120),
    features=st.integers(1, 9),
    leaves=st.sampled_from([2, 3, 8, 31]),
    missing=st.sampled_from([0.0, 0.1, 0.6]),
    unseen=st.booleans(),
    zeros=st.sampled_from([0.0, 0.7]),
)
def test_contributions_are_lightgbms(seed, rows, features, leaves, missing, unseen, zeros):
    X, y = random_rows(seed, rows, features, missing, zeros)
    booster = trained(X, y, num_leaves=leaves)
    Z, _ = random_rows(seed + 1, 60, features, 0.3 if unseen else missing, zeros)
    expected = booster.predict(Z, pred_contrib=True)
    found = explainer_of(booster).contributions(Z)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.shape == (60, features + 1)


def test_values_at_a_threshold_go_left():
    """LightGBM's thresholds are doubles between two values; a float32 may lie on either side of one."""
    X = np.arange(64, dtype=np.float32)[:, None] / np.float32(7)
    booster = trained(X, (X[:, 0] > 4).astype(int), num_leaves=8, max_bin=255)
    values = np.unique(booster.trees_to_dataframe()["threshold"].dropna().to_numpy())
    near = values.astype(np.float32)
    Z = np.concatenate([near, np.nextafter(near, np.float32(9e9)), np.nextafter(near, np.float32(-9e9))])
    found = explainer_of(booster).contributions(Z[:, None])
    np.testing.assert_allclose(found.sum(axis=1), booster.predict(Z[:, None], raw_score=True), atol=1e-5)


def test_a_model_without_splits_has_its_bias_only():
    X = np.zeros((50, 2), np.float32)
    booster = trained(X, np.arange(50) % 2)
    found = explainer_of(booster).contributions(X)
    np.testing.assert_allclose(found, booster.predict(X, pred_contrib=True), atol=1e-6)


REFUSED = {
    "categories": ({}, {"categorical_feature": [0]}, "splits on categories"),
    "classes": ({"objective": "multiclass", "num_class": 3}, {}, "3 classes"),
    "zeros": ({"zero_as_missing": True}, {}, "zeros for missing"),
    "linear": ({"linear_tree": True}, {}, "leaves are linear"),
    "forest": ({"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}, {}, "averages"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_kernel_does_not_explain_is_refused(what):
    params, data, told = REFUSED[what]
    rng = np.random.default_rng(0)
    X = rng.integers(0, 6, (400, 3)).astype(np.float64)
    y = (X[:, 0] % 3).astype(int) if what == "classes" else (X[:, 0] % 2).astype(int)
    fixed = {"objective": "binary", "verbosity": -1, "num_threads": 1, "min_data_per_group": 1}
    booster = lgb.train(fixed | params, lgb.Dataset(X, y, **data), 4)
    with pytest.raises(UnsupportedModelError, match=told):
        explainer_of(booster)


def test_a_stack_of_two_boosters_adds_up_and_has_both_ones_bins():
    X, y = random_rows(3, 500, 4, 0.1, 0.2)
    light = LightBoosted(trained(X, y, num_leaves=8), {})
    single = model_of(booster_of(X, y), ["a", "b", "c", "d"])
    members = (
        single.members[0].__class__("xgboost", "xgboost", single.members[0].member, 0.6),
        single.members[0].__class__("lightgbm", "lightgbm", light, 0.4),
    )
    stack = Model(members, single.card)
    found = contributions(stack, X)
    np.testing.assert_allclose(
        found.bias + found.phi.sum(axis=1, dtype=np.float64), stack.margin(X), atol=1e-4
    )
    parts = [contributions(Model.of(each.member, single.card, each.kind), X) for each in members]
    np.testing.assert_allclose(found.phi, 0.6 * parts[0].phi + 0.4 * parts[1].phi, atol=1e-6)
    assert explained_names(stack) == ("a", "b", "c", "d")
    assert len(bin_edges(stack)) == 4
    assert bin_edges(stack)[0].cuts
