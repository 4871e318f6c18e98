"""Feature effects over all scored users, from sums that each partition computes by itself.

Each feature's values are binned. The bin edges come from the model, so that they are the same in every
partition: the thresholds that the trees split on, at deciles of the training data that reached them. A
feature's effect is the mean contribution by bin. Contributions are also counted in buckets whose width is at
most 1/8 of their value, which gives any quantile to that precision.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from churn.core import datasets
from churn.core.errors import RunError
from churn.core.prefetch import prefetch_map
from churn.explain.contributions import player_names, tree_ensemble
from churn.explain.ensemble import UnsupportedModelError
from churn.explain.loops import BITS_DROPPED, BUCKETS, FIRST_BUCKET, SIDE_BUCKETS, accumulate
from churn.model.artifact import Model
from churn.model.learners.boosted import Boosted
from churn.model.learners.light import LightBoosted
from churn.model.learners.linear import Linear

_LEVELS = np.array([*range(1, 10), 5]) / 10  # the tenths, and last the middle
_MOST_CATEGORIES = 40  # with more, a bin holds several neighbouring codes
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class BinEffect(BaseModel):
    """The rows with a feature's value in ``[low, high)`` (None = no edge), and their mean contribution.

    ``mean`` is in log-odds; None without rows.
    """

    model_config = ConfigDict(frozen=True)

    low: float | None
    high: float | None
    rows: int
    mean: float | None


class FeatureImportance(BaseModel):
    """One feature over all rows; contributions in log-odds.

    Attributes:
        mean_abs: mean of the absolute contributions.
        mean: mean of the contributions.
        cut: median threshold of the model's splits; None for categories and unused features.
        low: mean contribution of the rows below the cut, None without such rows.
        high: mean contribution of the rows at or above it.
        missing: mean contribution of the rows without a value.
        quantiles: 5th, 25th, 50th, 75th and 95th percentile of the contributions, to within 1/16.
        bins: effect by value; a category's values are its codes.
    """

    model_config = ConfigDict(frozen=True)

    feature: str
    mean_abs: float
    mean: float
    cut: float | None
    low: float | None
    high: float | None
    missing: float | None
    quantiles: tuple[float, ...]
    bins: tuple[BinEffect, ...]


@dataclass(frozen=True)
class BinEdges:
    """The edges of a feature's bins.

    ``cuts`` are the lower edges of all bins but the first, ascending. ``middle`` is the cut at the median of
    the training data that reached the feature's splits; None for a category or an unused feature.
    """

    cuts: tuple[float, ...]
    middle: float | None


def bin_edges(model: Model) -> tuple[BinEdges, ...]:
    """Return the cuts of each feature and player, in the order of ``explained_names``.

    They are the thresholds of the model's trees at the tenths of their cover. A feature that only a linear
    member reads is cut at the tenths of the rows that this one was fitted on. Each code of a category gets a
    bin. A player is cut at log-odds of 0.
    """
    splits, knots = _splits(model), _knots(model)
    edges: list[BinEdges] = []
    for index, name in enumerate(model.card.features):
        thresholds, cover = splits.get(index, (np.empty(0, np.float32), np.empty(0)))
        if not len(thresholds):
            thresholds = knots.get(index, thresholds)
            cover = np.ones(len(thresholds))
        if not len(thresholds):
            edges.append(BinEdges((), None))
        elif name in model.card.categories:
            codes = np.arange(1, len(model.card.categories[name])) - 0.5
            edges.append(BinEdges(tuple(codes[:: 1 + len(codes) // _MOST_CATEGORIES].tolist()), None))
        else:
            order = np.argsort(thresholds, kind="stable")
            thresholds, reached = thresholds[order], np.cumsum(cover[order])
            at = thresholds[np.searchsorted(reached, reached[-1] * _LEVELS)].tolist()
            edges.append(BinEdges(tuple(sorted(set(at))), at[-1]))
    return (*edges, *(BinEdges((0.0,), 0.0) for _ in player_names(model)))


def _splits(model: Model) -> dict[int, tuple[NDArray[np.float32], NDArray[np.float64]]]:
    """Return the thresholds of all trees and their covers, by feature; several boosters count alike."""
    parts: dict[int, list[tuple[NDArray[np.float32], NDArray[np.float64]]]] = {}
    for each in model.members:
        if not isinstance(each.member, Boosted | LightBoosted):
            continue
        try:
            trees = tree_ensemble(each.member).trees
        except UnsupportedModelError:  # its library explains it; its features have no bins
            continue
        feature, threshold, cover, left = (
            np.concatenate([np.asarray(tree[key]) for tree in trees])
            for key in ("split_indices", "split_conditions", "sum_hessian", "left_children")
        )
        for column in np.unique(feature[left >= 0]):
            own = (left >= 0) & (feature == column)
            index = int(column) if each.columns is None else each.columns[column]
            parts.setdefault(index, []).append(
                (threshold[own].astype(np.float32), cover[own].astype(np.float64))
            )
    return {
        index: (np.concatenate([part[0] for part in found]), np.concatenate([part[1] for part in found]))
        for index, found in parts.items()
    }


def _knots(model: Model) -> dict[int, NDArray[np.float32]]:
    """Return the values at which linear members' lines bend, but for the lowest, by feature."""
    knots: dict[int, NDArray[np.float32]] = {}
    for each in model.members:
        if isinstance(each.member, Linear):
            for column, values in enumerate(each.member.prepare.values):
                index = column if each.columns is None else each.columns[column]
                knots.setdefault(index, values[np.isfinite(values)][1:])
    return knots


