"""What moves the predictions as a whole: sums that partitions add up without meeting.

Each feature's values fall into bins whose cuts are taken from the model, and hence the same in every
partition: thresholds that the trees split on, at the tenths of the training data that met them. The mean
contribution by bin is the feature's effect. Contributions themselves are counted in buckets of at most 1/8 of
their value, so that any quantile can be told to within that.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xgboost as xgb
from fsspec.core import url_to_fs
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from churn.core import datasets
from churn.core.errors import RunError
from churn.core.prefetch import prefetch_map
from churn.explain.loops import BITS_DROPPED, BUCKETS, FIRST_BUCKET, SIDE_BUCKETS, accumulate

_TENTHS = np.arange(1, 10) / 10
_MIDDLE = 0.5
_MOST_CATEGORIES = 40  # beyond, a bin holds several neighbouring codes
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class BinEffect(BaseModel):
    """One bin of a feature's values.

    Attributes:
        low: least value in it; None = no lower end.
        high: all its values are smaller; None = no upper end.
        rows: rows in it.
        mean: their mean contribution, log-odds; None without rows.
    """

    model_config = ConfigDict(frozen=True)

    low: float | None
    high: float | None
    rows: int
    mean: float | None


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
        quantiles: contribution at 5, 25, 50, 75 and 95 per cent of the rows, to within 1/16 of its value.
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
    """Where a feature's values are cut into bins, in rising order.

    Attributes:
        cuts: least values of all bins but the first.
        middle: that cut which half of the training data that met the feature's splits lie below; None for a
            feature without order or use.
    """

    cuts: tuple[float, ...]
    middle: float | None


def bin_edges(
    booster: xgb.Booster, features: Sequence[str], categories: Mapping[str, Sequence[str]]
) -> tuple[BinEdges, ...]:
    """Return each feature's cuts: the booster's thresholds at the tenths of their cover.

    Args:
        booster: a tree booster.
        features: its features in order.
        categories: category features with their values; each of their codes gets a bin.
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
    found: list[BinEdges] = []
    for index, name in enumerate(features):
        mine = feature == index
        thresholds, reached = threshold[mine].astype(np.float32), np.cumsum(cover[mine])
        if not len(thresholds):
            found.append(BinEdges((), None))
        elif name in categories:
            codes = np.arange(1, len(categories[name])) - 0.5
            found.append(BinEdges(tuple(codes[:: 1 + len(codes) // _MOST_CATEGORIES].tolist()), None))
        else:
            at = thresholds[np.searchsorted(reached, reached[-1] * np.array([*_TENTHS, _MIDDLE]))].tolist()
            found.append(BinEdges(tuple(sorted(set(at))), at[-1]))
    return tuple(found)


class ContributionSummary:
    """Sums over rows, by feature; the summary of all rows is the sum of the partitions' summaries.

    Attributes:
        features: the model's features.
        cuts: their cuts.
        rows: rows summed over.
        total_abs: sum of absolute contributions, (features,).
        bin_rows: rows by bin of the feature's value, int64 (features, bins); the last bin holds missing ones.
        bin_totals: sum of contributions by bin.
        buckets: rows by bucket of the contribution's size and sign, int64 (features, buckets).
    """

    def __init__(self, features: Sequence[str], cuts: Sequence[BinEdges]) -> None:
        """Begin with no rows."""
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

        Quickest if both lie feature by feature in memory.
        """
        x, p = (np.ascontiguousarray(matrix.T, np.float32) for matrix in (X, phi))
        scratch = np.empty(len(X), np.uint8)
        sums = (self.total_abs, self.bin_rows, self.bin_totals, self.buckets)
        accumulate(x, p, p.view(np.int32), self._cuts, self._counts, scratch, *sums)
        self.rows += len(X)

    def __add__(self, other: Self) -> Self:
        """Return the summary of both's rows.

        Raises:
            ValueError: they are of different models.
        """
        if (self.features, self.cuts) != (other.features, other.cuts):
            raise ValueError("only summaries of one and the same model can be added up")
        both = type(self)(self.features, self.cuts)
        both.rows = self.rows + other.rows
        for name in ("total_abs", "bin_rows", "bin_totals", "buckets"):
            setattr(both, name, getattr(self, name) + getattr(other, name))
        return both

    def importance(self) -> tuple[FeatureImportance, ...]:
        """Return the features by mean absolute contribution, largest first; none for a summary of no rows."""
        if not self.rows:
            return ()
        found = [self._importance(i) for i in range(len(self.features))]
        return tuple(sorted(found, key=lambda feature: -feature.mean_abs))

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

        Sizes below 2^-12 count as zero, those beyond 2^4 as 2^4.

        Args:
            feature: its position.
            levels: between 0 and 1.
        """
        reached = np.cumsum(self.buckets[feature])
        wanted = np.searchsorted(reached, np.maximum(1, np.ceil(np.asarray(levels) * reached[-1])))
        return tuple(_BUCKET_VALUES[wanted].tolist())

    def table(self) -> pa.Table:
        """Return the summary as a table, one row a feature, ``datasets.EFFECTS.schema``."""
        columns = {
            "feature": self.features,
            "cuts": [cut.cuts for cut in self.cuts],
            "middle": [cut.middle for cut in self.cuts],
            "rows": [self.rows] * len(self.features),
            "total_abs": self.total_abs,
            "bin_rows": _lists(self.bin_rows),
            "bin_totals": _lists(self.bin_totals),
            "buckets": _lists(self.buckets),
        }
        return pa.table(columns, datasets.EFFECTS.schema)

    @classmethod
    def of(cls, table: pa.Table) -> Self:
        """Return the summary that ``table`` gave."""
        columns = table.to_pydict()
        cuts = [BinEdges(tuple(c), m) for c, m in zip(columns["cuts"], columns["middle"], strict=True)]
        summary = cls(columns["feature"], cuts)
        summary.rows = columns["rows"][0] if table.num_rows else 0
        summary.total_abs[:] = columns["total_abs"]
        for name in ("bin_rows", "bin_totals", "buckets"):
            getattr(summary, name)[:] = columns[name]
        return summary


def read_summary(run_folder: str) -> ContributionSummary:
    """Return what moves a run's predictions, added up over its partitions a few at a time.

    Args:
        run_folder: a run's folder, a path or an fsspec URL.

    Raises:
        RunError: the run has no such sums, or they are of different models.
    """
    fs, path = url_to_fs(run_folder)
    files = sorted(fs.glob(f"{path}/{datasets.EFFECTS.name}/*.parquet"))
    if not files:
        raise RunError(f"{run_folder} has no {datasets.EFFECTS.name}: give the folder of a run")

    def read(file: str) -> pa.Table:
        # Small: one request for all of it, where Parquet's parts would take several.
        return pq.read_table(pa.BufferReader(fs.cat_file(file)))

    try:
        return merge_summaries(map(ContributionSummary.of, prefetch_map(read, files)))
    except ValueError as error:
        raise RunError(f"{run_folder}/{datasets.EFFECTS.name}: {error}; score the run again") from error


def merge_summaries(summaries: Iterable[ContributionSummary]) -> ContributionSummary:
    """Return the sum of at least one summary, taking one at a time."""
    return reduce(lambda total, summary: total + summary, summaries)


def _lists(rows: NDArray[Any]) -> pa.Array:
    """Return a matrix as one list for each of its rows."""
    ends = np.arange(len(rows) + 1, dtype=np.int32) * np.int32(rows.shape[1])
    return pa.ListArray.from_arrays(ends, rows.ravel())


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
