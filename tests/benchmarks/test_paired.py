import numpy as np
import pytest
from sklearn.metrics import log_loss

from tests.benchmarks.paired import paired_difference


def sample(rows):
    rng = np.random.default_rng(0)
    p = rng.uniform(0.02, 0.9, rows)
    return (rng.random(rows) < p).astype(int), p


def test_the_paired_difference_is_that_of_the_log_losses_and_sees_a_small_one():
    y, p = sample(10_000)
    worse = np.clip(p + 0.03, 0, 1)
    found = paired_difference(y, p, worse)
    assert found.value == pytest.approx(log_loss(y, p) - log_loss(y, worse))
    assert found.low < found.value < found.high < 0
    swapped = paired_difference(y, worse, p)
    assert swapped.value == pytest.approx(-found.value)
    assert swapped.low > 0


def test_the_paired_difference_resamples_users():
    y, p = sample(300)
    repeated = np.repeat(np.arange(300), 9)
    rows = paired_difference(y[repeated], p[repeated], np.full(2700, 0.4))
    users = paired_difference(y[repeated], p[repeated], np.full(2700, 0.4), repeated)
    assert users.high - users.low > 2 * (rows.high - rows.low)
