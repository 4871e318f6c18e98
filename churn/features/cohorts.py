"""Which past as-of date each user is trained on, so that rows which are kept stay of use as dates are added.

Users fall into slots by a hash of the id, and each slot belongs to one date. A new date takes slots over from
others, and no other date gains any: what was kept of a date holds everybody who is still wanted at it. So
does consistent hashing (Karger et al., STOC 1997); here shares are nearly equal.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from functools import lru_cache

from churn.core.calendar import WEEK

EVERYBODY = "all"
_FIRST_SUNDAY = date(1970, 1, 4)
_SLOTS_OF_A_DATE = 8


def slots(max_dates: int) -> int:
    """Return how many slots users fall into: eight for each date, once there are as many as can be."""
    return max_dates * _SLOTS_OF_A_DATE


@lru_cache
def assign_slots(dates: tuple[date, ...], max_dates: int) -> Mapping[date, tuple[int, ...]]:
    """Return the slots of each date, ascending: together all slots, each of them once.

    A date has eight slots of its own, by its week. Those of dates that are still to come are shared out.

    Args:
        dates: past as-of dates in weeks that follow on one another, ascending; at most ``max_dates``.
        max_dates: how many there can be; from then on a new date has the slots of the one it replaces.
    """
    everything = set(range(slots(max_dates)))
    held: dict[date, set[int]] = {}
    for day in dates:
        own = _own(day, max_dates)
        for others in held.values():
            others -= own
        lent = everything.difference(own, *(_own(other, max_dates) for other in held))
        held[day] = own | (_fair_share(held, lent) if held else lent)
    return {day: tuple(sorted(found)) for day, found in held.items()}


def _own(day: date, max_dates: int) -> set[int]:
    return set(range((day - _FIRST_SUNDAY) // WEEK % max_dates, slots(max_dates), max_dates))


def _fair_share(held: Mapping[date, set[int]], lent: set[int]) -> set[int]:
    """Take a newcomer's share of what is lent from those who hold most of it."""
    taken: set[int] = set()
    while True:
        richest = max(held, key=lambda day: (len(held[day] & lent), day))
        theirs = held[richest] & lent
        if len(theirs) <= len(taken) + 1:
            return taken
        held[richest].remove(max(theirs))
        taken.add(max(theirs))


def encode_slots(found: Sequence[int], max_dates: int) -> str:
    """Return slots as text: how many there can be, and a hexadecimal number with a bit for each."""
    return f"{slots(max_dates)}:{sum(1 << slot for slot in found):x}"


def includes(kept: str, wanted: str) -> bool:
    """Return whether users of some slots, or ``EVERYBODY``, hold those of others."""
    if EVERYBODY in (kept, wanted):
        return kept == EVERYBODY
    (of, there), (of_wanted, needed) = kept.split(":"), wanted.split(":")
    return of == of_wanted and not int(needed, 16) & ~int(there, 16)
