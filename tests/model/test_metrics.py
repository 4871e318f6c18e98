import json
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, f1_score, log_loss, roc_auc_score

from churn.core.errors import CheckError
from churn.model import metrics
from churn.model.metrics import (
    best_threshold,
    calibration_table,
    evaluate,
    lift_table,
    precision_and_recall,
    wilson_interval,
)

# Scores on a coarse grid, so that many are equal.
PAIRS = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 20).map(lambda k: k / 20)), min_size=1, max_size=60
).map(lambda rows: (np.array([y for y, _ in rows]), np.array([p for _, p in rows])))
# scikit-learn is slow on small inputs: fewer examples are tried against it.
FEW = settings(max_examples=40)
BOTH_CLASSES = PAIRS.filter(lambda pair: 0 < pair[0].sum() < len(pair[0]))


def sample(rows, seed=0, low=0.02, high=0.9):
    rng = np.random.default_rng(seed)
    p = rng.uniform(low, high, rows)
    return (rng.random(rows) < p).astype(int), p


@FEW
@given(BOTH_CLASSES)
def test_metrics_equal_scikit_learn_s(pair):
    y, p = pair
    found = evaluate(y, p, intervals=False)
    assert found.auc.value == pytest.approx(roc_auc_score(y, p))
    assert found.pr_auc.value == pytest.approx(average_precision_score(y, p))
    assert found.log_loss.value == pytest.approx(log_loss(y, p))
    assert found.brier.value == pytest.approx(brier_score_loss(y, p))
    assert metrics.log_loss(y, p) == pytest.approx(found.log_loss.value)


@given(PAIRS, st.randoms(use_true_random=False))
def test_metrics_do_not_depend_on_the_order_of_rows(pair, random):
    y, p = pair
    order = list(range(len(y)))
    random.shuffle(order)
    one, other = evaluate(y, p, intervals=False), evaluate(y[order], p[order], intervals=False)
    for name in metrics.METRICS:
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None) == (b is None)
        assert a is None or a.value == pytest.approx(b.value)


@FEW
@given(PAIRS)
def test_every_interval_contains_its_estimate(pair):
    found = evaluate(*pair, bootstrap=40)
    for estimate in [found.churn_rate, *found.metrics.values()]:
        assert estimate.low <= estimate.value <= estimate.high


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_has_no_ranking_metrics_and_no_crash(label):
    found = evaluate([label] * 5, [0.1, 0.2, 0.3, 0.4, 0.5])
    assert (found.auc, found.pr_auc, found.lift_top_decile) == (None, None, None)
    assert set(found.metrics) == {"log_loss", "brier", "ece"}
    assert found.base_log_loss == pytest.approx(0, abs=1e-12)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["auc"] is None


def test_intervals_cover_the_true_value_about_95_times_in_100():
    # The true log loss of true probabilities is their expected entropy.
    rng = np.random.default_rng(3)
    p = rng.uniform(0.02, 0.9, 400)
    truth = float(np.mean(-p * np.log(p) - (1 - p) * np.log(1 - p)))
    covered = 0
    for trial in range(100):
        y = (rng.random(400) < p).astype(int)
        interval = evaluate(y, p, bootstrap=150, seed=trial).log_loss
        covered += interval.low <= truth <= interval.high
    assert 88 <= covered <= 100


def test_users_who_recur_widen_the_interval():
    y, p = sample(400)
    repeated = np.repeat(np.arange(400), 9)
    rows = evaluate(y[repeated], p[repeated]).log_loss
    users = evaluate(y[repeated], p[repeated], clusters=repeated.astype(str)).log_loss
    assert rows.value == pytest.approx(users.value)
    assert (users.high - users.low) / (rows.high - rows.low) == pytest.approx(3, rel=0.25)


@FEW
@given(st.integers(0, 10_000))
def test_the_interval_of_the_calibration_error_never_ends_at_its_estimate(seed):
    rng = np.random.default_rng(seed)
    p = rng.beta(1.2, 3, 800)
    ece = evaluate((rng.random(800) < p).astype(int), p, bootstrap=100, seed=seed).ece
    assert ece.low < ece.value < ece.high


def test_the_chance_ece_is_the_mean_ece_of_right_probabilities():
    rng = np.random.default_rng(5)
    p = rng.beta(1.2, 3, 1_000)
    drawn = [evaluate((rng.random(1_000) < p).astype(int), p, intervals=False) for _ in range(200)]
    mean = np.mean([evaluation.ece.value for evaluation in drawn])
    assert drawn[0].chance_ece == pytest.approx(mean, rel=0.05)


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [(0.5, (2 / 3, 2 / 3)), (0.6, (2 / 3, 2 / 3)), (0.65, (1, 2 / 3)), (0.95, (None, 0)), (0, (0.6, 1))],
)
def test_precision_and_recall_count_rows_at_the_threshold(threshold, expected):
    assert precision_and_recall([0, 1, 1, 1, 0], [0.6, 0.9, 0.7, 0.2, 0.1], threshold) == pytest.approx(
        expected
    )


