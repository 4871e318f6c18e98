"""Every learner: what a fitted one predicts, how its margin splits, and what its file holds."""

from datetime import date, timedelta
from functools import cache

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from churn.config.training import KINDS, LearnerSettings, TrainingSettings
from churn.model.encoding import sigmoid
from churn.model.learners import FitData, LearnerError, make_learner, read_member
from churn.model.learners.arrays import from_npz, to_npz
from churn.model.learners.linear import Linear
from churn.model.learners.preparing import RankNormal
from churn.model.metrics import log_loss
from churn.model.rows import read_rows

pytestmark = pytest.mark.process  # k-means asks the system for its cores
LATEST = date(2026, 6, 14)
QUICK = TrainingSettings(sampling="all", learning_rate=0.2, max_trees=40, early_stopping_rounds=8)


@cache
def rows():
    """Snapshots whose churn depends on an amount, a flag of missing values and a category."""
    rng = np.random.default_rng(3)
    n, dates = 400, 8
    total = n * dates
    amount = rng.lognormal(0, 2, total)
    share = np.where(rng.random(total) < 0.3, np.nan, rng.random(total))
    nation = rng.choice(["england", "scotland", "wales"], total)
    margin = 0.8 - np.log(amount) + 1.2 * np.isnan(share) + 1.0 * (nation == "wales")
    table = pa.table(
        {
            "user_id": [f"u{i:04d}" for i in range(n)] * dates,
            "as_of_date": pa.array(
                np.repeat(np.array([LATEST - timedelta(weeks=k) for k in range(dates)], "datetime64[D]"), n)
            ),
            "churned": pa.array((rng.random(total) < sigmoid(margin)).astype(np.int8)),
            "amount": pa.array(amount),
            "share": pa.array(share, from_pandas=True),
            "constant": pa.array(np.ones(total)),
            "empty": pa.nulls(total, pa.float32()),
            "nation": pa.array(nation.tolist()),
        }
    )
    return read_rows(table, as_of=LATEST + timedelta(days=14), settings=QUICK, stage="training")


def data(which):
    everything = rows()
    return FitData(everything, everything.schema(which), np.flatnonzero(which))


def halves():
    early = rows().dates <= np.datetime64(LATEST - timedelta(weeks=4))
    fit = data(early)
    return fit, FitData(rows(), fit.schema, np.flatnonzero(rows().dates >= np.datetime64(LATEST)))


@cache
def grown(kind):
    return make_learner(LearnerSettings(kind=kind), QUICK).grow(*halves())


@pytest.mark.parametrize("kind", KINDS)
def test_it_predicts_later_rows_better_than_their_churn_rate(kind):
    _, later = halves()
    margin = grown(kind).member.margin(later.matrix)
    base = log_loss(later.churned, np.full(len(later), later.churn_rate))
    assert log_loss(later.churned, sigmoid(margin)) < 0.95 * base
    assert margin.dtype == np.float64


