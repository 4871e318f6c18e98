from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
import shap
import xgboost as xgb
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from churn.errors import RunError, UsageError
from churn.explain import in_words, read_contributions, read_reasons, reason_table, top_reasons
from churn.explain.contributions import contributions
from churn.explain.summary import ContributionSummary, typical_cuts
from churn.scoring import score_partition
from tests.support.small_models import booster_of, model_of, partition_task, small_model, snapshots

finite = st.floats(-1e6, 1e6, width=32)
phis = arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=finite)


def random_case(seed, rows, features, depth, trees, missing, **params):
    rng = np.random.default_rng(seed)
    X = rng.normal(0, 1, (rows, features)).round(1).astype(np.float32)  # rounded: ties with thresholds
    X[rng.random(X.shape) < missing] = np.nan
    y = (np.nan_to_num(X[:, 0]) + rng.normal(0, 1, rows) > 0).astype(np.int8)
    booster = booster_of(X, y, max_depth=depth, trees=trees, **params)
    return model_of(booster, [f"f{i}" for i in range(features)]), X


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    rows=st.integers(1, 80),
    features=st.integers(1, 9),
    depth=st.integers(1, 7),
    trees=st.integers(1, 15),
    missing=st.sampled_from([0.0, 0.1, 0.6, 1.0]),
    base_score=st.sampled_from([0.03, 0.5, 0.9]),
)
def test_bias_and_contributions_add_up_to_the_margin(seed, rows, features, depth, trees, missing, base_score):
    model, X = random_case(seed, rows, features, depth, trees, missing, base_score=base_score)
    phi, bias, margin = contributions(model, X)
    assert phi.shape == (rows, features)
    assert phi.dtype == margin.dtype == np.float32
    np.testing.assert_allclose(bias + phi.sum(axis=1, dtype=np.float64), margin, atol=1e-4)
    np.testing.assert_array_equal(
        margin, model.booster.predict(xgb.DMatrix(X, feature_names=model.schema.names), output_margin=True)
    )


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_contributions_are_those_of_the_shap_package(missing):
    model, X = random_case(3, 120, 6, 4, 12, missing)
    phi, bias, _ = contributions(model, X)
    explainer = shap.TreeExplainer(model.booster)
    np.testing.assert_allclose(phi, explainer.shap_values(X), atol=1e-5)
    assert bias == pytest.approx(float(np.ravel(explainer.expected_value)[0]), abs=1e-5)


def test_a_model_that_the_kernel_refuses_is_explained_by_xgboost_with_one_line(caplog):
    rng = np.random.default_rng(5)
    X = rng.normal(size=(200, 3)).astype(np.float32)
    dart = booster_of(X, (X[:, 0] > 0).astype(int), booster="dart", rate_drop=0.5, trees=8)
    model = model_of(dart, ("a", "b", "c"))
    first, second = contributions(model, X[:50]), contributions(model, X[50:])
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "slower" in caplog.text
    expected = dart.predict(xgb.DMatrix(X, feature_names=["a", "b", "c"]), pred_contribs=True)
    np.testing.assert_array_equal(np.vstack([first.phi, second.phi]), expected[:, :-1])


def test_no_rows_still_have_the_bias():
    model, X = random_case(0, 50, 3, 3, 5, 0.0)
    phi, bias, margin = contributions(model, X[:0])
    assert phi.shape == (0, 3)
    assert margin.shape == (0,)
    assert bias == contributions(model, X).bias


def fully_sorted(phi, k):
    return np.argsort(-np.abs(phi), axis=1, kind="stable")[:, :k]


@given(phis, st.integers(1, 8))
def test_top_reasons_equal_a_full_sort_with_ties_by_position(phi, k):
    indices, values = top_reasons(phi, k)
    expected = fully_sorted(phi, k)
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(values, np.take_along_axis(phi, expected, axis=1))


def test_top_reasons_hold_across_blocks_and_many_ties():
    phi = np.random.default_rng(0).integers(-3, 4, (9000, 40)).astype(np.float32)
    phi[:100] = -0.0
    indices, _ = top_reasons(np.asfortranarray(phi))
    np.testing.assert_array_equal(indices, fully_sorted(phi, 5))


def test_values_of_reasons_read_as_text():
    columns = {
        "tenth": pa.array([0.1, 1e-7], pa.float64()),
        "whole": pa.array([3, None], pa.int32()),
        "nation": pa.array(["wales", "wales"]).dictionary_encode(),
        "flag": pa.array([True, False]),
        "hole": pa.array([np.nan, 2.0], pa.float64()),
    }
    phi = np.array([[5, 4, 3, 2, 1], [5, 4, 3, 2, 1]], np.float32)
    table = reason_table(pa.array(["a", "b"]), columns, list(columns), phi)
    assert table["value"].to_pylist() == [
        "0.1",
        "3",
        "wales",
        "true",
        None,
        "1e-7",
        None,
        "wales",
        "false",
        "2",
    ]
    assert table["user_id"].to_pylist() == ["a"] * 5 + ["b"] * 5


