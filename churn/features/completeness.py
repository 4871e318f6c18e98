"""Weeks for which activity of a product is missing, found by comparison with the weeks around them.

Where the tracking of a product fails, or a load stops half-way, everybody seems to stay away: missing data
make the labels of such a week. A week is *incomplete* if no product has any activity in it, or if one of
these is far below what is usual around it:

- the number of active users, or
- their number times the typical number of events of a user (a geometric mean, which a robot hardly moves), or
- the users of at least two of its days, or of the last days of the data.

``churn.features.dips`` says what is usual. docs/benchmarks.md states how often each kind of fault is found.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property, reduce
from operator import add
from typing import Any, Literal

import numpy as np

from churn.config.settings import Product
from churn.core.calendar import WEEK, day_offsets
from churn.features.aggregates.ledger import HISTORY_START, WEEKS
from churn.features.aggregates.tables import VersionedTables, query
from churn.features.catalogue import WEEKDAYS
from churn.features.dips import Floats, Surroundings, find_dips
from churn.features.product_filter import match_names, match_parameters
from churn.warehouse.base import Warehouse
from churn.warehouse.templates import sql_root

Measure = Literal["nothing", "users", "events", "days"]

# A week below this share of what is usual is incomplete; a real holiday keeps more.
_LEAST = {"users": 0.45, "events": 0.4, "days": 0.75, "last days": 0.97}
# A week below this share is nearly empty.
_NEARLY_EMPTY = {"nothing": 1.0, "users": 0.25, "events": 0.15, "days": 0.25}
_LEAST_OF_A_DAY = 0.2
_FEWEST_DAYS = 2
_PART = 0.15  # share of a product's figure that one of its parts must lack


@dataclass(frozen=True)
class WeekCounts:
    """Weekly figures of a product, or of one value of ``activity.product`` that counts as it.

    Attributes:
        first: Monday of the first week.
        users: (weeks,) active users; users of two parts of a product count twice.
        events: (weeks,) events.
        log_events: (weeks,) sum over users of the logarithm of their events.
        day_users: (weeks, 7) active users of each day, Monday first.
    """

    first: date
    users: Floats
    events: Floats
    log_events: Floats
    day_users: Floats

    @classmethod
    def empty(cls, first: date, weeks: int) -> "WeekCounts":
        """Return figures of nobody."""
        return cls(first, np.zeros(weeks), np.zeros(weeks), np.zeros(weeks), np.zeros((weeks, 7)))

    def __add__(self, other: "WeekCounts") -> "WeekCounts":
        """Return the sum of two parts' figures of the same weeks."""
        return WeekCounts(
            self.first,
            self.users + other.users,
            self.events + other.events,
            self.log_events + other.log_events,
            self.day_users + other.day_users,
        )

    @cached_property
    def typical_events(self) -> Floats:
        """(weeks,) users times the geometric mean of their events."""
        typical: Floats = self.users * np.exp(self.log_events / np.maximum(self.users, 1))
        return typical

    def measured(self, measure: Measure) -> Floats:
        """Return (weeks,) the figure that a measure compares."""
        if measure == "days":
            user_days: Floats = self.day_users.sum(axis=1)
            return user_days
        return self.users if measure == "users" else self.typical_events


@dataclass(frozen=True)
class IncompleteWeek:
    """A week for which activity of a product is missing.

    Attributes:
        week: its Monday.
        measure: the figure that is too low; ``days`` if whole days are missing, ``nothing`` if no product has
            any activity.
        found: active users of the week, or its events.
        lacking: what is missing, in users, typical events, or users of a day.
        share: what there is of what is usual.
        days: the days that are missing, if ``measure`` is ``days``.
        part: the value of ``activity.product`` that is missing; empty for the product as a whole.
    """

    week: date
    measure: Measure
    found: int
    lacking: float
    share: float
    days: tuple[date, ...] = ()
    part: str = ""

    @property
    def nearly_empty(self) -> bool:
        """Whether nearly everything is missing."""
        return self.share < _NEARLY_EMPTY[self.measure]

    @property
    def usual(self) -> int:
        """The figure that is usual around the week."""
        return round(self.found + self.lacking if self.measure == "users" else self.found / self.share)

    @property
    def figures(self) -> str:
        """What was found and what is usual, in words."""
        if self.measure == "nothing":
            return "no activity of any product"
        whose = f" of {self.part}" if self.part else ""
        if self.measure == "days":
            return f"next to no activity{whose} on {', '.join(f'{day:%a}' for day in self.days)}"
        unit = "active users" if self.measure == "users" else "events"
        return f"{self.found:,} {unit}{whose}, usually about {self.usual:,}"


