"""What a learner is: how it is fitted, and what a fitted one can do.

Every learner reads the same matrix, made by ``encoding.FeatureSchema``: (rows, features) float32, NaN where a
value is missing, categories as codes. What else a learner needs (imputation, flags of missing values,
scaling) it fits itself and keeps in its ``Member``, so that scoring cannot prepare rows in another way.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from churn.config.training import ParamValue
from churn.core.errors import ChurnError
from churn.model.encoding import FeatureSchema, Matrix
from churn.model.rows import Positions, TrainingRows

Params = dict[str, ParamValue]
Floats = NDArray[np.float64]
# Rows of one batch: what is in memory as float32 beside a learner's own copy.
_BATCH_VALUES = 4_000_000


class LearnerError(ChurnError):
    """A learner cannot be fitted on these rows, or its library is missing; other learners may go on."""


Watch = Callable[[int, int], None]  # takes rounds done and most rounds; may raise to stop the fit


def unwatched(done: int, most: int) -> None:
    """Take no notice of progress."""


@dataclass(frozen=True)
class FitData:
    """Rows to fit on, or to choose a size on.

    Attributes:
        rows: all training rows.
        schema: how all features are encoded; of the rows that the model is fitted on.
        positions: (n,) which rows, ascending.
        columns: which of the features the learner reads; None = all.
    """

    rows: TrainingRows
    schema: FeatureSchema
    positions: Positions
    columns: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def names(self) -> list[str]:
        """The features that the learner reads, in order."""
        names = self.schema.names
        return list(names) if self.columns is None else [names[column] for column in self.columns]

    @property
    def churned(self) -> NDArray[np.int8]:
        """(n,) 1 = churned."""
        return self.rows.churned[self.positions]

    @property
    def churn_rate(self) -> float:
        """Share of churners."""
        return float(self.churned.mean())

    @property
    def matrix(self) -> Matrix:
        """(n, features) float32, all at once."""
        return self._matrix(self.positions)

    def batches(self) -> Iterator[tuple[Matrix, NDArray[np.int8]]]:
        """Yield matrices and labels of some rows at a time, in order."""
        size = max(1, _BATCH_VALUES // max(1, len(self.schema.names)))
        for start in range(0, len(self), size):
            part = self.positions[start : start + size]
            yield self._matrix(part), self.rows.churned[part]

    def _matrix(self, positions: Positions) -> Matrix:
        matrix = self.rows.matrix(self.schema, positions)
        return matrix if self.columns is None else matrix[:, self.columns]

    def sample(self, most: int, seed: int) -> "FitData":
        """Return at most so many of the rows, drawn with a seed, in order."""
        if len(self) <= most:
            return self
        drawn = np.random.default_rng(seed).choice(len(self), most, replace=False)
        return replace(self, positions=self.positions[np.sort(drawn)])


class Member(Protocol):
    """A fitted learner.

    Attributes:
        suffix: of its file.
        exact: whether its margin splits exactly into one contribution for each feature.
        params: what it was fitted with, for the card.
        size: trees, epochs or clusters; 1 where there is nothing to choose.
    """

    suffix: ClassVar[str]
    exact: ClassVar[bool]

    @property
    def params(self) -> Params: ...  # noqa: D102  # described above

    @property
    def size(self) -> int: ...  # noqa: D102  # described above

    def margin(self, X: Matrix, size: int | None = None) -> Floats:
        """Return the log-odds of churn, (rows,), of the first ``size`` trees if there are more."""
        ...

    def to_bytes(self) -> bytes:
        """Return its file's content; no pickle."""
        ...

    @classmethod
    def from_bytes(cls, raw: bytes, threads: int = 0) -> Self:
        """Read what ``to_bytes`` returned.

        Raises:
            ValueError: the bytes are of something else.
            LearnerError: the learner's library is missing.
        """
        ...


@dataclass(frozen=True)
class Grown:
    """A member fitted to a fold, and how good each size of it is on the fold's later rows.

    Attributes:
        member: the member, with all sizes that were tried.
        losses: (sizes,) log loss on the validation rows, of 1, 2, ... trees or epochs.
    """

    member: Member
    losses: Floats


class Learner(Protocol):
    """A way to fit members.

    Attributes:
        kind: the name of the way.
        sized: whether its size (trees, epochs) is chosen on folds.
    """

    kind: ClassVar[str]
    sized: ClassVar[bool]

    def grow(self, fit: FitData, validate: FitData, watch: Watch = unwatched) -> Grown:
        """Fit to a fold; a learner with sizes stops once more of it no longer helps.

        Raises:
            LearnerError: the rows do not allow it.
        """
        ...

    def fit(self, fit: FitData, size: int, watch: Watch = unwatched) -> Member:
        """Fit a member of a given size.

        Raises:
            LearnerError: the rows do not allow it.
        """
        ...


def logit(rate: float) -> float:
    """Return the log-odds of a rate, which is first kept a little away from 0 and 1."""
    inside = min(max(rate, 1e-6), 1 - 1e-6)
    return float(np.log(inside / (1 - inside)))
