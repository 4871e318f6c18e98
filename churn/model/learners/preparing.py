"""Prepare rows for learners that need complete, comparable numbers: ranks as normal scores, and flags.

A feature's value becomes the normal quantile of its mid-rank among the fitted rows (van der Waerden scores;
Conover, Practical Nonparametric Statistics, 1999, section 5.10), scaled to variance 1: outliers and skewed
amounts cannot dominate. A missing value becomes 0, the mean, and sets a flag of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from churn.model.encoding import Matrix

_KNOTS = 64
_FEWEST_MISSING = 20  # rows; a rarer flag would be chance

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RankNormal:
    """Maps each feature through a broken line, and flags missing values.

    Attributes:
        values: (features, knots) values at the knots, ascending; +inf after a feature's last.
        scores: (features, knots) their normal scores; the last one is repeated.
        flagged: (flags,) features whose missing values have a flag.
        missing: (flags,) shares of missing values in the fitted rows.
    """

    values: NDArray[np.float32]
    scores: NDArray[np.float32]
    flagged: NDArray[np.int64]
    missing: Floats

    @classmethod
    def fit(cls, X: Matrix) -> Self:
        """Return the map of (rows, features); a constant or empty feature maps to 0 everywhere."""
        features, by_feature = X.shape[1], np.ascontiguousarray(X.T)
        values = np.full((features, _KNOTS), np.inf, np.float32)
        scores = np.zeros((features, _KNOTS), np.float32)
        flagged, missing = [], []
        for feature in range(features):
            column = by_feature[feature]
            known = np.sort(column[~np.isnan(column)])
            absent = len(column) - len(known)
            if min(absent, len(known)) >= _FEWEST_MISSING:
                flagged.append(feature)
                missing.append(absent / len(column))
            at, score = _knots(known)
            values[feature, : len(at)] = at
            scores[feature, : len(at)] = score
            scores[feature, len(at) :] = score[-1] if len(score) else 0
        return cls(values, scores, np.array(flagged, np.int64), np.array(missing))

    @property
    def columns(self) -> int:
        """Number of columns that ``transform`` returns: features, then flags."""
        return len(self.values) + len(self.flagged)

    def transform(self, X: Matrix) -> NDArray[np.float32]:
        """Return (rows, columns) float32: normal scores, then flags minus their means; no NaN."""
        by_feature = np.ascontiguousarray(X.T)
        out = np.empty((self.columns, len(X)), np.float32)
        for feature, (values, scores) in enumerate(zip(self.values, self.scores, strict=True)):
            known = int(np.searchsorted(values, np.inf))
            if known < 2:
                out[feature] = 0
                continue
            out[feature] = np.interp(by_feature[feature], values[:known], scores[:known])
        scored = out[: len(self.values)]
        np.nan_to_num(scored, copy=False, nan=0.0)
        for row, feature, share in zip(out[len(self.values) :], self.flagged, self.missing, strict=True):
            row[:] = np.isnan(by_feature[feature])
            row -= np.float32(share)
        return out.T

    def by_feature(self, weights: Floats) -> tuple[Floats, Floats]:
        """Split a weight for each column into those of scores (features,) and of flags (features,)."""
        flags = np.zeros(len(self.values))
        flags[self.flagged] = weights[len(self.values) :]
        return weights[: len(self.values)], flags

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return its arrays by name, to be saved."""
        names = ("values", "scores", "flagged", "missing")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """Return what ``arrays`` described.

        Raises:
            KeyError: an array is missing.
        """
        return cls(
            arrays["values"].astype(np.float32),
            arrays["scores"].astype(np.float32),
            arrays["flagged"].astype(np.int64),
            arrays["missing"].astype(np.float64),
        )


def _knots(known: Matrix) -> tuple[Matrix, Floats]:
    """Return a feature's knots and their scores, of mean 0 and variance 1 in the given values, ascending."""
    from scipy.special import ndtri  # slow to import; scoring does not need it

    distinct, first, counts = np.unique(known, return_index=True, return_counts=True)
    if len(distinct) < 2:
        return distinct[:0], np.empty(0)
    middle = (first + (counts - 1) / 2 + 0.5) / len(known)
    if len(distinct) > _KNOTS:
        at = np.searchsorted(middle, np.linspace(middle[0], middle[-1], _KNOTS))
        chosen = np.unique(np.clip(at, 0, len(distinct) - 1))
    else:
        chosen = np.arange(len(distinct))
    score = ndtri(middle[chosen])
    all_scores = np.interp(distinct, distinct[chosen], score)
    mean = np.average(all_scores, weights=counts)
    spread = np.sqrt(np.average((all_scores - mean) ** 2, weights=counts))
    return distinct[chosen], (score - mean) / spread
