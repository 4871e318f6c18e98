"""What moves the predictions as a whole: sums of contributions that partitions add up without meeting.

Each feature has one cut, taken from the model and hence the same in every partition: the median of the
thresholds that the trees split on, weighted by how much of the training data met each. The mean contribution
of the rows below and above the cut says which way the feature works.
"""

import json
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict


class FeatureImportance(BaseModel):
    """One feature over all rows; contributions in log-odds.

    Attributes:
        feature: its name.
        mean_abs: mean of the absolute contributions.
        mean: mean of the contributions.
        cut: where the model typically splits; None where it has no order (categories) or is never used.
        low: mean contribution of the rows below the cut, None without such rows.
        high: mean contribution of the rows at or above it.
        missing: mean contribution of the rows without a value.
    """

    model_config = ConfigDict(frozen=True)

    feature: str
    mean_abs: float
    mean: float
    cut: float | None
    low: float | None
    high: float | None
    missing: float | None


class ContributionSummary(BaseModel):
    """Sums over rows, one element a feature; the summary of all rows is the sum of the partitions' summaries.

    Attributes:
        features: the model's features.
        cuts: their cuts; None for one without an order.
        rows: rows summed over.
        total: sum of contributions.
        total_abs: sum of absolute contributions.
        low_rows: rows below the cut; ``low_total`` sums their contributions.
        high_rows: rows at or above the cut; ``high_total`` sums their contributions.
        missing_rows: rows without a value; ``missing_total`` sums their contributions.
    """

    model_config = ConfigDict(frozen=True)

    features: tuple[str, ...]
    cuts: tuple[float | None, ...]
    rows: int = 0
    total: tuple[float, ...] = ()
    total_abs: tuple[float, ...] = ()
    low_rows: tuple[int, ...] = ()
    low_total: tuple[float, ...] = ()
    high_rows: tuple[int, ...] = ()
    high_total: tuple[float, ...] = ()
    missing_rows: tuple[int, ...] = ()
    missing_total: tuple[float, ...] = ()

    @classmethod
    def of(
        cls,
        features: Sequence[str],
        cuts: Sequence[float | None],
        X: NDArray[np.float32],
        phi: NDArray[np.float32],
    ) -> Self:
        """Return the summary of a batch: encoded features and their contributions, both (rows, features)."""
        at = np.array([np.nan if cut is None else cut for cut in cuts], np.float32)
        missing, low, high = np.isnan(X), at > X, at <= X  # comparisons with NaN are false

        def sums(where: NDArray[np.bool_]) -> tuple[float, ...]:
            return tuple(np.einsum("ij,ij->j", phi, where, dtype=np.float64).tolist())

        def count(where: NDArray[np.bool_]) -> tuple[int, ...]:
            return tuple(where.sum(axis=0).tolist())

        return cls(
            features=tuple(features),
            cuts=tuple(cuts),
            rows=len(X),
            total=tuple(phi.sum(axis=0, dtype=np.float64).tolist()),
            total_abs=tuple(np.abs(phi).sum(axis=0, dtype=np.float64).tolist()),
            low_rows=count(low),
            low_total=sums(low),
            high_rows=count(high),
            high_total=sums(high),
            missing_rows=count(missing),
            missing_total=sums(missing),
        )

    @classmethod
    def merged(cls, summaries: Sequence[Self]) -> Self:
        """Return the summary of all rows of the given ones, which must be of one model.

        Raises:
            ValueError: there is none, or they differ in features or cuts.
        """
        if len({(summary.features, summary.cuts) for summary in summaries}) != 1:
            raise ValueError("only summaries of one and the same model can be merged")
        sums: dict[str, Any] = {}
        for name, info in cls.model_fields.items():
            if name in ("features", "cuts"):
                continue
            parts = [getattr(summary, name) for summary in summaries]
            sums[name] = sum(parts) if info.annotation is int else tuple(map(sum, zip(*parts, strict=True)))
        return cls(features=summaries[0].features, cuts=summaries[0].cuts, **sums)

    def importance(self) -> tuple[FeatureImportance, ...]:
        """Return the features by mean absolute contribution, largest first; none for a summary of no rows."""
        if not self.rows:
            return ()

        def mean(total: float, rows: int) -> float | None:
            return total / rows if rows else None

        found = [
            FeatureImportance(
                feature=name,
                mean_abs=self.total_abs[i] / self.rows,
                mean=self.total[i] / self.rows,
                cut=self.cuts[i],
                low=mean(self.low_total[i], self.low_rows[i]),
                high=mean(self.high_total[i], self.high_rows[i]),
                missing=mean(self.missing_total[i], self.missing_rows[i]),
            )
            for i, name in enumerate(self.features)
        ]
        return tuple(sorted(found, key=lambda feature: -feature.mean_abs))


def typical_cuts(booster: xgb.Booster, unordered: Sequence[bool]) -> tuple[float | None, ...]:
    """Return for each feature the median threshold of the booster's splits on it, weighted by cover.

    Args:
        booster: a tree booster.
        unordered: for each feature, whether its values have no order (category codes).
    """
    trees = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]["model"]["trees"]

    def joined(key: str) -> NDArray[Any]:
        return np.concatenate([np.asarray(tree[key]) for tree in trees]) if trees else np.array([])

    inner = joined("left_children") >= 0
    feature, threshold, cover = (
        joined(key)[inner] for key in ("split_indices", "split_conditions", "sum_hessian")
    )
    order = np.argsort(threshold, kind="stable")
    feature, threshold, cover = feature[order], threshold[order], cover[order]
    cuts: list[float | None] = []
    for index, skip in enumerate(unordered):
        mine = feature == index
        reached = np.cumsum(cover[mine])
        if skip or not len(reached):
            cuts.append(None)
        else:
            cuts.append(float(threshold[mine][np.searchsorted(reached, reached[-1] / 2)]))
    return tuple(cuts)
