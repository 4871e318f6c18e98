from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn.core.calendar import (
    FIRST_OBSERVED_OFFSET,
    LABEL_DELAY,
    LAST_OBSERVED_OFFSET,
    LEAD_OFFSET,
    MAX_WEEKS,
    OBSERVATION_WEEKS,
    OBSERVED_OFFSETS,
    TARGET_OFFSET,
    WEEK,
    Windows,
    check_weeks,
    labelled_dates,
    last_complete_as_of,
    monday_of,
    sunday_on_or_before,
)
from churn.core.errors import UsageError

DAY = timedelta(days=1)
MONDAY, SUNDAY = 0, 6
# Years with a 53rd ISO week, days on which British clocks change, leap days and turns of the year among them.
days = st.dates(date(1990, 1, 1), date(2080, 12, 31))
sundays = days.map(sunday_on_or_before)


def test_offsets_count_back_from_the_target_week() -> None:
    assert (TARGET_OFFSET, LEAD_OFFSET, LAST_OBSERVED_OFFSET, FIRST_OBSERVED_OFFSET) == (0, 1, 2, 14)
    assert list(OBSERVED_OFFSETS) == list(range(2, 15))
    assert len(OBSERVED_OFFSETS) == OBSERVATION_WEEKS == 13


@given(sundays)
def test_windows_hold_each_day_from_first_observed_to_target_week_once(as_of: date) -> None:
    windows = Windows(as_of)
    found: dict[date, int] = {}
    for offset in range(FIRST_OBSERVED_OFFSET, -1, -1):
        monday = windows.week_start(offset)
        assert monday.weekday() == MONDAY
        for day in (monday + n * DAY for n in range(7)):
            assert day not in found
            found[day] = offset
    assert list(found) == [windows.observation_start + n * DAY for n in range(15 * 7)]
    observed = [day for day, offset in found.items() if offset in OBSERVED_OFFSETS]
    assert (observed[0], observed[-1], len(observed)) == (windows.observation_start, as_of, 91)
    lead = [day for day, offset in found.items() if offset == LEAD_OFFSET]
    assert (lead[0], lead[-1]) == (as_of + DAY, as_of + WEEK)
    target = [day for day, offset in found.items() if offset == TARGET_OFFSET]
    assert (target[0], target[-1]) == (windows.target_week_start, windows.target_week_end)
    assert target[-1] == as_of + LABEL_DELAY


@given(sundays)
def test_observed_weeks_are_the_ones_that_sql_counts(as_of: date) -> None:
    windows = Windows(as_of)
    assert windows.observation_start == as_of - 90 * DAY
    assert windows.last_week_start == as_of - 6 * DAY == windows.week_start(LAST_OBSERVED_OFFSET)
    for offset in OBSERVED_OFFSETS:
        assert (as_of - 6 * DAY - windows.week_start(offset)).days // 7 + 2 == offset


@given(days.filter(lambda day: day.weekday() != SUNDAY))
def test_a_day_that_is_no_sunday_is_refused_with_the_sundays_around_it(day: date) -> None:
    with pytest.raises(UsageError) as refusal:
        Windows(day)
    before = max(day - n * DAY for n in range(1, 7) if (day - n * DAY).weekday() == SUNDAY)
    message = str(refusal.value)
    assert f"{day} is a {day:%A}" in message
    assert message.endswith(f"the Sundays near it are {before} and {before + WEEK}")


@given(days)
def test_monday_and_sunday_bound_the_week_of_a_day(day: date) -> None:
    monday, sunday = monday_of(day), sunday_on_or_before(day)
    assert monday.weekday() == MONDAY
    assert monday <= day < monday + WEEK
    assert sunday.weekday() == SUNDAY
    assert sunday <= day < sunday + WEEK


@given(days)
def test_a_run_uses_the_last_sunday_that_is_over(today: date) -> None:
    as_of = last_complete_as_of(today)
    assert as_of.weekday() == SUNDAY
    assert DAY <= today - as_of <= WEEK


@given(
    as_of=sundays,
    history=st.integers(0, 400),
    limit=st.integers(0, 60),
)
def test_labelled_dates_know_their_label_and_saw_their_whole_window(
    as_of: date, history: int, limit: int
) -> None:
    first_activity = as_of - history * DAY
    dates = labelled_dates(as_of, first_activity, limit)

    def usable(day: date) -> bool:
        target_week_is_over = day + 14 * DAY <= as_of
        # The first observed week counts only if its Monday was seen.
        window_was_seen = day - 90 * DAY >= first_activity
        return target_week_is_over and window_was_seen

    assert all(day.weekday() == SUNDAY and usable(day) for day in dates)
    every = [as_of - n * WEEK for n in range(history // 7 + 2) if usable(as_of - n * WEEK)]
    assert dates == sorted(every[:limit])


def test_a_first_week_that_starts_on_its_monday_is_fully_observed() -> None:
    as_of = date(2024, 6, 30)
    monday = date(2024, 3, 18)
    assert labelled_dates(as_of, monday, 99) == [date(2024, 6, 16)]
    assert labelled_dates(as_of, monday + DAY, 99) == []
    assert labelled_dates(as_of, monday - DAY, 99) == [date(2024, 6, 16)]


@pytest.mark.parametrize(
    ("as_of", "first_observed", "target"),
    [
        pytest.param(date(2024, 12, 29), date(2024, 9, 30), date(2025, 1, 6), id="turn of the year"),
        pytest.param(date(2021, 1, 3), date(2020, 10, 5), date(2021, 1, 11), id="Sunday of a 53rd week"),
        pytest.param(date(2026, 12, 27), date(2026, 9, 28), date(2027, 1, 4), id="53rd week is lead week"),
        pytest.param(date(2024, 2, 25), date(2023, 11, 27), date(2024, 3, 4), id="leap day in the lead week"),
        pytest.param(date(2026, 3, 29), date(2025, 12, 29), date(2026, 4, 6), id="clocks go forward"),
        pytest.param(date(2026, 10, 25), date(2026, 7, 27), date(2026, 11, 2), id="clocks go back"),
    ],
)
def test_windows_at_odd_turns_of_the_calendar(as_of: date, first_observed: date, target: date) -> None:
    windows = Windows(as_of)
    assert (windows.observation_start, windows.target_week_start) == (first_observed, target)
    assert windows.target_week_end - windows.observation_start == timedelta(days=15 * 7 - 1)


def test_windows_sort_by_date() -> None:
    assert sorted([Windows(date(2024, 6, 30)), Windows(date(2024, 6, 23))])[0].as_of == date(2024, 6, 23)


@pytest.mark.parametrize("count", [-1, MAX_WEEKS + 1, 200_000, 10**30])
def test_a_number_of_weeks_that_no_date_can_be_reckoned_with_is_refused(count: int) -> None:
    with pytest.raises(UsageError, match=f"rebuild_weeks is {count}: give 0 to {MAX_WEEKS} weeks"):
        check_weeks("rebuild_weeks", count)
    check_weeks("rebuild_weeks", MAX_WEEKS)