def test_without_churners_there_is_no_recall():
    assert precision_and_recall([0, 0], [0.6, 0.1], 0.5) == (0, None)


def test_the_same_seed_gives_the_same_intervals_and_another_gives_others():
    y, p = sample(300)
    assert evaluate(y, p, seed=4) == evaluate(y, p, seed=4)
    assert evaluate(y, p, seed=4) != evaluate(y, p, seed=5)


def test_calibrated_probabilities_have_a_small_ece_and_shifted_ones_the_shift():
    y, p = sample(50_000, high=0.85)
    assert evaluate(y, p, intervals=False).ece.value < 0.012
    assert evaluate(y, p + 0.1, intervals=False).ece.value == pytest.approx(0.1, abs=0.01)


def test_the_lift_of_a_perfect_ranking_is_the_inverse_of_the_rate():
    y = np.r_[np.ones(20), np.zeros(80)]
    found = evaluate(y, np.linspace(0.9, 0.1, 100), intervals=False)
    assert found.lift_top_decile.value == pytest.approx(5)
    assert found.auc.value == 1


def test_equal_scores_have_no_lift():
    y, _ = sample(100)
    assert evaluate(y, np.full(100, 0.5), intervals=False).lift_top_decile.value == pytest.approx(1)


@given(PAIRS, st.integers(1, 12))
def test_calibration_bins_add_up(pair, bins):
    y, p = pair
    table = calibration_table(y, p, bins)
    assert sum(row.count for row in table) == len(y)
    assert sum(row.count * row.observed for row in table) == pytest.approx(y.sum())
    assert sum(row.count * row.mean_predicted for row in table) == pytest.approx(p.sum())
    assert all(row.low <= row.observed <= row.high for row in table)
    assert [row.mean_predicted for row in table] == sorted(row.mean_predicted for row in table)


@given(PAIRS)
def test_ece_is_what_the_calibration_table_shows(pair):
    y, p = pair
    gaps = sum(row.count * abs(row.observed - row.mean_predicted) for row in calibration_table(y, p))
    assert evaluate(y, p, intervals=False).ece.value == pytest.approx(gaps / len(y))


@given(BOTH_CLASSES)
def test_the_lift_table_ends_with_everybody(pair):
    y, p = pair
    table = lift_table(y, p)
    last = table[-1]
    assert (last.users, last.lift) == (len(y), pytest.approx(1))
    assert last.share_of_churners == pytest.approx(1)
    caught = [row.share_of_churners for row in table]
    assert all(earlier <= later + 1e-12 for earlier, later in pairwise(caught))


def test_without_churners_there_is_no_lift_table():
    assert lift_table([0, 0], [0.1, 0.2]) == []


@FEW
@given(BOTH_CLASSES)
def test_no_threshold_has_a_better_f1(pair):
    y, p = pair
    best = f1_score(y, p >= best_threshold(y, p), zero_division=0)
    for threshold in np.unique(p):
        assert best >= f1_score(y, p >= threshold, zero_division=0) - 1e-12


def test_rounding_moves_nobody_across_the_threshold():
    y, p = sample(500)
    threshold = best_threshold(y, p)
    assert ((p >= threshold) == (p.astype(np.float32) >= threshold)).all()


def test_without_churners_the_threshold_is_a_half():
    assert best_threshold([0, 0, 0], [0.1, 0.2, 0.9]) == 0.5


@given(st.integers(0, 500), st.integers(1, 500))
def test_wilson_intervals_contain_the_rate(successes, more):
    trials = successes + more
    low, high = wilson_interval(successes / trials, trials)
    assert 0 <= low <= successes / trials <= high <= 1


def test_wilson_s_interval_is_the_published_one():
    # Newcombe, Statistics in Medicine 1998, table I: 81 of 263.
    low, high = wilson_interval(81 / 263, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


@pytest.mark.parametrize(
    ("churned", "probability", "message"),
    [
        ([], [], "no rows"),
        ([0, 1], [0.5], "one length"),
        ([0, 2], [0.5, 0.5], "1 labels are neither 0 nor 1"),
        ([0, 1], [0.5, math.nan], "1 probabilities are missing"),
        ([0, 1], [0.5, 1.2], "outside 0 to 1"),
    ],
)
def test_what_cannot_be_judged_is_refused(churned, probability, message):
    with pytest.raises(CheckError, match=message):
        evaluate(churned, probability)


def test_clusters_of_another_length_are_refused():
    with pytest.raises(CheckError, match="clusters"):
        evaluate([0, 1], [0.2, 0.3], clusters=["a"])
