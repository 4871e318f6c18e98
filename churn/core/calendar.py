"""Weeks and windows: pure functions of an as-of date.

Weeks run Monday to Sunday. An as-of date is the Sunday on which features end. The observation window is the
13 weeks that end on it. Then comes the lead, in which there is time to act, and then the target: users not
active in the target have churned. A product sets how long lead and target are: by default one week each.

Observed weeks are numbered 2 (last) to 14 (first), for any lead and target: the names of features hold these.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from churn.core.errors import UsageError

WEEK = timedelta(days=7)
OBSERVATION_WEEKS = 13
RECENT_WEEKS = 4  # the last of them, in features such as `value_4w`
LEAD_WEEKS = TARGET_WEEKS = 1  # where a product sets nothing else
LONGEST_LEAD = LONGEST_TARGET = 13
LAST_OBSERVED_OFFSET = 2
FIRST_OBSERVED_OFFSET = LAST_OBSERVED_OFFSET + OBSERVATION_WEEKS - 1
OBSERVED_OFFSETS = range(LAST_OBSERVED_OFFSET, FIRST_OBSERVED_OFFSET + 1)
LABEL_DELAY = (LEAD_WEEKS + TARGET_WEEKS) * WEEK
EARLIEST, LATEST = date(1970, 1, 1), date(9990, 12, 31)  # dates of computers, with a margin to calculate in

MAX_WEEKS = 5_200  # the most that a user may ask for: a hundred years


def day_offsets(lead_weeks: int = LEAD_WEEKS, target_weeks: int = TARGET_WEEKS) -> dict[str, int]:
    """Return the lengths of windows and their distances from the as-of date, as SQL templates name them.

    ``*_start_days`` and ``*_end_days`` are days before the as-of date for what is observed, and days after it
    for lead and target. ``week_end_days`` leads from a week's Monday to its Sunday.
    """
    return {
        "observation_weeks": OBSERVATION_WEEKS,
        "recent_weeks": RECENT_WEEKS,
        "lead_weeks": lead_weeks,
        "target_weeks": target_weeks,
        "first_observed_offset": FIRST_OBSERVED_OFFSET,
        "last_observed_offset": LAST_OBSERVED_OFFSET,
        "week_end_days": WEEK.days - 1,
        "window_start_days": OBSERVATION_WEEKS * WEEK.days - 1,
        "recent_start_days": RECENT_WEEKS * WEEK.days - 1,
        "last_week_start_days": WEEK.days - 1,
        "lead_start_days": 1,
        "lead_end_days": lead_weeks * WEEK.days,
        "target_start_days": lead_weeks * WEEK.days + 1,
        "target_end_days": (lead_weeks + target_weeks) * WEEK.days,
    }


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
        lead_weeks: weeks between the as-of date and the target.
        target_weeks: weeks without activity that count as churn.

    Example:
        >>> Windows(date(2024, 6, 30)).target_week_start
        datetime.date(2024, 7, 8)
    """

    as_of: date
    lead_weeks: int = LEAD_WEEKS
    target_weeks: int = TARGET_WEEKS

    def __post_init__(self) -> None:
        """Refuse a date that is not a Sunday, naming the Sundays near it, or that is out of range."""
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
        return monday_of(self.as_of)

    @property
    def lead_start(self) -> date:
        """Monday of the first lead week."""
        return self.as_of + timedelta(days=1)

    @property
    def lead_end(self) -> date:
        """Sunday of the last lead week."""
        return self.as_of + self.lead_weeks * WEEK

    @property
    def target_week_start(self) -> date:
        """Monday of the first target week."""
        return self.lead_end + timedelta(days=1)

    @property
    def target_starts(self) -> tuple[date, ...]:
        """Mondays of the target weeks."""
        return tuple(self.target_week_start + index * WEEK for index in range(self.target_weeks))

    @property
    def target_end(self) -> date:
        """Sunday of the last target week: from this day on the label is known."""
        return self.as_of + self.label_delay

    @property
    def label_delay(self) -> timedelta:
        """Time from the as-of date until its label is known."""
        return (self.lead_weeks + self.target_weeks) * WEEK


def last_complete_as_of(today: date) -> date:
    """Return the as-of date that a run started on ``today`` uses: the last Sunday before it."""
    return sunday_on_or_before(today - timedelta(days=1))


def labelled_dates(windows: Windows, first_activity: date, limit: int) -> list[date]:
    """Return past as-of dates whose label is known on ``windows.as_of`` and whose window is fully observed.

    Args:
        windows: of the date on which everything must be known.
        first_activity: the first day with any activity.
        limit: at most this many dates, the latest ones.

    Returns:
        Sundays in ascending order; empty when the history is too short.
    """

    def dates() -> Iterator[date]:
        candidate = windows.as_of - windows.label_delay
        # A first week that starts after its Monday is not fully observed.
        first_full_week = monday_of(first_activity + timedelta(days=6))
        while Windows(candidate).observation_start >= first_full_week:
            yield candidate
            candidate -= WEEK

    return sorted(date for date, _ in zip(dates(), range(limit), strict=False))
