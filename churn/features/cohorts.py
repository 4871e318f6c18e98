"""Which past as-of date each user is trained on, chosen so that stored feature rows stay useful.

Users fall into slots by a hash of their id, and each slot belongs to one date. A new date takes slots from
other dates and no other date gains any, so a date's stored rows still hold all users wanted at it. Consistent
hashing does the same (Karger et al., STOC 1997); here the shares are nearly equal.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from functools import lru_cache

from churn.core.calendar import WEEK

EVERYBODY = "all"
_FIRST_SUNDAY = date(1970, 1, 4)
_SLOTS_PER_DATE = 8


def slots(max_dates: int) -> int:
    """Return the number of slots: eight for each of the most dates there can be."""
    return max_dates * _SLOTS_PER_DATE


@lru_cache
def assign_slots(dates: tuple[date, ...], max_dates: int) -> Mapping[date, tuple[int, ...]]:
    """Return the slots of each date, ascending. Each slot belongs to exactly one date.

    A date has eight slots of its own, by its week. The slots of dates still to come are shared out.

    Args:
        dates: past as-of dates of consecutive weeks, ascending; at most ``max_dates``.
        max_dates: the most dates there can be; beyond that a new date gets the slots of the oldest.

    Example:
        >>> {day.day: len(own) for day, own in assign_slots((date(2024, 6, 2), date(2024, 6, 9)), 3).items()}
        {2: 12, 9: 12}
    """
    every_slot = set(range(slots(max_dates)))
    assigned: dict[date, set[int]] = {}
    for day in dates:
        own = _own_slots(day, max_dates)
        for others in assigned.values():
            others -= own
        lent = every_slot.difference(own, *(_own_slots(other, max_dates) for other in assigned))
        assigned[day] = own | (_take_fair_share(assigned, lent) if assigned else lent)
    return {day: tuple(sorted(numbers)) for day, numbers in assigned.items()}


def _own_slots(day: date, max_dates: int) -> set[int]:
    return set(range((day - _FIRST_SUNDAY) // WEEK % max_dates, slots(max_dates), max_dates))


def _take_fair_share(assigned: Mapping[date, set[int]], lent: set[int]) -> set[int]:
    """Remove lent slots from the dates that have most of them, and return them for a new date."""
    share: set[int] = set()
    while True:
        richest = max(assigned, key=lambda day: (len(assigned[day] & lent), day))
        its_lent = assigned[richest] & lent
        if len(its_lent) <= len(share) + 1:
            return share
        assigned[richest].remove(max(its_lent))
        share.add(max(its_lent))


def encode_slots(numbers: Sequence[int], max_dates: int) -> str:
    """Return slots as text: the number of slots and a hexadecimal bit mask.

    Example:
        >>> encode_slots([0, 3], 2)
        '16:9'
    """
    return f"{slots(max_dates)}:{sum(1 << slot for slot in numbers):x}"


def includes(stored: str, wanted: str) -> bool:
    """Return whether the users of some slots, or ``EVERYBODY``, include those of others."""
    if EVERYBODY in (stored, wanted):
        return stored == EVERYBODY
    (count, mask), (wanted_count, wanted_mask) = stored.split(":"), wanted.split(":")
    return count == wanted_count and not int(wanted_mask, 16) & ~int(mask, 16)
