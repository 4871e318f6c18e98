"""Weeks whose figure is far below those of the weeks before and of the weeks after.

Medians of neighbours say what is usual, and the median deviation from them what is chance, so that a few
faulty weeks hardly change either (Rousseeuw and Croux, "Alternatives to the Median Absolute
Deviation", 1993).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_NEIGHBOURS = 6  # weeks on each side
_FEWEST_BEFORE = 3
_LONGEST = 8  # weeks in a row; an absence of more than three months is what users did
_LONGEST_AT_END = 4
_FEWEST_USUAL = 10.0  # smaller figures are empty by chance too often
_NOISE = 5.0  # standard deviations that a fall must exceed
_MAD, _FIFTH = 1.4826, 0.8416  # of a normal distribution: 1 / its median deviation; its 80 % quantile
_YEAR = (51, 52, 53)  # weeks


@dataclass(frozen=True)
class Surroundings:
    """What is usual around each week of a series.

    Attributes:
        before: (weeks,) median of up to six weeks before a week; NaN if there are fewer than three.
        after: (weeks + 1,) median of up to six weeks from a week on; infinite at the end.
        values: (weeks,) the series.
    """

    before: Floats
    after: Floats
    values: Floats

    @classmethod
    def of(cls, values: Floats) -> "Surroundings":
        """Return the surroundings of a series; weeks before its first activity do not count."""
        start = int(np.argmax(values > 0))
        before, after = np.full(len(values), np.nan), np.full(len(values) + 1, np.inf)
        for week in range(len(values)):
            if week >= start + _FEWEST_BEFORE:
                before[week] = np.median(values[max(start, week - _NEIGHBOURS) : week])
            after[week] = np.median(values[week : week + _NEIGHBOURS])
        return cls(before, after, values)

    def usual(self, start: int, end: int) -> float:
        """Return what is usual for the weeks ``start`` to ``end`` (exclusive): the smaller of both sides.

        At the end of the series it is the smaller of the median before and of the week just before, so that
        a series that shrinks fast is not taken for one with missing data.
        """
        other = self.after[end] if end < len(self.values) else self.values[start - 1]
        return float(min(self.before[start], other))


def find_dips(values: Floats, least: float) -> Floats:
    """Return (weeks,) what would be usual in each week that is far too low; NaN in all other weeks.

    Up to eight weeks in a row (four at the end) can be a dip together. Each of them must be below ``least``
    times the usual value, and further below it than five standard deviations of chance. These come from the
    median deviation, from the lowest fifth of the deviations (a series that often falls), or from the size of
    a count, whichever is largest. Dips that are a year apart are a season, and left out.

    Example:
        >>> find_dips(np.array([200, 190, 210, 200, 3, 205, 195.0]), 0.5)
        array([nan, nan, nan, nan, 200., nan, nan])

    Args:
        values: (weeks,) counts, not negative.
        least: share of the usual value, 0 to 1.
    """
    around, weeks = Surroundings.of(values), len(values)
    noise = _noise(around)
    found = np.full(weeks, np.nan)
    for length in range(1, min(_LONGEST, weeks) + 1):
        for start in range(weeks - length + 1):
            end = start + length
            if end == weeks and length > _LONGEST_AT_END:
                continue
            usual = around.usual(start, end)
            if not usual >= _FEWEST_USUAL:  # also if it is NaN
                continue
            highest = float(values[start:end].max())
            fall = _log_ratio(highest, usual)
            if highest < least * usual and fall < -_NOISE * max(noise, usual**-0.5):
                found[start:end] = np.fmax(found[start:end], usual)
    low = ~np.isnan(found)
    for weeks_apart in _YEAR:
        season = low[weeks_apart:] & low[:-weeks_apart]
        found[weeks_apart:][season] = np.nan
        found[:-weeks_apart][season] = np.nan
    return found


def _log_ratio(value: float, usual: float) -> float:
    return float(np.log((value + 0.5) / (usual + 0.5)))


def _noise(around: Surroundings) -> float:
    """Return the standard deviation of logarithms of a series around what is usual."""
    usual = [around.usual(week, week + 1) for week in range(len(around.values))]
    deviations = np.array(
        [
            _log_ratio(value, level)
            for value, level in zip(around.values, usual, strict=True)
            if level >= _FEWEST_USUAL
        ]
    )
    if not len(deviations):
        return 0.0
    typical = _MAD * float(np.median(np.abs(deviations - np.median(deviations))))
    return max(typical, -float(np.quantile(deviations, 0.2)) / _FIFTH)
