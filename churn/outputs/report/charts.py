"""The report's charts, each a pure function from rows to inline SVG.

Every chart has labelled axes, an accessible title and a description in words; the page shows its numbers in
a table beside it. Charts also work for one row, equal rows or zeros.
"""

import math
from collections.abc import Sequence
from datetime import date
from typing import Any

from markupsafe import Markup

from churn.model.metrics import wilson_interval
from churn.outputs.report.data import CalibrationRow, GainsRow, HistogramBin, TrendPoint, ValueEffect
from churn.outputs.report.format import count, day, people, percent, short_day, signed
from churn.outputs.report.svg import Canvas, nice_step, nice_ticks


def _shape(name: str, narrow: bool) -> dict[str, Any]:
    """The size of a chart as wide as the page, or of its narrow version for phones."""
    if narrow:
        return {"name": f"{name}-narrow", "width": 400, "height": 280, "css": "chart narrow"}
    return {"name": name, "width": 780, "height": 270, "css": "chart wide"}


def histogram_chart(
    bins: Sequence[HistogramBin], mean: float, threshold: float | None = None, narrow: bool = False
) -> Markup:
    """Users by predicted probability; the mean and the threshold are marked.

    Columns whose middle reaches the threshold are highlighted.
    """
    ticks = nice_ticks(0, max(max(b.users for b in bins), 1), 4)
    canvas = Canvas(
        title="Predicted probability of staying away",
        description=f"{people(sum(b.users for b in bins))}; the average is {percent(mean)}.",
        x=(min(b.low for b in bins), max(b.high for b in bins)),
        y=(0, ticks[-1]),
        margins=(34, 24, 48, 58),
        **_shape("histogram", narrow),
    )
    canvas.y_axis([(t, count(t)) for t in ticks if t == round(t)], "People")
    for b in bins:
        tip = f"{bin_name(b)}: {people(b.users)}"
        flagged = threshold is not None and (b.low + b.high) / 2 >= threshold
        canvas.column(b.low, b.high, b.users, "column high" if flagged else "column", tip)
    canvas.x_axis(_percent_ticks(*canvas.x, target=5), "Predicted probability of staying away")
    _mark(canvas, mean, f"average {percent(mean)}", canvas.top - 1)
    if threshold is not None:
        _mark(canvas, threshold, f"flagged from {percent(threshold)}", canvas.top + 15)
    return canvas.markup()


def _mark(canvas: Canvas, value: float, label: str, height: float) -> None:
    """Draw an upright line at a value, with its label at a height."""
    if not canvas.x[0] <= value <= canvas.x[1]:
        return
    at = canvas.px(value)
    canvas.add("line", "marker", x1=at, y1=height - 7, x2=at, y2=canvas.bottom)
    offset, anchor = (-6, "end") if at > canvas.width * 0.6 else (6, "start")
    canvas.text(at + offset, height, label, "note", anchor)


def calibration_chart(rows: Sequence[CalibrationRow]) -> Markup:
    """Observed against predicted rate by bin; points on the diagonal are perfectly calibrated."""
    highest = max(max(r.mean_predicted, r.observed, r.high or 0.0) for r in rows)
    ticks = nice_ticks(0, min(max(highest, 0.01), 1.0), 5)
    top = ticks[-1]
    canvas = Canvas(
        "calibration",
        "Predicted and observed churn rate",
        "; ".join(f"predicted {percent(r.mean_predicted)}, observed {percent(r.observed)}" for r in rows)
        + ".",
        x=(0, top),
        y=(0, top),
        height=340,
        margins=(26, 20, 44, 46),
    )
    labels = _labels(ticks)
    canvas.y_axis(labels, "Stayed away")
    canvas.x_axis(labels, "Predicted probability (mean of the bin)")
    canvas.line((0, 0), (top, top), "reference")
    canvas.text(canvas.px(top) - 4, canvas.py(top) - 6, "perfect", "note", "end")
    for r in rows:
        if r.low is not None and r.high is not None:
            canvas.line((r.mean_predicted, r.low), (r.mean_predicted, r.high), "whisker")
    for r in rows:
        tip = f"predicted {percent(r.mean_predicted)}, observed {percent(r.observed)} of {count(r.count)}"
        canvas.dot((r.mean_predicted, r.observed), radius=4, tip=tip)
    return canvas.markup()


