"""Cohorts: each user is trained on at one date, and a new date takes users from others only."""

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
def test_each_slot_belongs_to_one_date_and_dates_have_similar_shares(
    first: int, limit: int, data: st.DataObject
) -> None:
    dates = sundays(first, data.draw(st.integers(1, limit)))
    found = assign_slots(dates, limit)
    assert tuple(found) == dates
    assert sorted(slot for numbers in found.values() for slot in numbers) == list(range(slots(limit)))
    shares = [len(numbers) for numbers in found.values()]
    assert min(shares) >= 8
    assert max(shares) <= math.ceil(slots(limit) / len(dates)) + 2


@given(st.integers(0, 200), st.integers(2, 30), st.data())
def test_a_dates_stored_users_include_those_wanted_later(first: int, limit: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, limit - 1))
    before, after = assign_slots(sundays(first, count), limit), assign_slots(sundays(first, count + 1), limit)
    assert all(includes(encode_slots(before[day], limit), encode_slots(after[day], limit)) for day in before)


@given(st.integers(0, 200), st.integers(1, 30))
def test_at_the_limit_a_new_date_replaces_the_oldest(first: int, limit: int) -> None:
    before, after = assign_slots(sundays(first, limit), limit), assign_slots(sundays(first + 1, limit), limit)
    assert {day: before[day] for day in sundays(first + 1, limit - 1)} == {
        day: after[day] for day in sundays(first + 1, limit - 1)
    }
    assert after[sundays(first + limit, 1)[0]] == before[sundays(first, 1)[0]]


@pytest.mark.parametrize(
    ("stored", "wanted", "expected"),
    [
        (EVERYBODY, EVERYBODY, True),
        (EVERYBODY, encode_slots([1, 2], 3), True),
        (encode_slots(range(24), 3), EVERYBODY, False),  # users without a slot are missing
        (encode_slots([1, 2], 3), encode_slots([2], 3), True),
        (encode_slots([1, 2], 3), encode_slots([2, 3], 3), False),
        (encode_slots([1, 2], 3), encode_slots([2], 4), False),  # other slots
    ],
)
def test_slots_include_fewer_slots(stored: str, wanted: str, expected: bool) -> None:
    assert includes(stored, wanted) is expected
