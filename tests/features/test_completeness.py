"""Weeks with missing data are found, and quiet, growing, small and ending products are left alone."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from churn.features.completeness import IncompleteWeek, WeekCounts, incomplete_weeks
from churn.features.dips import find_dips

FIRST = date(2025, 9, 1)  # a Monday
WEEK, DAY = timedelta(days=7), timedelta(days=1)
WEEKS = 30


def steady(users: float = 200, weeks: int = WEEKS, seed: int = 1) -> WeekCounts:
    """Users who come on five days a week, with three events a day."""
    rng = np.random.default_rng(seed)
    active = rng.poisson(users, weeks).astype(float)
    return WeekCounts(
        FIRST, active, 15 * active, np.log(15) * active, np.outer(active, np.full(7, 5 / 7)).round()
    )


def thinned(counts: WeekCounts, weeks: Iterable[int], users: float, events: float = 1.0) -> WeekCounts:
    """Keep a share of the users in some weeks, and a share of the events of each of them."""
    kept = np.ones(len(counts.users))
    kept[list(weeks)] = users
    each = np.ones(len(counts.users))
    each[list(weeks)] = events
    active = (counts.users * kept).round()
    return replace(
        counts,
        users=active,
        events=(counts.events * kept * each).round(),
        log_events=counts.log_events * kept + np.log(each) * active,
        day_users=(counts.day_users * kept[:, None] * np.maximum(each, 0.3)[:, None]).round(),
    )


def numbers(found: Iterable[date]) -> list[int]:
    return [(week - FIRST) // WEEK for week in found]


def found(counts: WeekCounts) -> list[int]:
    return numbers(incomplete_weeks({"tv": counts}))


@pytest.mark.parametrize("users", [0.0, 0.03, 0.1, 0.3])
@pytest.mark.parametrize("weeks", [[20], [20, 21, 22], [29], [28, 29], [6, 20]])
def test_weeks_with_few_users_are_found(users: float, weeks: list[int]) -> None:
    assert found(thinned(steady(), weeks, users)) == weeks


@pytest.mark.parametrize("users", [30, 3_000])
def test_a_small_and_a_large_product_are_judged_by_their_own_chance(users: float) -> None:
    for seed in range(20):
        counts = steady(users, seed=seed)
        assert found(counts) == []
        assert found(thinned(counts, [20], 0.1)) == [20]


def test_a_week_says_what_is_missing() -> None:
    counts = thinned(steady(), [20], 0.1)
    (low,) = incomplete_weeks({"tv": counts}).values()
    assert (low.week, low.measure, low.nearly_empty) == (FIRST + 20 * WEEK, "users", True)
    assert low.found == counts.users[20]
    assert low.usual == pytest.approx(200, rel=0.1)
    assert low.figures == f"{low.found} active users, usually about {low.usual}"


def test_events_that_are_missing_are_found_where_everybody_is_still_seen() -> None:
    """A tenth of the rows of people with many a week: nearly all of them have one left."""
    counts = thinned(steady(), [20], users=0.9, events=0.1)
    (low,) = incomplete_weeks({"tv": counts}).values()
    assert (low.measure, low.nearly_empty) == ("events", True)
    assert low.figures == f"{low.found:,} events, usually about {low.usual:,}"
    assert low.usual == pytest.approx(3000, rel=0.1)


def test_a_robot_that_stops_is_not_missing_data() -> None:
    counts = steady()
    robot = np.where(np.arange(WEEKS) == 20, 0, 1e6)
    there = robot > 0
    with_robot = replace(
        counts,
        users=counts.users + there,
        events=counts.events + robot,
        log_events=counts.log_events + np.log(np.maximum(robot, 1)),
    )
    assert found(with_robot) == []


@pytest.mark.parametrize("share", [0.5, 0.6, 0.8])
@pytest.mark.parametrize("weeks", [[16], [16, 17], [29]])
def test_a_holiday_is_no_fault(share: float, weeks: list[int]) -> None:
    counts = thinned(steady(3_000), weeks, users=share, events=0.9)
    assert found(counts) == []


def test_a_season_that_comes_every_year_is_no_fault() -> None:
    """Of a school, with six weeks of holidays; in the first year nothing says that they are."""
    holidays = [*range(40, 46), *range(92, 98)]
    counts = thinned(steady(weeks=110), holidays, 0.1)
    assert found(counts) == []
    first_year = replace(
        counts,
        **{name: getattr(counts, name)[:60] for name in ("users", "events", "log_events", "day_users")},
    )
    assert found(first_year) == list(range(40, 46))
    outage = thinned(counts, [70], 0.1)
    assert found(outage) == [70]


@pytest.mark.parametrize("factor", [0.8, 0.9, 1.1, 1.3])
def test_growth_and_decline_are_no_faults(factor: float) -> None:
    size = 2_000 * factor ** np.arange(WEEKS) / max(1, factor**WEEKS)
    size = size[size > 1]
    counts = steady(weeks=len(size))
    shares = size / 200
    counts = WeekCounts(
        FIRST,
        counts.users * shares,
        counts.events * shares,
        counts.log_events * shares,
        counts.day_users * shares[:, None],
    )
    assert found(counts) == []


def test_a_product_that_starts_or_ends_is_not_missing() -> None:
    starts = thinned(steady(), range(12), 0.0)
    assert found(thinned(starts, [12, 13], 0.2)) == []
    assert found(thinned(steady(), range(20, WEEKS), 0.0)) == []
    pauses = thinned(steady(weeks=40), range(12, 27), 0.0)  # longer than a fault
    assert found(pauses) == []


def test_a_product_whose_weeks_always_jump_is_left_alone() -> None:
    every_third = [week for week in range(WEEKS) if week % 3 == 0]
    assert found(thinned(steady(), every_third, 0.3)) == []
    rng = np.random.default_rng(1)
    users = 500 * np.exp(rng.normal(0, 0.5, WEEKS))
    assert np.isnan(find_dips(users, 0.5)).all()


# --- days ---


def without_days(counts: WeekCounts, week: int, days: Iterable[int]) -> WeekCounts:
    kept = counts.day_users.copy()
    kept[week, list(days)] = 0
    users = counts.users.copy()
    users[week] *= 0.8
    return replace(counts, day_users=kept, users=users)


@pytest.mark.parametrize(("days", "known"), [([2, 3, 4], True), ([5, 6], True), ([3], False)])
def test_days_that_are_missing_are_found(days: list[int], known: bool) -> None:
    result = incomplete_weeks({"tv": without_days(steady(), 20, days)})
    assert numbers(result) == [20] * known
    for low in result.values():
        assert low.days == tuple(low.week + day * DAY for day in days)
        assert not low.nearly_empty
    if days == [2, 3, 4]:
        assert result[FIRST + 20 * WEEK].figures == "next to no activity on Wed, Thu, Fri"


@pytest.mark.parametrize("days", [[6], [5, 6], [2, 3, 4, 5, 6]])
def test_data_that_end_before_the_last_week_does_are_found(days: list[int]) -> None:
    assert found(without_days(steady(), WEEKS - 1, days)) == [WEEKS - 1]


def test_a_shop_that_closes_on_sundays_is_open() -> None:
    counts = steady()
    days = counts.day_users.copy()
    days[:, 6] = 0
    assert found(replace(counts, day_users=days)) == []


# --- products with parts ---


def test_a_part_that_is_missing_spoils_the_whole() -> None:
    """A fifth of any product's users: the whole falls by no more than that."""
    radio = thinned(steady(200, seed=2), [20], 0.02)
    parts = {"tv": steady(800), "radio": radio}
    (low,) = incomplete_weeks(parts).values()
    assert (numbers([low.week]), low.part) == ([20], "radio")
    assert low.figures.startswith(f"{low.found} active users of radio, usually about ")
    small = {"tv": steady(8_000), "radio": radio}
    assert incomplete_weeks(small) == {}


def test_a_part_that_was_renamed_is_not_missing() -> None:
    new, old = range(28, WEEKS), range(28)
    parts = {"video": thinned(steady(), new, 0.0), "film": thinned(steady(), old, 0.0), "radio": steady()}
    assert incomplete_weeks(parts) == {}
    gone = {"video": thinned(steady(), new, 0.0), "radio": steady()}
    assert [low.part for low in incomplete_weeks(gone).values()] == ["video", "video"]


def test_without_activity_there_is_nothing_to_find() -> None:
    assert incomplete_weeks({}) == {}
    assert isinstance(IncompleteWeek(FIRST, "nothing", 0, 0.0, 0.0).figures, str)
