"""Logistic regression on prepared features, also on their principal components.

Both are linear in the prepared columns, so their contributions have a closed form. For independent features
the Shapley value of a linear model is ``w (z - mean z)`` (Štrumbelj & Kononenko, Knowledge and Information
Systems 41, 2014, section 3). Prepared columns have mean 0 in the fitted rows. A component is itself linear in
them, so weights of components are carried back: ``w = V u``. A flag's part belongs to its feature.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from churn.model.encoding import Matrix, sigmoid
from churn.model.learners.arrays import from_npz, to_npz
from churn.model.learners.base import FitData, Floats, Grown, LearnerError, Params, Watch, unwatched
from churn.model.learners.preparing import RankNormal
from churn.model.learners.threads import one_thread
from churn.model.metrics import log_loss

# More rows hardly change a few hundred weights, and all of them are in memory at once.
MOST_ROWS = 200_000
_ITERATIONS = 100


@dataclass(frozen=True, eq=False)
class Linear:
    """Log-odds that are linear in normal scores and flags.

    Attributes:
        prepare: makes the columns from features.
        weights: (columns,) log-odds for each unit of a column.
        intercept: log-odds of the mean row.
        params: what it was fitted with.
    """

    prepare: RankNormal
    weights: Floats
    intercept: float
    params: Params

    suffix: ClassVar[str] = "npz"
    exact: ClassVar[bool] = True
    size: ClassVar[int] = 1

    def margin(self, X: Matrix, size: int | None = None) -> Floats:
        """Return the log-odds of churn, (rows,)."""
        margin: Floats = self.prepare.transform(X).astype(np.float64) @ self.weights + self.intercept
        return margin

    def contributions(self, X: Matrix) -> tuple[NDArray[np.float32], float]:
        """Return each feature's part of each row's margin, and the rest, which is the same for all rows.

        Returns:
            (rows, features) float32 in log-odds, column-major; and the bias. Their sum is the margin.
        """
        features = X.shape[1]
        columns = self.prepare.transform(X).T  # (columns, rows)
        phi = columns[:features] * self.weights[:features, None].astype(np.float32)
        for column, feature, weight in zip(
            columns[features:], self.prepare.flagged, self.weights[features:], strict=True
        ):
            phi[feature] += column * np.float32(weight)
        return phi.T, self.intercept

    def to_bytes(self) -> bytes:
        """Return its arrays as an .npz file."""
        arrays = self.prepare.arrays() | {"weights": self.weights, "intercept": np.array([self.intercept])}
        return to_npz(arrays)

    @classmethod
    def from_bytes(cls, raw: bytes, threads: int = 0) -> Self:
        """Read its arrays."""
        arrays = from_npz(raw)
        try:
            prepare, weights = RankNormal.of_arrays(arrays), arrays["weights"].astype(np.float64)
            intercept = float(arrays["intercept"][0])
        except (KeyError, IndexError) as error:
            raise ValueError(f"an array is missing: {error}") from error
        if len(weights) != prepare.columns:
            raise ValueError(f"it has {len(weights)} weights for {prepare.columns} columns")
        return cls(prepare, weights, intercept, {})


@dataclass(frozen=True)
class Logistic:
    """Fits logistic regression with an L2 penalty (``C`` is its inverse, as scikit-learn defines it)."""

    seed: int = 1
    params: Params | None = None

    kind: ClassVar[str] = "logistic"
    sized: ClassVar[bool] = False

    def grow(self, fit: FitData, validate: FitData, watch: Watch = unwatched) -> Grown:
        """Fit, and take the later rows' log loss."""
        member = self.fit(fit, 1, watch)
        return Grown(member, np.array([log_loss(validate.churned, sigmoid(member.margin(validate.matrix)))]))

    def fit(self, fit: FitData, size: int = 1, watch: Watch = unwatched) -> Linear:
        """Fit on at most 200,000 rows, drawn with the seed.

        Raises:
            LearnerError: no feature has two values.
        """
        data = fit.sample(MOST_ROWS, self.seed)
        X = data.matrix
        prepare = RankNormal.fit(X)
        columns = np.ascontiguousarray(prepare.transform(X))
        if not columns.any():
            raise LearnerError("no feature has two different values")
        weights, intercept = self._weights(columns, data.churned)
        watch(1, 1)
        return self._member(prepare, weights, intercept)

    def _member(self, prepare: RankNormal, weights: Floats, intercept: float) -> Linear:
        return Linear(prepare, weights, intercept, self._all_params())

    def _all_params(self) -> Params:
        return {"C": 0.01, **(self.params or {})}

    def _weights(self, columns: NDArray[np.float32], churned: NDArray[np.int8]) -> tuple[Floats, float]:
        return _fit_logistic(columns, churned, float(self._all_params()["C"]))


@dataclass(frozen=True)
class PcaLogistic(Logistic):
    """Fits logistic regression on the leading principal components of the prepared columns."""

    kind: ClassVar[str] = "pca_logistic"

    def _all_params(self) -> Params:
        return {"C": 0.1, "components": 30, **(self.params or {})}

    def _weights(self, columns: NDArray[np.float32], churned: NDArray[np.int8]) -> tuple[Floats, float]:
        from sklearn.decomposition import PCA  # slow to import

        params = self._all_params()
        components = min(int(params["components"]), *columns.shape)
        with one_thread():
            pca = PCA(components, svd_solver="covariance_eigh").fit(columns)
            reduced = pca.transform(columns)
        # Components of variance 1, so that the penalty treats them alike.
        spread = np.maximum(reduced.std(axis=0), 1e-12)
        weights, intercept = _fit_logistic(reduced / spread, churned, float(params["C"]))
        back: Floats = pca.components_.T.astype(np.float64) @ (weights / spread)
        return back, intercept - float(pca.mean_.astype(np.float64) @ back)


def _fit_logistic(columns: NDArray[Any], churned: NDArray[np.int8], C: float) -> tuple[Floats, float]:
    from sklearn.linear_model import LogisticRegression  # slow to import

    model = LogisticRegression(C=C, max_iter=_ITERATIONS, solver="newton-cholesky", tol=1e-6)
    with one_thread():
        model.fit(columns, churned)
    return model.coef_[0].astype(np.float64), float(model.intercept_[0])