@dataclass
class Entry:
    meaning: str
    unit: str


@pytest.mark.parametrize(
    ("unit", "value", "contribution", "line"),
    [
        ("days", "1", 0.42, "active days in the last observed week: 1 (raises the risk, +0.42)"),
        ("days", None, 0.1, "active days in the last observed week: unknown (raises the risk, +0.10)"),
        ("share", "0.257", -0.4, "active days in the last observed week: 26% (lowers the risk, -0.40)"),
        ("flag", "1", 0.4, "active days in the last observed week: yes (raises the risk, +0.40)"),
        ("flag", "false", 0.4, "active days in the last observed week: no (raises the risk, +0.40)"),
        (
            "seconds",
            "12345.678",
            0.4,
            "active days in the last observed week: 12,346 (raises the risk, +0.40)",
        ),
        ("days", "0.123456", 0.4, "active days in the last observed week: 0.123 (raises the risk, +0.40)"),
        (
            "category",
            "007",
            0.0,
            "active days in the last observed week: 007 (does not change the risk, +0.00)",
        ),
    ],
)
def test_a_reason_in_words(unit, value, contribution, line):
    reason = {"feature": "days_w2", "value": value, "contribution": contribution}
    assert in_words([reason], {"days_w2": Entry("active days in the last observed week", unit)}) == [line]


def test_a_reason_that_the_catalogue_does_not_know_goes_by_its_name():
    reason = {"feature": "days_w2", "value": "1", "contribution": 1.0}
    assert in_words([reason], {}) == ["days w2: 1 (raises the risk, +1.00)"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder, model = tmp_path_factory.mktemp("run"), small_model()
    for index in range(2):
        table = snapshots(300, seed=index, first=1000 * index)
        score_partition(partition_task(folder, table, model, index=index, batch_rows=100))
    return folder


def test_contributions_are_read_for_the_users_and_features_asked_for(run):
    whole = read_contributions(str(run))
    assert whole.num_rows == 600
    some = read_contributions(
        f"file://{run}", users=["u001002", "u000001", "nobody"], features=["share", "days_w2"]
    )
    assert some.column_names == ["user_id", "share", "days_w2"]
    assert sorted(some["user_id"].to_pylist()) == ["u000001", "u001002"]
    expected = {row["user_id"]: row["share"] for row in whole.to_pylist()}
    assert all(row["share"] == expected[row["user_id"]] for row in some.to_pylist())
    assert float(some.schema.metadata[b"bias"]) == float(whole.schema.metadata[b"bias"])


def test_reasons_are_read_for_one_user(run):
    reasons = read_reasons(str(run), ["u000007"])
    assert reasons["rank"].to_pylist() == [1, 2, 3, 4, 5]
    assert set(reasons["user_id"].to_pylist()) == {"u000007"}
    assert read_reasons(str(run), ["nobody"]).num_rows == 0


def test_an_unknown_feature_lists_the_known_ones(run):
    with pytest.raises(UsageError, match="no feature nonsense: choose from days_w2, share"):
        read_contributions(str(run), features=["nonsense"])


def test_a_folder_without_contributions_is_refused(tmp_path):
    with pytest.raises(RunError, match="has no shap"):
        read_contributions(str(tmp_path))


@given(phis, st.integers(1, 11))
def test_summaries_of_parts_add_up_to_the_whole(phi, at):
    rows, features = phi.shape
    X = np.where(phi > 5e5, np.nan, phi)
    names, cuts = (
        [f"f{i}" for i in range(features)],
        [None if i % 3 == 2 else float(i) for i in range(features)],
    )
    whole = ContributionSummary.of(names, cuts, X, phi)
    parts = [ContributionSummary.of(names, cuts, X[a:b], phi[a:b]) for a, b in ((0, at), (at, rows))]
    merged = ContributionSummary.merged(parts)
    for name in type(whole).model_fields:
        if name not in ("features", "cuts"):
            np.testing.assert_allclose(getattr(merged, name), getattr(whole, name), rtol=1e-9, atol=1e-6)
    for column, cut in enumerate(cuts):
        counted = whole.low_rows[column] + whole.high_rows[column] + whole.missing_rows[column]
        assert counted == (rows if cut is not None else np.isnan(X[:, column]).sum())


def test_summaries_of_two_models_do_not_add_up():
    nothing = np.empty((0, 1), np.float32)
    with pytest.raises(ValueError, match="one and the same model"):
        ContributionSummary.merged(
            [ContributionSummary.of([name], [None], nothing, nothing) for name in "ab"]
        )


def test_a_cut_is_the_median_threshold_by_cover():
    X = np.array([[0], [1], [2], [3]] * 25, np.float32)
    booster = booster_of(X, (X[:, 0] >= 2).astype(int), max_depth=1, trees=3)
    assert typical_cuts(booster, [False]) == (2.0,)
    assert typical_cuts(booster, [True]) == (None,)