@pytest.mark.parametrize("kind", KINDS)
def test_its_losses_are_those_of_its_sizes(kind):
    _, later = halves()
    found = grown(kind)
    best = int(np.argmin(found.losses)) + 1
    margin = found.member.margin(later.matrix, best)
    assert log_loss(later.churned, sigmoid(margin)) == pytest.approx(found.losses.min(), abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_its_file_gives_it_back_without_pickle(kind):
    _, later = halves()
    member = grown(kind).member
    raw = member.to_bytes()
    assert member.to_bytes() == raw
    np.testing.assert_array_equal(read_member(kind, raw, 1).margin(later.matrix), member.margin(later.matrix))
    assert b"pickle" not in raw


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_rows_give_the_same_bytes_on_any_number_of_threads(kind):
    fit, _ = halves()
    size = 5
    one, two = (
        make_learner(LearnerSettings(kind=kind), QUICK, threads=threads).fit(fit, size).to_bytes()
        for threads in (1, 2)
    )
    assert one == two


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("xgboost", "lightgbm")])
def test_damaged_bytes_are_refused(kind):
    """XGBoost ends the process when it reads half a booster: callers compare checksums first."""
    raw = grown(kind).member.to_bytes()
    for wrong in (b"", b"nonsense", raw[: len(raw) // 2], to_npz({"weights": np.ones(3)})):
        with pytest.raises(ValueError, match=r"no file of arrays|is missing"):
            read_member(kind, wrong)


@pytest.mark.parametrize("kind", ["logistic", "pca_logistic"])
def test_linear_contributions_add_up_and_have_mean_zero_where_it_was_fitted(kind):
    fit, later = halves()
    member = make_learner(LearnerSettings(kind=kind), QUICK).fit(fit, 1)
    for rows_of in (fit, later):
        phi, bias = member.contributions(rows_of.matrix)
        assert phi.dtype == np.float32
        np.testing.assert_allclose(
            bias + phi.sum(axis=1, dtype=np.float64), member.margin(rows_of.matrix), atol=1e-4
        )
    phi, _ = member.contributions(fit.matrix)
    names = fit.names
    assert np.abs(phi[:, names.index("constant")]).max() == 0
    assert np.abs(phi[:, names.index("empty")]).max() == 0
    assert abs(phi[:, names.index("nation")].mean()) < 1e-4


def test_a_linear_contribution_is_the_mean_change_of_the_margin_over_replaced_values():
    """The Shapley value of an additive model: v(x_f) minus its mean over the fitted rows."""
    fit, later = halves()
    member = make_learner(LearnerSettings(kind="logistic"), QUICK).fit(fit, 1)
    X, feature = later.matrix[:20], fit.names.index("share")
    phi, _ = member.contributions(X)
    background = fit.matrix
    for row in range(len(X)):
        replaced = np.repeat(X[row][None], len(background), axis=0)
        replaced[:, feature] = background[:, feature]
        expected = member.margin(X[row][None])[0] - member.margin(replaced).mean()
        assert phi[row, feature] == pytest.approx(expected, abs=1e-3)


@settings(max_examples=60, deadline=None)
@given(
    X=arrays(
        np.float32,
        st.tuples(st.integers(1, 60), st.integers(1, 4)),
        elements=st.sampled_from([0, 1, -1, 0.5, 1e9, -1e9, 1e-20, np.nan]) | st.floats(-5, 5, width=32),
    )
)
def test_prepared_columns_are_finite_ordered_and_centred(X):
    prepare = RankNormal.fit(X)
    columns = prepare.transform(X)
    assert np.isfinite(columns).all()
    assert columns.shape == (len(X), prepare.columns)
    for feature in range(X.shape[1]):
        order = np.argsort(X[:, feature], kind="stable")[: int((~np.isnan(X[:, feature])).sum())]
        assert (np.diff(columns[order, feature]) >= -1e-6).all()
    outside = prepare.transform(np.full((1, X.shape[1]), 3e38, np.float32))
    assert np.abs(outside).max(initial=0) < 20  # far values count as the farthest that were fitted
    again = RankNormal.of_arrays(from_npz(to_npz(prepare.arrays())))
    np.testing.assert_array_equal(again.transform(X), columns)


@pytest.mark.parametrize("kind", ["logistic", "pca_logistic"])
def test_features_that_say_nothing_are_an_error_of_the_learner(kind):
    everything = rows()
    fit = data(everything.everything)
    silent = FitData(everything, fit.schema, fit.positions, (fit.names.index("constant"),))
    with pytest.raises(LearnerError, match="two different values"):
        make_learner(LearnerSettings(kind=kind), QUICK).fit(silent, 1)


def test_fewer_different_rows_than_segments_are_an_error_of_the_learner():
    fit, _ = halves()
    few = FitData(fit.rows, fit.schema, fit.positions[:10])
    with pytest.raises(LearnerError, match="fewer different rows than 24 segments"):
        make_learner(LearnerSettings(kind="segments"), QUICK).fit(few, 1)


def test_a_network_that_diverges_is_an_error_of_the_learner():
    fit, later = halves()
    wild = LearnerSettings(kind="network", params={"learning_rate": 1e30})
    with pytest.raises(LearnerError, match="diverged in epoch 1: lower its learning_rate"):
        make_learner(wild, QUICK).grow(fit, later)


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lightgbm", None)
    with pytest.raises(LearnerError, match=r"pip install 'churn\[lightgbm\]'"):
        make_learner(LearnerSettings(kind="lightgbm"), QUICK).fit(halves()[0], 3)


def test_segments_have_the_shrunk_churn_rate_of_their_rows():
    fit, _ = halves()
    params = {"clusters": 6, "shrinkage": 50}
    member = make_learner(LearnerSettings(kind="segments", params=params), QUICK).fit(fit, 1)
    segment = member.segments(fit.matrix)
    for each in range(6):
        own = fit.churned[segment == each]
        expected = (own.sum() + 50 * fit.churn_rate) / (len(own) + 50)
        assert sigmoid(member.margins)[each] == pytest.approx(expected, abs=0.01)


def test_components_carried_back_are_weights_of_features():
    pca = LearnerSettings(kind="pca_logistic", params={"components": 2})
    member = make_learner(pca, QUICK).fit(halves()[0], 1)
    assert isinstance(member, Linear)
    assert len(member.weights) == member.prepare.columns
