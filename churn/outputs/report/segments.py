"""The segments of the report: how many users are in each part of the audience, and their mean probability.

Totals are added up one partition at a time, so memory does not grow with users. A part with fewer than
``LEAST_USERS`` users shows no mean, so that nobody's score can be read from the report.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from churn.outputs.report.data import Segment, SegmentRow

LEAST_USERS = 10
_MOST_ROWS = 8  # categories with most users; the others are added up
_UNKNOWN, _OTHERS = "unknown", "all others"

# Title, and the parts by their lowest values; a category has none, its values are the parts.
_BANDS: dict[str, tuple[str, dict[str, float]]] = {
    "days_w2": ("Active days in the last observed week", {"1": 1, "2": 2, "3 or 4": 3, "5 to 7": 5}),
    "active_weeks_13w": (
        "Active weeks of the last 13",
        {"1 to 3": 1, "4 to 6": 4, "7 to 9": 7, "10 to 12": 10, "all 13": 13},
    ),
    "tenure_days": (
        "First seen",
        {
            "under 4 weeks ago": 0,
            "4 to 12 weeks ago": 28,
            "3 to 12 months ago": 91,
            "1 to 3 years ago": 365,
            "over 3 years ago": 1096,
        },
    ),
    "age": (
        "Age group",
        {"under 16": 0, "16 to 24": 16, "25 to 34": 25, "35 to 44": 35, "45 to 54": 45, "55 to 64": 55,
         "65 or over": 65},
    ),
    "nation": ("Nation", {}),
    "preferred_device": ("Main device", {}),
}  # fmt: skip

FEATURES = tuple(_BANDS)  # those that segments are made of, as far as a product has them


@dataclass
class SegmentTotals:
    """Users and sums of their probabilities by feature and part.

    Example:
        >>> totals = SegmentTotals()
        >>> totals.add(pa.table({"days_w2": [1, 4]}), np.array([0.6, 0.2]))
        >>> totals.of("days_w2")
        {'1': (1, 0.6), '3 or 4': (1, 0.2)}
    """

    _totals: dict[str, dict[str, tuple[int, float]]] = field(default_factory=dict)

    def add(self, values: pa.Table, probability: NDArray[np.float64]) -> None:
        """Add users: their features, of those in ``FEATURES``, and their probabilities, (rows,)."""
        for name in values.column_names:
            parts, of_row = _parts(values[name], _BANDS[name][1])
            users = np.bincount(of_row, minlength=len(parts))
            sums = np.bincount(of_row, probability, len(parts))
            totals = self._totals.setdefault(name, {})
            for part, count, total in zip(parts, users.tolist(), sums.tolist(), strict=True):
                if count:
                    before = totals.get(part, (0, 0.0))
                    totals[part] = (before[0] + count, before[1] + total)

    def of(self, feature: str) -> dict[str, tuple[int, float]]:
        """Return users and sum of probabilities by part, without empty parts."""
        return self._totals.get(feature, {})

    def segments(self) -> tuple[Segment, ...]:
        """Return the segments in the report's order, without those of which nothing is known."""
        segments = []
        for name, (title, bands) in _BANDS.items():
            totals = dict(self.of(name))
            unknown = totals.pop(_UNKNOWN, None)
            if not totals:
                continue
            every_band = [(part, totals.get(part, (0, 0.0))) for part in bands]
            ordered = every_band or _largest(totals)
            if unknown:
                ordered.append((_UNKNOWN, unknown))
            segments.append(Segment(title=title, rows=tuple(_row(*item) for item in ordered)))
        return tuple(segments)


def _parts(column: pa.ChunkedArray, bands: dict[str, float]) -> tuple[list[str], NDArray[np.int64]]:
    """Return the names of a feature's parts, and each row's part as a position among them."""
    if bands:
        values = pc.fill_null(column.cast(pa.float64()), np.nan).to_numpy()
        of_row = np.searchsorted(list(bands.values()), values, side="right") - 1
        of_row = np.where(np.isnan(values), len(bands), np.maximum(of_row, 0))
        return [*bands, _UNKNOWN], of_row
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    encoded = column.cast(pa.string()).combine_chunks().dictionary_encode()
    names = encoded.dictionary.to_pylist()
    return [*names, _UNKNOWN], pc.fill_null(encoded.indices, len(names)).to_numpy().astype(np.int64)


def _largest(totals: dict[str, tuple[int, float]]) -> list[tuple[str, tuple[int, float]]]:
    """Return the categories with most users, then all others together."""
    ranked = sorted(totals.items(), key=lambda item: (-item[1][0], item[0]))
    shown = [item for item in ranked[:_MOST_ROWS] if item[1][0] >= LEAST_USERS]
    rest: Sequence[tuple[int, float]] = [total for _, total in ranked[len(shown) :]]
    if rest:
        shown.append((_OTHERS, (sum(users for users, _ in rest), sum(total for _, total in rest))))
    return shown


def _row(name: str, total: tuple[int, float]) -> SegmentRow:
    users, probability = total
    mean = min(probability / users, 1.0) if users >= LEAST_USERS else None
    return SegmentRow(name=name, users=users, mean_probability=mean)
