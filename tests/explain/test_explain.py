import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
import shap
import xgboost as xgb
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from churn.core.errors import RunError, UsageError
from churn.explain.contributions import Contributions, additivity_gap, contributions
from churn.explain.effects import BinEdges, ContributionSummary, bin_edges, read_summary
from churn.explain.reasons import reason_table, top_reasons
from churn.lake.readers import read_rows
from churn.model.artifact import Model, ModelMember
from churn.model.learners.linear import Linear
from churn.model.learners.preparing import RankNormal
from churn.scoring.scorer import score_partition
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
    phi, bias, margin, players = contributions(model, X)
    assert phi.shape == (rows, features)
    assert phi.dtype == margin.dtype == np.float32
    np.testing.assert_allclose(bias + phi.sum(axis=1, dtype=np.float64), margin, atol=1e-4)
    predicted = model.members[0].member.booster.predict(
        xgb.DMatrix(X, feature_names=model.schema.names), output_margin=True
    )
    np.testing.assert_allclose(margin, predicted, atol=1e-5)
    checked, gap = additivity_gap(model, X, Contributions(phi, bias, margin, players), 20)
    assert 0 < checked <= 20
    assert gap < 1e-5


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_contributions_are_those_of_the_shap_package(missing):
    model, X = random_case(3, 120, 6, 4, 12, missing)
    phi, bias, _, _ = contributions(model, X)
    explainer = shap.TreeExplainer(model.members[0].member.booster)
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
    phi, bias, margin, _ = contributions(model, X[:0])
    assert phi.shape == (0, 3)
    assert margin.shape == (0,)
    assert bias == contributions(model, X).bias


def fully_sorted(phi, k):
    return np.argsort(-np.abs(phi), axis=1, kind="stable")[:, :k]


@given(phis, st.integers(1, 8))
def test_top_reasons_equal_a_full_sort_with_ties_by_position(phi, k):
    indices, values = top_reasons(phi, k)
    expected = fully_sorted(phi, k)
    np.testing.assert_array_equal(indices.T, expected)
    np.testing.assert_array_equal(values.T, np.take_along_axis(phi, expected, axis=1))


def test_top_reasons_hold_across_blocks_and_many_ties():
    phi = np.random.default_rng(0).integers(-3, 4, (9000, 40)).astype(np.float32)
    phi[:100] = -0.0
    indices, _ = top_reasons(np.asfortranarray(phi))
    np.testing.assert_array_equal(indices.T, fully_sorted(phi, 5))


def test_values_of_reasons_read_as_text():
    columns = {
        "tenth": pa.array([0.1, 1e-7], pa.float64()),
        "whole": pa.array([3, None], pa.int32()),
        "nation": pa.array(["wales", "wales"]).dictionary_encode(),
        "flag": pa.array([True, False]),
        "hole": pa.array([np.nan, 2.0], pa.float64()),
    }
    phi = np.array([[5, 4, 3, 2, 1], [5, 4, 3, 2, 1]], np.float32)
    table = reason_table(pa.array(["a", "b"]), columns, list(columns), top_reasons(phi))
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


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder, model = tmp_path_factory.mktemp("run"), small_model()
    for index in range(2):
        table = snapshots(300, seed=index, first=1000 * index)
        score_partition(partition_task(folder, table, model, index=index, batch_rows=100))
    return folder


def test_contributions_are_read_for_the_users_and_features_asked_for(run):
    whole = read_rows(str(run), "shap")
    assert whole.num_rows == 600
    some = read_rows(f"file://{run}", "shap", ["u001002", "u000001", "nobody"], ["share", "days_w2"])
    assert some.column_names == ["user_id", "share", "days_w2"]
    assert sorted(some["user_id"].to_pylist()) == ["u000001", "u001002"]
    expected = {row["user_id"]: row["share"] for row in whole.to_pylist()}
    assert all(row["share"] == expected[row["user_id"]] for row in some.to_pylist())
    assert float(some.schema.metadata[b"bias"]) == float(whole.schema.metadata[b"bias"])


def test_reasons_are_read_for_one_user(run):
    reasons = read_rows(str(run), "reasons", ["u000007"])
    assert reasons["rank"].to_pylist() == [1, 2, 3, 4, 5]
    assert set(reasons["user_id"].to_pylist()) == {"u000007"}
    assert read_rows(str(run), "reasons", ["nobody"]).num_rows == 0


def test_an_unknown_feature_lists_the_known_ones(run):
    with pytest.raises(UsageError, match="no column nonsense: choose from days_w2, share"):
        read_rows(str(run), "shap", columns=["nonsense"])


def test_a_folder_without_contributions_is_refused(tmp_path):
    with pytest.raises(RunError, match="has no shap"):
        read_rows(str(tmp_path), "shap")


def test_only_the_row_groups_that_may_hold_a_user_are_read(run):
    fragments = list(ds.dataset(run / "shap").get_fragments())
    wanted = ds.field("user_id").isin(["u001002", "u000001"])
    assert sum(fragment.num_row_groups for fragment in fragments) == 6
    assert sum(len(fragment.split_by_row_group(wanted)) for fragment in fragments) == 2


def by_hand(X, phi, cuts, names):
    """What a summary should hold of one feature, by plain numpy."""
    for i, name in enumerate(names):
        inner = np.searchsorted(np.float32(cuts[i].cuts), X[:, i], side="right")
        bins = np.where(np.isnan(X[:, i]), -1, inner)
        yield name, {b: (int((bins == b).sum()), phi[bins == b, i].sum(dtype=np.float64)) for b in set(bins)}