class ContributionSummary:
    """Sums over rows, by feature; the summary of all rows is the sum of the partitions' summaries.

    Attributes:
        rows: rows summed over.
        total_abs: sum of absolute contributions, (features,).
        bin_rows: rows by bin of the feature's value, int64 (features, bins); the last bin holds missing ones.
        bin_totals: sum of contributions by bin.
        buckets: rows by bucket of the contribution's size and sign, int64 (features, buckets).
    """

    def __init__(self, features: Sequence[str], cuts: Sequence[BinEdges]) -> None:
        """Create a summary of no rows."""
        self.features = tuple(features)
        self.cuts = tuple(cuts)
        self.rows = 0
        self._counts = np.array([len(cut.cuts) for cut in cuts], np.int64)
        # Padded to one width: one bin more than cuts, and one for missing values.
        width = int(self._counts.max(initial=0)) + 2
        self._cuts = np.full((len(features), max(1, width - 2)), np.inf, np.float32)
        for row, cut in zip(self._cuts, cuts, strict=True):
            row[: len(cut.cuts)] = cut.cuts
        self.total_abs = np.zeros(len(features))
        self.bin_rows = np.zeros((len(features), width), np.int64)
        self.bin_totals = np.zeros((len(features), width))
        self.buckets = np.zeros((len(features), BUCKETS), np.int64)

    def add(self, X: NDArray[np.float32], phi: NDArray[np.float32]) -> None:
        """Add rows: encoded features and their contributions, both (rows, features).

        Fastest if both are column-major in memory.
        """
        x, p = (np.ascontiguousarray(matrix.T, np.float32) for matrix in (X, phi))
        scratch = np.empty(len(X), np.uint8)
        sums = (self.total_abs, self.bin_rows, self.bin_totals, self.buckets)
        accumulate(x, p, p.view(np.int32), self._cuts, self._counts, scratch, *sums)
        self.rows += len(X)

    def __add__(self, other: Self) -> Self:
        """Return the summary of both's rows.

        Raises:
            ValueError: the summaries are of different models.
        """
        if (self.features, self.cuts) != (other.features, other.cuts):
            raise ValueError("only summaries of the same model can be added")
        both = type(self)(self.features, self.cuts)
        both.rows = self.rows + other.rows
        for name in ("total_abs", "bin_rows", "bin_totals", "buckets"):
            setattr(both, name, getattr(self, name) + getattr(other, name))
        return both

    def importance(self) -> tuple[FeatureImportance, ...]:
        """Return the features by mean absolute contribution, largest first; none for a summary of no rows."""
        if not self.rows:
            return ()
        features = map(self._importance, range(len(self.features)))
        return tuple(sorted(features, key=lambda feature: -feature.mean_abs))

    def _importance(self, i: int) -> FeatureImportance:
        cuts, middle = self.cuts[i].cuts, self.cuts[i].middle
        rows, totals = self.bin_rows[i, : len(cuts) + 1], self.bin_totals[i, : len(cuts) + 1]
        at = 0 if middle is None else cuts.index(middle) + 1
        ordered = middle is not None
        ends = (None, *cuts, None)
        return FeatureImportance(
            feature=self.features[i],
            mean_abs=self.total_abs[i] / self.rows,
            mean=self.bin_totals[i].sum() / self.rows,
            cut=middle,
            low=_mean(totals[:at], rows[:at]) if ordered else None,
            high=_mean(totals[at:], rows[at:]) if ordered else None,
            missing=_mean(self.bin_totals[i, -1:], self.bin_rows[i, -1:]),
            quantiles=self.quantiles(i, QUANTILES),
            bins=tuple(
                BinEffect(low=low, high=high, rows=n, mean=_mean(total, n))
                for low, high, n, total in zip(ends[:-1], ends[1:], rows, totals, strict=True)
            ),
        )

    def quantiles(self, feature: int, levels: Sequence[float]) -> tuple[float, ...]:
        """Return quantiles of a feature's contributions (log-odds), to within 1/16 of their value.

        Absolute values below 2^-12 count as zero, those above 2^4 as 2^4.

        Args:
            feature: the feature's position.
            levels: between 0 and 1.
        """
        reached = np.cumsum(self.buckets[feature])
        wanted = np.searchsorted(reached, np.maximum(1, np.ceil(np.asarray(levels) * reached[-1])))
        return tuple(_BUCKET_VALUES[wanted].tolist())

    def table(self) -> pa.Table:
        """Return the summary as a table of ``datasets.EFFECTS.schema``, one row per feature."""
        columns = {
            "feature": self.features,
            "cuts": [cut.cuts for cut in self.cuts],
            "middle": [cut.middle for cut in self.cuts],
            "rows": [self.rows] * len(self.features),
            "total_abs": self.total_abs,
            "bin_rows": list(self.bin_rows),
            "bin_totals": list(self.bin_totals),
            "buckets": list(self.buckets),
        }
        return pa.table(columns, datasets.EFFECTS.schema)

    @classmethod
    def of(cls, table: pa.Table) -> Self:
        """Return the summary of a table that ``table`` made."""
        columns = table.to_pydict()
        cuts = [BinEdges(tuple(c), m) for c, m in zip(columns["cuts"], columns["middle"], strict=True)]
        summary = cls(columns["feature"], cuts)
        summary.rows = columns["rows"][0] if table.num_rows else 0
        summary.total_abs[:] = columns["total_abs"]
        for name in ("bin_rows", "bin_totals", "buckets"):
            getattr(summary, name)[:] = columns[name]
        return summary


