"""Moments that have not come yet: they tell of a clock that was wrong."""

from datetime import UTC, datetime, timedelta

_DIFFERENCE = timedelta(minutes=5)  # the most that clocks of two machines differ


def is_to_come(moment: datetime, now: datetime | None = None) -> bool:
    """Return whether a moment lies ahead, by more than the clocks of two machines differ.

    Args:
        moment: a time with a time zone, or one in UTC without.
        now: the present time; by default that of this machine's clock.

    Example:
        >>> is_to_come(datetime(2026, 6, 29, 18, 6), datetime(2026, 6, 29, 18, 0, tzinfo=UTC))
        True
    """
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware > (now or datetime.now(UTC)) + _DIFFERENCE
