"""Exact path-dependent SHAP contributions of boosted trees, vectorised over rows.

A feature's Shapley value is its effect averaged over all orders in which features may become known. The same
average comes from letting every other feature be known with probability p, independently, and p run evenly
from 0 to 1 (Owen, Multilinear extensions of games, Management Science 18, 1972):

    phi_f = integral over p from 0 to 1 of  E[value | f known] - E[value | f unknown]

A tree that does not know a feature follows both children, in proportion to their cover ("path-dependent":
Lundberg et al., From local explanations to global understanding with explainable AI for trees, Nature Machine
Intelligence 2, 2020). So at a split node the row's share that takes the first child is ``z + c h``, with

    z   share of the node's cover in the first child
    h   [row takes the first child] - z
    c   probability that the split's feature is known, given that all splits above led here: p, if none of
        those was on the same feature; else p / (p + (1 - p) s), where s is the product of the cover shares of
        the earlier splits on it, or 0 if the row left the path at one of them (then h is set to 0)

and each node adds to its feature

    phi_f += integral of  P  dc/dp  h  (G1 - G2)

    P       product of the shares on the path above the node
    G1, G2  expected value of the first and the second child:  G = G2 + (z + c h) (G1 - G2)

The integrand is a polynomial in p, of a degree below the number d of distinct features on the path, so that
Gauss-Legendre quadrature with ceil(d / 2) points is exact. That turns the polynomials of Linear TreeSHAP (Yu
et al., NeurIPS 2022) into a few numbers for each row, node and point: one walk down for P and up for G, in
time proportional to nodes x points, with no branch that depends on a row. Newer versions of XGBoost integrate
in the same way (Wettenstein, Mitchell, Yu, Quadrature-TreeSHAP, arXiv 2605.04497, 2026).
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import xgboost as xgb
from numpy.typing import ArrayLike, NDArray

from churn.core.errors import RunError
from churn.core.floats import standard_floats
from churn.explain.ensemble import TreeEnsemble, UnsupportedModelError, read_xgboost
from churn.explain.kernel import LANES, kernel
from churn.explain.trees import flatten

__all__ = ["TreeShap", "UnsupportedModelError"]

_LINE = 64  # bytes; a vector that straddles two cache lines is read twice
_ADDITIVITY = 1e-4
_GREATEST = np.finfo(np.float32).max

Floats = NDArray[np.float32]


class TreeShap:
    """Computes contributions of rows to the margin of one sum of trees. Thread-safe.

    Attributes:
        n_features: number of columns that it expects.
        bias: the margin of an average training row, in log-odds.
    """

    @standard_floats()
    def __init__(self, booster: xgb.Booster | TreeEnsemble) -> None:
        """Flatten the trees and compile the kernel.

        Args:
            booster: trees with numeric splits and one output: XGBoost's, or what ``read_lightgbm`` returns.
                All trees are used, as by ``Booster.predict`` without ``iteration_range``; pass
                ``booster[: booster.best_iteration + 1]`` for fewer.

        Raises:
            UnsupportedModelError: it has categorical splits, DART weights, several classes or targets, or is
                linear.
        """
        ensemble = read_xgboost(booster) if isinstance(booster, xgb.Booster) else booster
        self.n_features: int = ensemble.features
        self._trees = flatten(ensemble.trees)
        self._unused = np.setdiff1d(np.arange(self.n_features), self._trees.features)
        self._kernel = kernel.ready()
        self.bias = 0.0
        self.bias = self._probe(ensemble)

    def contributions(self, X: ArrayLike, threads: int = 1) -> Floats:
        """Return each feature's contribution to each row's margin; equals ``pred_contribs`` up to rounding.

        Args:
            X: (rows, features) in any memory order; NaN = missing. Other types are converted to float32, as
                XGBoost does.
            threads: number of threads; each needs less than 2 MB, unless the trees split on more than 7,000
                features.

        Returns:
            (rows, features + 1) float32 in log-odds, the bias in the last column; column-major (``.T`` is
            C-contiguous).

        Raises:
            RunError: X has another number of columns than the model.
        """
        return self.margin_and_contributions(X, threads)[1]

    def margin_and_contributions(self, X: ArrayLike, threads: int = 1) -> tuple[Floats, Floats]:
        """Return margins and contributions in one pass; arguments and errors as for ``contributions``.

        Returns:
            Margins, (rows,) float32: bias plus contributions, summed in float64. Contributions as above.
        """
        matrix: Floats = np.asarray(X, np.float32)
        if matrix.ndim != 2 or matrix.shape[1] != self.n_features:
            raise RunError(
                f"the model has {self.n_features} features, but the matrix to explain has shape "
                f"{matrix.shape}; encode it with the model's own schema"
            )
        if threads < 1:
            raise RunError(f"{threads} threads cannot explain anything; give 1 or more")
        rows = len(matrix)
        by_feature = np.empty((self.n_features + 1, rows), np.float32)
        by_feature[self._unused] = 0
        margin = np.empty(rows, np.float64)
        blocks = -(-rows // self._trees.rows)
        per_thread = -(-blocks // threads) * self._trees.rows
        parts = [(i, min(i + per_thread, rows)) for i in range(0, rows, max(1, per_thread))]

        @standard_floats()  # of each thread: limits may be the number below 0
        def explain(part: tuple[int, int]) -> None:
            scratch = _aligned(self._trees.floats)
            self._kernel(matrix, tuple(self._trees), *part, scratch, self.bias, by_feature, margin)

        if len(parts) > 1:
            with ThreadPoolExecutor(len(parts)) as pool:
                list(pool.map(explain, parts))
        elif parts:
            explain(parts[0])
        return margin.astype(np.float32), by_feature.T

    def _probe(self, ensemble: TreeEnsemble) -> float:
        """Return the bias: the margin minus the contributions, which is the same for every row.

        This holds for any base score, objective and version of the library. Very different rows check that
        the flattened trees are the ones that the library predicts with: nothing known, zeros, and values at
        the thresholds and next to them, where a comparison would first go wrong.
        """
        rows = self._probe_rows()
        margin = ensemble.margin(rows)
        summed = self.contributions(rows).sum(axis=1, dtype=np.float64)
        gap: NDArray[np.float64] = np.ravel(margin).astype(np.float64) - summed
        if not np.ptp(gap) <= _ADDITIVITY * max(1.0, float(np.abs(margin).max())):
            raise UnsupportedModelError(
                f"contributions do not add up to this model's margin (by {np.ptp(gap):.2g} between two "
                "rows); use its own library's contributions"
            )
        return float(gap[:2].mean())

    def _probe_rows(self) -> Floats:
        """Return (LANES, features): zeros, nothing, and values at and beside thresholds of every feature."""
        rows = np.full((LANES, self.n_features), np.nan, np.float32)
        rows[0] = 0
        nodes, each = self._trees.nodes, (LANES - 2) // 3
        for slot, feature in enumerate(self._trees.features):
            of_feature = nodes[nodes["x"] == slot * self._trees.rows]
            limits = np.unique(of_feature["sign"] * of_feature["limit"])
            chosen = limits[np.linspace(0, len(limits) - 1, each).astype(int)]
            beside = [np.nextafter(chosen, np.float32(side)) for side in (-np.inf, np.inf)]
            values = np.concatenate([chosen, *beside])
            rows[2 : 2 + 3 * each, feature] = np.clip(values, -_GREATEST, _GREATEST)  # encoders refuse inf
        return rows


def _aligned(floats: int) -> Floats:
    """Return zeros that start on a cache line."""
    memory = np.zeros(floats + _LINE // 4, np.float32)
    skipped = -memory.ctypes.data % _LINE // 4
    return memory[skipped : skipped + floats]
