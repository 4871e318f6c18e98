"""95 % bootstrap intervals: rows, or users with all their rows, are drawn with replacement.

Efron, Annals of Statistics 1979; bias-corrected percentiles as in Efron & Tibshirani, An Introduction to the
Bootstrap, 1993, chapter 14, without acceleration.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from churn.core.errors import CheckError

Floats = NDArray[np.float64]

LEVEL = 0.95
# Fewer resamples are drawn if they had more rows than this together: such intervals are narrow anyway.
_RESAMPLED_ROWS = 200_000_000
_FEWEST_RESAMPLES = 100
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; low and high are None if it was not computed."""

    value: float
    low: float | None = None
    high: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        """Return value, low and high as a dictionary for JSON."""
        return asdict(self)


def cluster_codes(clusters: ArrayLike, rows: int) -> NDArray[np.int64]:
    """Return each row's user as a number from 0, int64 (rows,).

    Raises:
        CheckError: there are not as many ids as rows.
    """
    values = np.asarray(clusters)
    if values.shape != (rows,):
        raise CheckError("evaluation", [f"{rows:,} rows, but clusters of shape {values.shape}"])
    _, codes = np.unique(values, return_inverse=True)
    return codes.astype(np.int64)


def resampled(
    statistic: Callable[[Floats], Floats],
    rows: int,
    groups: NDArray[np.int64] | None,
    seed: int,
    bootstrap: int,
) -> Floats:
    """Return a statistic of each bootstrap resample, one per row.

    Args:
        statistic: takes (rows,) weights (how often each row was drawn), returns a vector.
        rows: number of rows.
        groups: (rows,) user of each row; users are drawn with all their rows. None: rows are drawn.
        seed: seed of the draws.
        bootstrap: number of resamples; fewer, at least 100, if they had over 200 million rows together.
    """
    generator = np.random.default_rng(seed)
    users = rows if groups is None else int(groups.max()) + 1
    values = []
    for _ in range(min(bootstrap, max(_FEWEST_RESAMPLES, _RESAMPLED_ROWS // rows))):
        drawn = np.bincount(generator.integers(0, users, users), minlength=users).astype(np.float64)
        values.append(statistic(drawn if groups is None else drawn[groups]))
    return np.array(values)


def interval(value: float, drawn: Floats) -> Estimate:
    """Return the bias-corrected percentile interval, widened if necessary to hold the estimate.

    Not for a sum of absolute values such as ECE; see ``normal_interval``.
    """
    drawn = drawn[~np.isnan(drawn)]
    if math.isnan(value) or not len(drawn):
        return Estimate(value)
    below = (np.sum(drawn < value) + np.sum(drawn == value) / 2) / len(drawn)
    bias = _NORMAL.inv_cdf(min(max(float(below), 0.5 / len(drawn)), 1 - 0.5 / len(drawn)))
    reach = _NORMAL.inv_cdf((1 + LEVEL) / 2)
    tails = [_NORMAL.cdf(2 * bias - reach), _NORMAL.cdf(2 * bias + reach)]
    low, high = np.quantile(drawn, tails)
    return Estimate(value, min(float(low), value), max(float(high), value))


def normal_interval(value: float, drawn: Floats, least: float = 0.0) -> Estimate:
    """Return the estimate with 1.96 standard errors on either side, cut at ``least``.

    For a sum of absolute values such as ECE. Resampling adds noise under the absolute values, so nearly all
    resamples lie above the estimate and percentiles end at it. Their spread is right, and the interval covers
    the mean of the estimate over samples of this size (``python -m tests.benchmarks.intervals``). That mean
    is not 0 for perfect predictions; ``Evaluation.chance_ece`` is what it is then.

    Example:
        >>> normal_interval(0.02, np.array([0.02, 0.03, 0.04]))
        Estimate(value=0.02, low=0.004..., high=0.036...)
    """
    if math.isnan(value) or not len(drawn):
        return Estimate(value)
    reach = _NORMAL.inv_cdf((1 + LEVEL) / 2) * float(drawn.std())
    return Estimate(value, max(value - reach, least), value + reach)
