from datetime import date
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.benchmarks.groups_candidates import GROUPS, alive, bank_holidays, bg_nbd_fit, easter, season


def test_bg_nbd_finds_the_parameters_that_its_authors_found() -> None:
    """Table 2 of Fader, Hardie and Lee (2005): 2,357 customers of CDNOW."""
    spec = find_spec("lifetimes")
    assert spec
    assert spec.origin
    customers = pd.read_csv(Path(spec.origin).parent / "datasets" / "cdnow_customers_summary.csv")
    x, t_x, T = (customers[name].to_numpy().astype(np.float64) for name in ("frequency", "recency", "T"))
    found = bg_nbd_fit(x, t_x, T, np.ones(len(x)))
    assert found == pytest.approx([0.243, 4.414, 0.793, 2.426], abs=1e-3)


def test_who_came_once_is_alive_and_who_has_long_been_away_is_less_so() -> None:
    parameters = np.array([0.243, 4.414, 0.793, 2.426])
    x, t_x = np.array([0.0, 2.0, 2.0]), np.array([0.0, 30.43, 10.0])
    once, lately, long_ago = alive(parameters, x, t_x, np.full(3, 38.86))
    assert once == 1
    assert lately == pytest.approx(0.7266, abs=1e-3)  # as worked out in their note on P(alive)
    assert long_ago < lately


@pytest.mark.parametrize("day", [date(1818, 3, 22), date(1943, 4, 25), date(2000, 4, 23), date(2026, 4, 5)])
def test_easter(day: date) -> None:
    assert easter(day.year) == day


def test_what_falls_into_a_target_week() -> None:
    def named(as_of: date) -> set[str]:
        return {name for name, value in season(as_of).items() if name.startswith("is_") and value}

    assert named(date(2025, 12, 14)) == {"is_christmas"}  # 22 to 28 December
    assert named(date(2026, 3, 22)) == {"is_easter"}  # Good Friday and Easter Sunday, 30 March to 5 April
    assert named(date(2026, 8, 23)) == {
        "is_bank_holiday"
    }  # from Monday 31 August; most of the week is September
    assert named(date(2026, 8, 9)) == {"is_school_summer"}
    assert named(date(2026, 9, 13)) == set()
    assert set(season(date(2026, 9, 13))) == set(GROUPS["season"])
    assert bank_holidays(2026) == (date(2026, 5, 4), date(2026, 5, 25), date(2026, 8, 31))