def gains_chart(rows: Sequence[GainsRow]) -> Markup:
    """Share of those who stayed away that the riskiest share of users holds, against random choice."""
    points = [(r.share_of_users, r.share_of_churners) for r in rows]
    if points and points[0] > (0.0, 0.0):
        points = [(0.0, 0.0), *points]
    canvas = Canvas(
        "gains",
        "Share of those who stayed away, by share of people approached",
        "; ".join(
            f"the riskiest {percent(r.share_of_users, 0)} hold {percent(r.share_of_churners)}" for r in rows
        )
        + ".",
        x=(0, 1),
        y=(0, 1),
        height=340,
        margins=(26, 20, 44, 46),
    )
    fifths = [(i / 5, percent(i / 5, 0)) for i in range(6)]
    canvas.y_axis(fifths, "Of those who stayed away")
    canvas.x_axis(fifths, "People approached, riskiest first")
    canvas.path([*points, (points[-1][0], 0), (points[0][0], 0)], "area", closed=True)
    canvas.line((0, 0), (1, 1), "reference")
    canvas.text(canvas.px(0.66), canvas.py(0.55), "at random", "note on-area")
    canvas.path(points, "curve")
    for r in rows:
        tip = f"riskiest {percent(r.share_of_users, 0)}: {percent(r.share_of_churners)}"
        canvas.dot((r.share_of_users, r.share_of_churners), radius=3, tip=tip)
    users, churners = rows[0].share_of_users, rows[0].share_of_churners
    if users <= 0.3:
        canvas.dot((users, churners), "dot strong", 4.5)
        label = f"top {percent(users, 0)} hold {percent(churners, 0)}"
        canvas.text(canvas.px(users) + 12, canvas.py(churners) + 9, label, "note strong on-area")
    return canvas.markup()


def trend_chart(points: Sequence[TrendPoint], as_of: date, expected: float, narrow: bool = False) -> Markup:
    """Observed churn rate by past as-of date with its 95 % band, then this run's expectation."""
    bands = [wilson_interval(p.churn_rate, p.snapshots) for p in points]
    lowest = min([expected, *(low for low, _ in bands)])
    highest = max([expected, *(high for _, high in bands)])
    pad = 0.15 * (highest - lowest) or 0.01
    floor = 0.0 if lowest < 0.4 * highest else max(lowest - pad, 0.0)
    ticks = nice_ticks(floor, min(highest + pad, 1.0), 4)
    start = min([as_of, *(p.as_of for p in points)])
    span = max((as_of - start).days, 7)
    edge = max(span * 0.025, 1.0)
    canvas = Canvas(
        title="Churn rate by as-of date, and what this run expects",
        description="; ".join(f"{day(p.as_of, True)}: {percent(p.churn_rate)}" for p in points)
        + f"; expected for {day(as_of, True)}: {percent(expected)}.",
        x=(-edge, span + edge),
        y=(ticks[0], ticks[-1]),
        margins=(30, 66, 48, 58),
        **_shape("trend", narrow),
    )
    where = [float((p.as_of - start).days) for p in points]
    labels = _labels(ticks)
    cut = f" (the axis starts at {labels[0][1]})" if ticks[0] > 0 else ""
    canvas.y_axis(labels, f"Stayed away{cut}")
    dates = _date_ticks([p.as_of for p in points], start, as_of, most=3 if narrow else 6)
    canvas.x_axis(dates, "As-of date (Sunday)")
    rates = [p.churn_rate for p in points]
    upper = [(x, high) for x, (_, high) in zip(where, bands, strict=True)]
    lower = [(x, low) for x, (low, _) in zip(where, bands, strict=True)]
    if len(points) > 1:
        canvas.path([*upper, *reversed(lower)], "band", closed=True)
    elif points:
        canvas.line(lower[0], upper[0], "whisker")
    canvas.path(list(zip(where, rates, strict=True)), "curve")
    now = float((as_of - start).days)
    if points:
        canvas.line((where[-1], rates[-1]), (now, expected), "reference")
    for x, p in zip(where, points, strict=True):
        tip = f"{day(p.as_of, True)}: {percent(p.churn_rate)} of {count(p.snapshots)}"
        canvas.dot((x, p.churn_rate), "dot hollow" if p.role == "holdout" else "dot", tip=tip)
    canvas.dot((now, expected), "dot strong", 5.5, f"expected: {percent(expected)}")
    canvas.text(canvas.px(now) + 11, canvas.py(expected) - 2, percent(expected), "note strong")
    canvas.text(canvas.px(now) + 11, canvas.py(expected) + 13, "expected", "note")
    return canvas.markup()


