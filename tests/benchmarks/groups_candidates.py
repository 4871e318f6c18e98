"""Columns that were thought of as features and are not in the catalogue: what they would add.

- *alive*: the probability that the user is still a customer, by the BG/NBD model of active days. P(alive | x, t_x,
  T) = 1 / (1 + [x > 0] a / (b + x - 1) ((alpha + T) / (alpha + t_x)) ** (r + x)) (Fader, Hardie and Lee, "Counting
  your customers" the easy way, Marketing Science 2005; P(alive) in their note of 2008), where x is the number of
  repeat active days, t_x the last one's age at the user's first, and T the time since the first, in weeks. Its four
  parameters are fitted on everybody known at the earliest as-of date, by maximum likelihood.
- *season*: sine and cosine of the target week's place in the year, and what falls into it.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import betaln, gammaln

from churn.config.load import load_settings
from churn.dataset.build import plan_dataset, run_steps
from churn.warehouse.duckdb.client import DuckDBWarehouse
from churn.warehouse.templates import steps_for

Floats = NDArray[np.float64]
GROUPS: Mapping[str, tuple[str, ...]] = {
    "alive": ("alive",),
    "season": (
        "season_sine",
        "season_cosine",
        "is_christmas",
        "is_easter",
        "is_bank_holiday",
        "is_school_summer",
    ),
}


def bg_nbd_log_likelihood(parameters: Floats, x: Floats, t_x: Floats, T: Floats) -> Floats:
    """Return the log likelihood of each (x, t_x, T), given r, alpha, a and b (Fader, Hardie and Lee 2005, eq. 6)."""
    r, alpha, a, b = parameters
    start = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + betaln(a, b + x) - betaln(a, b)
    stays = -(r + x) * np.log(alpha + T)
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.where(x > 0, np.log(a) - np.log(b + x - 1) - (r + x) * np.log(alpha + t_x), -np.inf)
    return start + np.logaddexp(stays, left)


def bg_nbd_fit(x: Floats, t_x: Floats, T: Floats, users: Floats) -> Floats:
    """Return r, alpha, a and b that make (x, t_x, T), seen in so many ``users``, most likely."""

    def loss(logs: Floats) -> float:
        return -float(users @ bg_nbd_log_likelihood(np.exp(logs), x, t_x, T)) / float(users.sum())

    found = minimize(loss, np.zeros(4), method="L-BFGS-B", bounds=[(-8.0, 8.0)] * 4)
    return np.asarray(np.exp(found.x))


def alive(parameters: Floats, x: Floats, t_x: Floats, T: Floats) -> Floats:
    """Return the probability of still being a customer."""
    r, alpha, a, b = parameters
    odds = a / np.where(x > 0, b + x - 1, 1.0) * ((alpha + T) / (alpha + t_x)) ** (r + x)
    return np.asarray(1 / (1 + np.where(x > 0, odds, 0.0)))


def easter(year: int) -> date:
    """Return Easter Sunday by the anonymous Gregorian algorithm (Meeus, Astronomical Algorithms, 1991)."""
    a, (b, c) = year % 19, divmod(year, 100)
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    offset = (32 + 2 * e + 2 * i - h - k) % 7
    m = (a + 11 * h + 22 * offset) // 451
    month, day = divmod(h + offset - 7 * m + 114, 31)
    return date(year, month, day + 1)


def bank_holidays(year: int) -> tuple[date, ...]:
    """Return the bank holidays of England and Wales beside Christmas, New Year and Easter: three Mondays."""

    def monday(on_or_after: date) -> date:
        return on_or_after + timedelta(days=-on_or_after.weekday() % 7)

    return monday(date(year, 5, 1)), monday(date(year, 5, 25)), monday(date(year, 8, 25))


def season(as_of: date) -> dict[str, float]:
    """Return what the time of the year says of an as-of date's target week."""
    days = [as_of + timedelta(days=8 + n) for n in range(7)]
    angle = 2 * np.pi * days[3].timetuple().tm_yday / 365.25
    sunday = easter(days[3].year)
    return {
        "season_sine": float(np.sin(angle)),
        "season_cosine": float(np.cos(angle)),
        "is_christmas": float(any((day.month, day.day) in ((12, 25), (1, 1)) for day in days)),
        "is_easter": float(
            not {sunday - timedelta(days=2), sunday, sunday + timedelta(days=1)}.isdisjoint(days)
        ),
        "is_bank_holiday": float(not set(bank_holidays(days[3].year)).isdisjoint(days)),
        "is_school_summer": float(date(days[3].year, 7, 22) <= days[3] <= date(days[3].year, 8, 31)),
    }


_HISTORY = """
    select
        {key},
        sum(active_days) - 1 as x,
        ({until} - min(first_date)) / 7.0 as T,
        (max(last_date) - min(first_date)) / 7.0 as t_x
    from {rows}
    group by {key}
"""


def candidates(data: Path, product: str, as_of: date) -> Callable[[pa.Table], dict[str, Floats]]:
    """Return what makes the candidates' columns for rows of the snapshots of one as-of date."""
    settings = load_settings(data, data)
    warehouse = DuckDBWarehouse(None, data, memory=settings.sql_memory)
    try:
        planned = plan_dataset(warehouse, settings, product, as_of, "candidates")
        run_steps(warehouse, replace(planned, steps=steps_for(planned.source, ["snapshots"], planned.names)))
        earliest = planned.training_dates[0]
        known = _HISTORY.format(
            key="user_id",
            until=f"date '{earliest}'",
            rows=f"(select * from candidates.user_week where week_start <= date '{earliest}' - 6)",
        )
        everybody = warehouse.fetch(f"select x, t_x, T, count(*) as users from ({known}) group by x, t_x, T")
        users = [everybody[name].to_numpy().astype(np.float64) for name in ("x", "t_x", "T", "users")]
        parameters = bg_nbd_fit(*users)
        joined = (
            "(select w.*, s.as_of_date from candidates.snapshots as s join candidates.user_week as w"
            " on s.user_id = w.user_id and w.week_start <= s.as_of_date - 6)"
        )
        history = warehouse.fetch(_HISTORY.format(key="user_id, as_of_date", until="as_of_date", rows=joined))
    finally:
        warehouse.close()
    keys = zip(history["user_id"].to_pylist(), history["as_of_date"].to_pylist(), strict=True)
    row_of = {key: row for row, key in enumerate(keys)}
    x, t_x, T = (history[name].to_numpy().astype(np.float64) for name in ("x", "t_x", "T"))
    probability = alive(parameters, x, t_x, T)

    def of(snapshots: pa.Table) -> dict[str, Floats]:
        dates = snapshots["as_of_date"].to_pylist()
        rows = [row_of[key] for key in zip(snapshots["user_id"].to_pylist(), dates, strict=True)]
        seasons = {day: season(day) for day in set(dates)}
        return {
            "alive": probability[rows],
            **{name: np.array([seasons[day][name] for day in dates]) for name in GROUPS["season"]},
        }

    return of
