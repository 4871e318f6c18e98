"""Stack learners: a weighted mean of their log-odds, and the comparison that decides whether to ship it.

The weights minimise, over rows that no member was fitted on,

    sum of -log p(outcome)  +  PULL / 2 * |w - 1/n|^2,    w >= 0,  sum w = 1,    p = sigmoid(margins @ w)

(stacked generalisation with convex weights: Breiman, Stacked regressions, Machine Learning 24, 1996; van der
Laan, Polley & Hubbard, Super Learner, 2007). They are pulled towards equal weights: on real logs
that beat a pull towards the single best learner, and weights whose sum is free overfit (docs/benchmarks.md).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from churn.config.training import StackRule
from churn.model.bootstrap import Estimate, cluster_codes, interval, resampled
from churn.model.encoding import sigmoid

PULL = 50.0
SMALLEST_WEIGHT = 0.02  # a smaller one is 0: a member costs time in scoring
_DRAWS = 1_000
_ITERATIONS, _PRECISION, _DECIMALS = 200, 1e-9, 4

Floats = NDArray[np.float64]


def losses(margin: Floats, churned: NDArray[Any]) -> Floats:
    """Return each row's log loss, (rows,), in nats."""
    loss: Floats = np.logaddexp(0, margin) - np.where(churned == 1, margin, 0.0)
    return loss


def stack_weights(margins: Floats, churned: NDArray[Any]) -> Floats:
    """Return the members' weights, (members,): at least 0, and 1 together.

    Example:
        >>> stack_weights(np.column_stack([trees, linear]), churned)
        array([0.71, 0.29])

    Args:
        margins: (rows, members) log-odds, each by a member that was not fitted on the row.
        churned: (rows,) 0 or 1.
    """
    from scipy.optimize import minimize  # slow to import; scoring does not need it

    rows, members = margins.shape
    equal = np.full(members, 1 / members)

    def objective(weights: Floats) -> tuple[float, Floats]:
        margin = margins @ weights
        pull = weights - equal
        value = losses(margin, churned).sum() + PULL / 2 * pull @ pull
        return float(value) / rows, (margins.T @ (sigmoid(margin) - churned) + PULL * pull) / rows

    found = minimize(
        objective,
        equal,
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * members,
        constraints={
            "type": "eq",
            "fun": lambda weights: weights.sum() - 1,
            "jac": lambda _: np.ones(members),
        },
        options={"maxiter": _ITERATIONS, "ftol": _PRECISION},
    )
    weights: Floats = np.where(found.x < SMALLEST_WEIGHT, 0.0, found.x)
    # Sums differ in their last bits from processor to processor; a model's weights must not.
    weights = np.round(weights / weights.sum(), _DECIMALS)
    heaviest = int(np.argmax(weights))
    weights[heaviest] = round(1 - (weights.sum() - weights[heaviest]), _DECIMALS)
    return weights


@dataclass(frozen=True)
class Comparison:
    """The stack against the single best learner.

    Attributes:
        shipped: whether the stack is shipped.
        difference: log loss of the stack minus that of the single best, with its interval; below 0, the stack
            is better.
        rows: rows compared.
    """

    shipped: bool
    difference: Estimate
    rows: int


def compare(
    stack: Floats, single: Floats, users: NDArray[np.int64], rule: StackRule, seed: int
) -> Comparison:
    """Compare the stack with the single best learner on the same rows, and decide.

    Args:
        stack: (rows,) log losses of the stack, on rows that neither members nor weights were fitted on.
        single: (rows,) log losses of the single best learner.
        users: (rows,) each row's user; the interval resamples users.
        rule: when the stack is shipped.
        seed: of the resampling.
    """
    differences = stack - single

    def mean(weights: Floats) -> Floats:
        return np.array([weights @ differences / weights.sum()])

    drawn = resampled(mean, len(differences), cluster_codes(users, len(users)), seed, _DRAWS)[:, 0]
    difference = interval(float(differences.mean()), drawn)
    low, high = difference.low or 0.0, difference.high or 0.0
    shipped = {"unless_worse": low <= 0, "if_better": high < 0, "never": False}[rule]
    return Comparison(shipped, difference, len(differences))
