from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn.core.calendar import (
    FIRST_OBSERVED_OFFSET,
    LABEL_DELAY,
    LAST_OBSERVED_OFFSET,
    MAX_WEEKS,
    OBSERVATION_WEEKS,
    OBSERVED_OFFSETS,
    WEEK,
    Windows,
    check_weeks,
    day_offsets,
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


weeks = st.integers(1, 13)


def test_observed_weeks_keep_their_numbers() -> None:
    assert (LAST_OBSERVED_OFFSET, FIRST_OBSERVED_OFFSET) == (2, 14)
    assert list(OBSERVED_OFFSETS) == list(range(2, 15))
    assert len(OBSERVED_OFFSETS) == OBSERVATION_WEEKS == 13


@given(sundays, weeks, weeks)
def test_lead_and_target_follow_the_observed_weeks_without_a_gap(as_of: date, lead: int, target: int) -> None:
    windows = Windows(as_of, lead, target)
    assert windows.observation_start == as_of - 90 * DAY
    assert windows.last_week_start == as_of - 6 * DAY
    assert windows.lead_start == as_of + DAY
    assert (windows.lead_end - windows.lead_start).days == 7 * lead - 1
    assert windows.target_week_start == windows.lead_end + DAY
    assert (windows.target_end - windows.target_week_start).days == 7 * target - 1
    assert windows.target_end == as_of + windows.label_delay
    for monday in (windows.observation_start, windows.lead_start, windows.target_week_start):
        assert monday.weekday() == MONDAY


@given(sundays)
def test_lead_and_target_are_a_week_each_by_default(as_of: date) -> None:
    windows = Windows(as_of)
    assert windows == Windows(as_of, 1, 1)
    assert windows.target_week_start == as_of + 8 * DAY
    assert windows.label_delay == LABEL_DELAY == 14 * DAY


@given(sundays, weeks, weeks)
def test_sql_counts_the_same_days(as_of: date, lead: int, target: int) -> None:
    windows, days = Windows(as_of, lead, target), day_offsets(lead, target)
    assert as_of - days["window_start_days"] * DAY == windows.observation_start
    assert as_of - days["last_week_start_days"] * DAY == windows.last_week_start
    assert as_of - days["recent_start_days"] * DAY == windows.last_week_start - 3 * WEEK
    assert as_of + days["lead_start_days"] * DAY == windows.lead_start
    assert as_of + days["lead_end_days"] * DAY == windows.lead_end
    assert as_of + days["target_start_days"] * DAY == windows.target_week_start
    assert as_of + days["target_end_days"] * DAY == windows.target_end
    assert windows.last_week_start + days["week_end_days"] * DAY == as_of


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


@given(as_of=sundays, history=st.integers(0, 400), limit=st.integers(0, 60), lead=weeks, target=weeks)
def test_labelled_dates_know_their_label_and_saw_their_whole_window(
    as_of: date, history: int, limit: int, lead: int, target: int
) -> None:
    first_activity = as_of - history * DAY
    dates = labelled_dates(Windows(as_of, lead, target), first_activity, limit)

    def usable(day: date) -> bool:
        target_is_over = day + 7 * (lead + target) * DAY <= as_of
        # The first observed week counts only if its Monday was seen.
        window_was_seen = day - 90 * DAY >= first_activity
        return target_is_over and window_was_seen

    assert all(day.weekday() == SUNDAY and usable(day) for day in dates)
    every = [as_of - n * WEEK for n in range(history // 7 + 2) if usable(as_of - n * WEEK)]
    assert dates == sorted(every[:limit])


def test_a_first_week_that_starts_on_its_monday_is_fully_observed() -> None:
    as_of = date(2024, 6, 30)
    monday = date(2024, 3, 18)
    assert labelled_dates(Windows(as_of), monday, 99) == [date(2024, 6, 16)]
    assert labelled_dates(Windows(as_of), monday + DAY, 99) == []
    assert labelled_dates(Windows(as_of), monday - DAY, 99) == [date(2024, 6, 16)]


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
    assert windows.target_end - windows.observation_start == timedelta(days=15 * 7 - 1)


def test_windows_sort_by_date() -> None:
    assert sorted([Windows(date(2024, 6, 30)), Windows(date(2024, 6, 23))])[0].as_of == date(2024, 6, 23)


@pytest.mark.parametrize("count", [-1, MAX_WEEKS + 1, 200_000, 10**30])
def test_a_number_of_weeks_that_no_date_can_be_reckoned_with_is_refused(count: int) -> None:
    with pytest.raises(UsageError, match=f"rebuild_weeks is {count}: give 0 to {MAX_WEEKS} weeks"):
        check_weeks("rebuild_weeks", count)
    check_weeks("rebuild_weeks", MAX_WEEKS)
