"""The mean difference of two models' losses on the same rows, with its 95 % interval over users."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from churn.model.bootstrap import Estimate, cluster_codes, interval, resampled

Floats = NDArray[np.float64]
BOOTSTRAP = 2_000


def log_losses(churned: NDArray[Any], probability: NDArray[Any]) -> Floats:
    tiny = np.finfo(np.float64).eps
    return -np.log(np.clip(np.where(churned == 1, probability, 1 - probability), tiny, 1 - tiny))


def mean_difference(differences: Floats, users: NDArray[Any] | None = None) -> Estimate:
    """Return the mean; its interval resamples users, so it is valid for users with rows at several dates.

    It does not cover effects of a whole week such as a holiday: compare several as-of dates for that.
    """
    groups = None if users is None else cluster_codes(users, len(users))

    def mean(weights: Floats) -> Floats:
        return np.array([weights @ differences / weights.sum()])

    drawn = resampled(mean, len(differences), groups, 1, BOOTSTRAP)[:, 0]
    return interval(float(differences.mean()), drawn)


def paired_difference(
    churned: NDArray[Any], a: NDArray[Any], b: NDArray[Any], users: NDArray[Any] | None = None
) -> Estimate:
    """Return the log loss of ``a`` minus that of ``b`` on the same rows; below 0, ``a`` is better."""
    return mean_difference(log_losses(churned, a) - log_losses(churned, b), users)
