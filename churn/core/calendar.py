"""Weeks and windows: pure functions of an as-of date.

Weeks run Monday to Sunday. An as-of date is the Sunday on which features end. Weeks are numbered back
from the target week: 0 = target week, 1 = lead week, 2 = last observed week ... 14 = first observed week.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from churn.core.errors import UsageError

WEEK = timedelta(days=7)
OBSERVATION_WEEKS = 13
TARGET_OFFSET = 0
LEAD_OFFSET = 1
LAST_OBSERVED_OFFSET = 2
FIRST_OBSERVED_OFFSET = LAST_OBSERVED_OFFSET + OBSERVATION_WEEKS - 1
OBSERVED_OFFSETS = range(LAST_OBSERVED_OFFSET, FIRST_OBSERVED_OFFSET + 1)
# A label is known once its target week has ended: 14 days after the as-of date.
LABEL_DELAY = 2 * WEEK
EARLIEST, LATEST = date(1970, 1, 1), date(9990, 12, 31)  # what computers call dates, with room to reckon in

MAX_WEEKS = 5_200  # that a person may ask for: a hundred years, with which any date above can be reckoned


def check_weeks(name: str, count: int, least: int = 0) -> None:
    """Refuse a number of weeks that is none, or more than any history has.

    Raises:
        UsageError: ``count`` is not within ``least`` and ``MAX_WEEKS``.
    """
    if not least <= count <= MAX_WEEKS:
        raise UsageError(f"{name} is {count}: give {least} to {MAX_WEEKS} weeks")


def sunday_on_or_before(day: date) -> date:
    """Return the latest Sunday that is not after ``day``."""
    return day - timedelta(days=(day.weekday() + 1) % 7)


def monday_of(day: date) -> date:
    """Return the Monday of the week of ``day``."""
    return day - timedelta(days=day.weekday())


@dataclass(frozen=True, order=True)
class Windows:
    """The windows that belong to one as-of date.

    Attributes:
        as_of: the Sunday on which features end.
    """

    as_of: date

    def __post_init__(self) -> None:
        """Refuse a date that is not a Sunday, naming the Sundays near it, or that is no time of ours."""
        if not EARLIEST <= self.as_of <= LATEST:
            raise UsageError(f"the as-of date {self.as_of} is not between {EARLIEST} and {LATEST}")
        if self.as_of.weekday() != 6:
            before = sunday_on_or_before(self.as_of)
            raise UsageError(
                f"the as-of date {self.as_of} is a {self.as_of:%A}, but features end on a Sunday; "
                f"the Sundays near it are {before} and {before + WEEK}"
            )

    @property
    def observation_start(self) -> date:
        """Monday of the first of the 13 observed weeks."""
        return self.as_of - OBSERVATION_WEEKS * WEEK + timedelta(days=1)

    @property
    def last_week_start(self) -> date:
        """Monday of the last observed week."""
        return self.week_start(LAST_OBSERVED_OFFSET)

    @property
    def target_week_start(self) -> date:
        """Monday of the target week."""
        return self.week_start(TARGET_OFFSET)

    @property
    def target_week_end(self) -> date:
        """Sunday of the target week: from this day on the label is known."""
        return self.as_of + LABEL_DELAY

    def week_start(self, offset: int) -> date:
        """Return the Monday of week ``offset`` (0 = target week, 2 = last observed week)."""
        return self.as_of + timedelta(days=1) + (LEAD_OFFSET - offset) * WEEK


def last_complete_as_of(today: date) -> date:
    """Return the as-of date that a run started on ``today`` uses: the last Sunday before it."""
    return sunday_on_or_before(today - timedelta(days=1))


def labelled_dates(as_of: date, first_activity: date, limit: int) -> list[date]:
    """Return past as-of dates whose label is known on ``as_of`` and whose window is fully observed.

    Args:
        as_of: the Sunday as of which everything must be known.
        first_activity: the first day with any activity.
        limit: at most this many dates, the latest ones.

    Returns:
        Sundays in ascending order; empty when the history is too short.
    """

    def dates() -> Iterator[date]:
        candidate = as_of - LABEL_DELAY
        # A first week that starts after its Monday is not fully observed.
        first_full_week = monday_of(first_activity + timedelta(days=6))
        while Windows(candidate).observation_start >= first_full_week:
            yield candidate
            candidate -= WEEK

    return sorted(date for date, _ in zip(dates(), range(limit), strict=False))