@given(phis, st.integers(1, 11), st.data())
def test_summaries_of_parts_add_up_to_the_whole_and_to_plain_sums(phi, at, data):
    rows, features = phi.shape
    X = data.draw(arrays(np.float32, phi.shape, elements=st.sampled_from([-2, -0.5, 0, 1, 1.5, 7, np.nan])))
    names = [f"f{i}" for i in range(features)]
    choices = st.sampled_from(
        [BinEdges((0.0,), 0.0), BinEdges((-1.0, 1.0, 1.5), 1.0), BinEdges((0.5,), None)]
    )
    cuts = [data.draw(choices) for _ in names]
    whole, one, other = (ContributionSummary(names, cuts) for _ in range(3))
    whole.add(X, phi)
    one.add(X[:at], phi[:at])
    other.add(X[at:], phi[at:])
    both = ContributionSummary.of((one + other).table())
    assert both.rows == whole.rows == rows
    for found in (both, whole):
        np.testing.assert_allclose(found.total_abs, np.abs(phi).sum(axis=0, dtype=np.float64), rtol=1e-9)
        for row, (_, bins) in enumerate(by_hand(X, phi, cuts, names)):
            assert found.bin_rows[row].sum() == rows
            for bin, (count, total) in bins.items():
                assert found.bin_rows[row, bin] == count
                assert found.bin_totals[row, bin] == pytest.approx(total, rel=1e-9, abs=1e-6)
    np.testing.assert_array_equal(both.buckets, whole.buckets)
    assert (both.buckets.sum(axis=1) == rows).all()


@given(arrays(np.float32, st.integers(1, 200), elements=st.floats(-15.875, 15.875, width=32)))
def test_quantiles_are_within_a_sixteenth_of_the_exact_ones(values):
    summary = ContributionSummary(["f"], [BinEdges((0.0,), 0.0)])
    summary.add(np.zeros((len(values), 1), np.float32), values[:, None])
    levels = (0.0, 0.05, 0.5, 0.95, 1.0)
    exact = np.quantile(values, levels, method="inverted_cdf")
    found = np.array(summary.quantiles(0, levels))
    assert (np.abs(found - exact) <= np.maximum(np.abs(exact) / 16, 2.0**-12)).all()


def test_contributions_beyond_the_buckets_count_as_their_ends():
    summary = ContributionSummary(["f"], [BinEdges((0.0,), 0.0)])
    values = np.array([[-1e6], [1e-9], [-0.0], [300.0]], np.float32)
    summary.add(np.zeros((4, 1), np.float32), values)
    assert summary.quantiles(0, (0.1, 0.5, 1.0)) == pytest.approx((-15.5, 0.0, 15.5), abs=0.01)


def test_summaries_of_two_models_do_not_add_up():
    one, other = (ContributionSummary([name], [BinEdges((), None)]) for name in "ab")
    with pytest.raises(ValueError, match="of the same model"):
        one + other


def test_a_run_without_sums_is_refused(tmp_path):
    with pytest.raises(RunError, match="has no effects"):
        read_summary(str(tmp_path))


def test_cuts_are_the_thresholds_at_the_tenths_of_the_cover():
    X = np.array([[0], [1], [2], [3]] * 25, np.float32)
    booster = booster_of(X, (X[:, 0] >= 2).astype(int), max_depth=1, trees=3)
    assert bin_edges(model_of(booster, ["f"])) == (BinEdges((2.0,), 2.0),)
    assert bin_edges(model_of(booster, ["f"], {"f": list("abcd")})) == (BinEdges((0.5, 1.5, 2.5), None),)
    many = bin_edges(model_of(booster, ["f"], {"f": [str(i) for i in range(200)]}))[0].cuts
    assert len(many) <= 40


def test_a_feature_that_no_tree_uses_has_no_cuts():
    X = np.column_stack([np.arange(40) % 2, np.zeros(40)]).astype(np.float32)
    booster = booster_of(X, X[:, 0], max_depth=1, trees=2)
    assert bin_edges(model_of(booster, ["used", "idle"]))[1] == BinEdges((), None)


@settings(max_examples=60, deadline=None)
@given(
    X=arrays(
        np.float32,
        st.tuples(st.integers(1, 80), st.just(4)),
        elements=st.sampled_from([0, 1, -1, 0.5, 1e9, -1e9, np.nan]) | st.floats(-5, 5, width=32),
    ),
    Z=arrays(
        np.float32,
        st.tuples(st.integers(0, 40), st.just(4)),
        elements=st.sampled_from([0, 1, 3e38, -3e38, np.nan]) | st.floats(-9, 9, width=32),
    ),
)
def test_the_compiled_lines_are_the_members_own(X, Z):
    prepare = RankNormal.fit(X)
    weights = np.random.default_rng(0).normal(0, 1, prepare.columns)
    member = Linear(prepare, weights, 0.25, {})
    model = Model((ModelMember("logistic", "logistic", member, 0.5),), model_of_nothing(4))
    found = contributions(model, Z)
    phi, bias = member.contributions(Z)
    np.testing.assert_allclose(found.phi, 0.5 * phi, atol=2e-5)
    assert found.bias == 0.5 * bias
    assert len(additivity_gap(model, Z, found, 50)) == 2
    assert additivity_gap(model, Z, found, 50)[1] < 1e-4


def model_of_nothing(features):
    X = np.zeros((4, features), np.float32)
    return model_of(booster_of(X, np.array([0, 1, 0, 1]), trees=1), [f"f{i}" for i in range(features)]).card
