"""Segments as a learner: k-means on prepared features, and each segment's churn rate."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from churn.model.encoding import Matrix, sigmoid
from churn.model.learners.arrays import from_npz, to_npz
from churn.model.learners.base import (
    FitData,
    Floats,
    Grown,
    LearnerError,
    Params,
    Watch,
    logit,
    unwatched,
)
from churn.model.learners.preparing import RankNormal
from churn.model.learners.threads import one_thread
from churn.model.metrics import log_loss

MOST_ROWS = 100_000


@dataclass(frozen=True, eq=False)
class Segmented:
    """Log-odds by segment.

    Attributes:
        prepare: makes the columns from features.
        centres: (segments, columns).
        margins: (segments,) log-odds of churn.
        params: what it was fitted with.
    """

    prepare: RankNormal
    centres: NDArray[np.float32]
    margins: Floats
    params: Params

    suffix: ClassVar[str] = "npz"
    exact: ClassVar[bool] = False

    @property
    def size(self) -> int:
        """Number of segments."""
        return len(self.margins)

    def segments(self, X: Matrix) -> NDArray[np.int64]:
        """Return each row's nearest centre, (rows,)."""
        columns = self.prepare.transform(X)
        # |x - c|^2 without |x|^2, which is the same for all centres.
        distance = (self.centres**2).sum(axis=1) - 2 * columns @ self.centres.T
        nearest: NDArray[np.int64] = distance.argmin(axis=1)
        return nearest

    def margin(self, X: Matrix, size: int | None = None) -> Floats:
        """Return the log-odds of churn, (rows,)."""
        return self.margins[self.segments(X)]

    def to_bytes(self) -> bytes:
        """Return its arrays as an .npz file."""
        return to_npz(self.prepare.arrays() | {"centres": self.centres, "margins": self.margins})

    @classmethod
    def from_bytes(cls, raw: bytes, threads: int = 0) -> Self:
        """Read its arrays."""
        arrays = from_npz(raw)
        try:
            prepare, centres = RankNormal.of_arrays(arrays), arrays["centres"].astype(np.float32)
            return cls(prepare, centres, arrays["margins"].astype(np.float64), {})
        except KeyError as error:
            raise ValueError(f"an array is missing: {error}") from error


@dataclass(frozen=True)
class Segments:
    """Fits k-means, and a churn rate to each segment: ``(churners + s * rate) / (rows + s)``.

    ``clusters`` is the number of segments, ``shrinkage`` is s, in rows.
    """

    seed: int = 1
    params: Params | None = None

    kind: ClassVar[str] = "segments"
    sized: ClassVar[bool] = False

    def grow(self, fit: FitData, validate: FitData, watch: Watch = unwatched) -> Grown:
        """Fit, and take the later rows' log loss."""
        member = self.fit(fit, 1, watch)
        return Grown(member, np.array([log_loss(validate.churned, sigmoid(member.margin(validate.matrix)))]))

    def fit(self, fit: FitData, size: int = 1, watch: Watch = unwatched) -> Segmented:
        """Fit on at most 100,000 rows, drawn with the seed.

        Raises:
            LearnerError: there are fewer distinct rows than segments.
        """
        from sklearn.cluster import KMeans  # slow to import

        given: dict[str, Any] = {"clusters": 24, "shrinkage": 100.0, **(self.params or {})}
        clusters, shrinkage = int(given["clusters"]), float(given["shrinkage"])
        data = fit.sample(MOST_ROWS, self.seed)
        X = data.matrix
        prepare = RankNormal.fit(X)
        columns = np.ascontiguousarray(prepare.transform(X))
        if len(np.unique(columns, axis=0)) < clusters:
            raise LearnerError(f"there are fewer different rows than {clusters} segments")
        with one_thread():
            means = KMeans(clusters, n_init=1, random_state=self.seed).fit(columns)
        rows = np.bincount(means.labels_, minlength=clusters)
        churners = np.bincount(means.labels_, weights=data.churned, minlength=clusters)
        rates = (churners + shrinkage * data.churn_rate) / (rows + shrinkage)
        watch(1, 1)
        centres = means.cluster_centers_.astype(np.float32)
        return Segmented(prepare, centres, np.array([logit(rate) for rate in rates]), given)