def effect_strip(
    name: str, low: ValueEffect | None, high: ValueEffect | None, extent: float, label: str
) -> Markup:
    """The mean contribution at a feature's low (ring) and high (dot) values, around zero.

    Args:
        name: unique in the page; the ids of title and description derive from it.
        low: the low end, if the feature has an order.
        high: the high end.
        extent: largest absolute contribution in the table, so that all strips share a scale.
        label: accessible title.
    """
    reach = max(extent, 1e-9) * 1.08
    ends = [(end, css) for end, css in ((low, "ring"), (high, "disc")) if end is not None]
    canvas = Canvas(
        name,
        label,
        "; ".join(f"{end.value}: {signed(end.contribution)}" for end, _ in ends) + ".",
        x=(-reach, reach),
        y=(0, 1),
        width=180,
        height=22,
        margins=(0, 6, 0, 6),
        css="strip",
    )
    canvas.line((-reach, 0.5), (reach, 0.5), "grid")
    canvas.line((0, 0), (0, 1), "axis")
    if low is not None and high is not None:
        canvas.line((low.contribution, 0.5), (high.contribution, 0.5), "link")
    for end, css in ends:
        side = "up" if end.contribution > 0 else "down"
        canvas.dot(
            (end.contribution, 0.5), f"{css} {side}", 4.5, f"{end.value}: {signed(end.contribution)} log-odds"
        )
    return canvas.markup()


def _labels(ticks: Sequence[float]) -> list[tuple[float, str]]:
    """Percentages with as many decimals as the step between them needs."""
    step = ticks[1] - ticks[0]
    places = next((p for p in range(4) if abs(step * 100 * 10**p - round(step * 100 * 10**p)) < 1e-6), 4)
    return [(t, percent(t, places)) for t in ticks]


def _percent_ticks(low: float, high: float, target: int) -> list[tuple[float, str]]:
    """Round percentages inside ``[low, high]`` (an axis whose ends are given)."""
    step = nice_step(high - low, target)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return _labels([i * step for i in range(first, last + 1)] if last > first else [low, high])


def _date_ticks(dates: Sequence[date], start: date, as_of: date, most: int) -> list[tuple[float, str]]:
    """The as-of date and at most ``most`` past dates back from it, evenly picked."""
    every = max(1, math.ceil((len(dates) + 1) / (most + 1)))
    picked = dates[::-1][every - 1 :: every]
    return [(float((d - start).days), short_day(d)) for d in [as_of, *picked]]


def bin_name(b: HistogramBin) -> str:
    """``0 % to 5 %``."""
    places = 0 if all(abs(edge * 100 - round(edge * 100)) < 1e-9 for edge in (b.low, b.high)) else 1
    return f"{percent(b.low, places)} to {percent(b.high, places)}"
