"""Which users are trained on at which past date: each at one, and a date that is added takes users from others only."""

import math
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn.features.cohorts import EVERYBODY, assign_slots, encode_slots, includes, slots

FIRST = date(2024, 1, 7)


def sundays(first: int, count: int) -> tuple[date, ...]:
    return tuple(FIRST + timedelta(weeks=first + week) for week in range(count))


@given(st.integers(0, 200), st.integers(1, 30), st.data())
def test_each_slot_is_at_one_date_and_no_date_has_many_more_than_its_share(
    first: int, limit: int, data: st.DataObject
) -> None:
    dates = sundays(first, data.draw(st.integers(1, limit)))
    found = assign_slots(dates, limit)
    assert tuple(found) == dates
    assert sorted(slot for numbers in found.values() for slot in numbers) == list(range(slots(limit)))
    shares = [len(numbers) for numbers in found.values()]
    assert min(shares) >= 8
    assert max(shares) <= math.ceil(slots(limit) / len(dates)) + 1


@given(st.integers(0, 200), st.integers(2, 30), st.data())
def test_what_was_kept_of_a_date_holds_who_is_wanted_there_later(
    first: int, limit: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, limit - 1))
    before, after = assign_slots(sundays(first, count), limit), assign_slots(sundays(first, count + 1), limit)
    assert all(includes(encode_slots(before[day], limit), encode_slots(after[day], limit)) for day in before)


@given(st.integers(0, 200), st.integers(1, 30))
def test_once_there_are_as_many_dates_as_can_be_a_new_one_replaces_the_oldest(first: int, limit: int) -> None:
    before, after = assign_slots(sundays(first, limit), limit), assign_slots(sundays(first + 1, limit), limit)
    assert {day: before[day] for day in sundays(first + 1, limit - 1)} == {
        day: after[day] for day in sundays(first + 1, limit - 1)
    }
    assert after[sundays(first + limit, 1)[0]] == before[sundays(first, 1)[0]]


@pytest.mark.parametrize(
    ("kept", "wanted", "enough"),
    [
        (EVERYBODY, EVERYBODY, True),
        (EVERYBODY, encode_slots([1, 2], 3), True),
        (encode_slots(range(24), 3), EVERYBODY, False),  # who falls into no slot is not there
        (encode_slots([1, 2], 3), encode_slots([2], 3), True),
        (encode_slots([1, 2], 3), encode_slots([2, 3], 3), False),
        (encode_slots([1, 2], 3), encode_slots([2], 4), False),  # other slots
    ],
)
def test_users_of_some_slots_hold_those_of_fewer(kept: str, wanted: str, enough: bool) -> None:
    assert includes(kept, wanted) is enough