def read_counts(
    warehouse: Warehouse, aggregates: VersionedTables, product: Product, until: date
) -> dict[str, WeekCounts]:
    """Return weekly figures up to a Sunday, for each value of ``activity.product`` that is the product's.

    Args:
        aggregates: the kept weekly aggregates.
        until: the last day that is known.
    """
    text = (sql_root() / "checks" / "weeks.sql").read_text("utf-8")
    names = {**day_offsets(), **match_names(product), "weekdays": WEEKDAYS, "kept": aggregates.table}
    rows = query(warehouse, warehouse, text, {**match_parameters(product), "known_until": until}, names)
    if not rows:
        return {}
    first = min(row["week_start"] for row in rows)
    weeks = (until - first).days // 7 + 1
    parts: dict[str, WeekCounts] = {}
    for row in rows:
        _fill(parts.setdefault(row["product"], WeekCounts.empty(first, weeks)), row)
    return parts


def _fill(counts: WeekCounts, row: Mapping[str, Any]) -> None:
    week = (row["week_start"] - counts.first) // WEEK
    counts.users[week] = row["users"]
    counts.events[week] = row["events"]
    counts.log_events[week] = row["log_events"]
    counts.day_users[week] = [row[f"users_{name}"] for name in (*WEEKDAYS[1:], WEEKDAYS[0])]


def find_incomplete_weeks(
    warehouse: Warehouse, aggregates: VersionedTables, product: Product, until: date
) -> dict[date, IncompleteWeek]:
    """Return the weeks up to a Sunday for which activity of a product is missing, by Monday, ascending.

    Weeks that the product's setting ``quiet_weeks`` names are not among them.

    Args:
        aggregates: the kept weekly aggregates.
        until: the last day that is known.
    """
    ledger_rows = WEEKS.read(warehouse, aggregates).items()
    empty = {week for week, row in ledger_rows if HISTORY_START <= week <= until and not row["raw_rows"]}
    found = {week: IncompleteWeek(week, "nothing", 0, 0.0, 0.0) for week in empty}
    found |= incomplete_weeks(read_counts(warehouse, aggregates, product, until))
    return {week: low for week, low in sorted(found.items()) if week not in product.quiet_weeks}


def incomplete_weeks(parts: Mapping[str, WeekCounts]) -> dict[date, IncompleteWeek]:
    """Return the weeks for which activity of a product is missing, by Monday, ascending.

    A week is also incomplete if one part of the product is missing that would be about a sixth of it or more.
    A part whose users moved to another part is not missing.

    Args:
        parts: the figures of each value of ``activity.product`` that is the product's.
    """
    if not parts:
        return {}
    whole = _total(parts.values())
    found = {low.week: low for low in _low_weeks(whole)}
    for part, counts in parts.items():
        if len(parts) > 1 and (counts.users >= _PART * np.maximum(whole.users, 1)).any():
            rest = _total([other for name, other in parts.items() if name != part])
            for low in _low_weeks(counts, part):
                if low.week not in found and _is_missed(low, whole, rest):
                    found[low.week] = low
    return dict(sorted(found.items()))


def _total(parts: Iterable[WeekCounts]) -> WeekCounts:
    return reduce(add, parts)


def _low_weeks(counts: WeekCounts, part: str = "") -> Iterator[IncompleteWeek]:
    """Yield the weeks that are too low, each with the first measure that shows it."""
    users, typical = (find_dips(counts.measured(name), _LEAST[name]) for name in ("users", "events"))
    days = [find_dips(of_a_day, _LEAST_OF_A_DAY) for of_a_day in counts.day_users.T]
    for index in range(len(counts.users)):
        week = counts.first + index * WEEK
        active, events = int(counts.users[index]), int(counts.events[index])
        if not np.isnan(users[index]):
            share = active / float(users[index])
            yield IncompleteWeek(week, "users", active, users[index] - active, share, part=part)
        elif not np.isnan(typical[index]):
            found = float(counts.typical_events[index])
            share = found / float(typical[index])
            yield IncompleteWeek(week, "events", events, typical[index] - found, share, part=part)
        else:
            missing = [day for day in range(7) if not np.isnan(days[day][index])]
            there = float(counts.day_users[index].sum())
            lacking = float(sum(days[day][index] - counts.day_users[index, day] for day in missing))
            share = there / max(there + lacking, 1.0)
            # Data that end before the week does lack at least its Sunday.
            ends_early = index == len(counts.users) - 1 and 6 in missing
            if (len(missing) >= _FEWEST_DAYS or ends_early) and share < _LEAST[
                "last days" if ends_early else "days"
            ]:
                when = tuple(week + timedelta(days=day) for day in missing)
                yield IncompleteWeek(week, "days", active, lacking, share, when, part)


def _is_missed(low: IncompleteWeek, whole: WeekCounts, rest: WeekCounts) -> bool:
    """Return whether a product's week lacks what one of its parts lacks.

    Args:
        low: the part's week.
        whole: the product's figures.
        rest: the figures of its other parts, which rise if users moved to them.
    """
    index = (low.week - whole.first) // WEEK
    if low.lacking < _PART * (whole.measured(low.measure)[index] + low.lacking):
        return False
    others = rest.measured(low.measure)
    risen = others[index] - Surroundings.of(others).usual(index, index + 1)
    return not risen > low.lacking / 2  # nor if it is NaN