def read_summary(run_folder: str) -> ContributionSummary:
    """Return the sum of a run's summaries; files are prefetched a few at a time.

    Args:
        run_folder: a run's folder, a path or an fsspec URL.

    Raises:
        RunError: the run has no summaries, or they are of different models.
    """
    fs, path = url_to_fs(run_folder)
    # Not by a pattern: the folder's own name may hold brackets.
    found = fs.find(f"{path}/{datasets.EFFECTS.name}", maxdepth=1)
    files = sorted(file for file in found if file.endswith(".parquet"))
    if not files:
        raise RunError(f"{run_folder} has no {datasets.EFFECTS.name}: give the folder of a run")

    def read(file: str) -> pa.Table:
        # One request reads the whole small file; reading Parquet piecewise would take several.
        return pq.read_table(pa.BufferReader(fs.cat_file(file)))

    try:
        return reduce(operator.add, map(ContributionSummary.of, prefetch_map(read, files)))
    except ValueError as error:
        raise RunError(f"{run_folder}/{datasets.EFFECTS.name}: {error}; score the run again") from error


def _mean(totals: Any, rows: Any) -> float | None:
    count = int(np.sum(rows))
    return float(np.sum(totals)) / count if count else None


def _bucket_values() -> NDArray[np.float64]:
    """Return the middle of each bucket of contributions."""
    edges = np.arange(FIRST_BUCKET, FIRST_BUCKET + SIDE_BUCKETS + 1, dtype=np.uint32) << BITS_DROPPED
    floats = edges.view(np.float32).astype(np.float64)
    middles = (floats[:-1] + floats[1:]) / 2
    return np.concatenate([-middles[::-1], [0.0], middles])


_BUCKET_VALUES = _bucket_values()
