"""Linear algebra on one thread: the same bits whatever the process allows."""

import numpy as np
from threadpoolctl import threadpool_limits

from tests.model.test_stack import BOTH
from tests.model.test_training import fit, snapshots


def test_a_card_is_the_same_whatever_linear_algebra_may_use():
    table = snapshots(dates=8, users=1500)
    cards = []
    for threads in (1, 4):
        with threadpool_limits(threads, user_api="blas"):
            cards.append(fit(table, BOTH).model.card)
    assert cards[0] == cards[1]
    assert np.isfinite(cards[0].stack.difference)
