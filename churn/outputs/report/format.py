"""Format numbers and dates for people: English, a thousands comma, a thin space before a unit."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise

NARROW = "\u202f"  # narrow no-break space: number and unit stay on one line
DASH = "\u2013"
MINUS = "\u2212"
TIMES = "\u00d7"
# strftime("%B") would follow the machine's locale
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


def count(value: float) -> str:
    """``2911.3`` as ``2,911``."""
    return decimal(value, 0)


def decimal(value: float, places: int = 2) -> str:
    """A plain number; a rounded zero has no sign."""
    text = f"{value:,.{places}f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def signed(value: float, places: int = 2) -> str:
    """A number that always shows its sign, except for a rounded zero."""
    text = decimal(value, places)
    return text if text.startswith(MINUS) or float(text.replace(",", "")) == 0 else f"+{text}"


def percent(fraction: float, places: int = 1) -> str:
    """``0.2049`` as ``20.5 %``; values that would round to 0 or 100 become ``under`` and ``over``."""
    smallest = 10.0 ** -(places + 2)
    if 0 < fraction < smallest / 2:
        return f"under {decimal(smallest * 100, places)}{NARROW}%"
    if 1 - smallest / 2 < fraction < 1:
        return f"over {decimal((1 - smallest) * 100, places)}{NARROW}%"
    return f"{decimal(fraction * 100, places)}{NARROW}%"


def times(value: float, places: int = 1) -> str:
    """A factor: ``×2.4``."""
    return f"{TIMES}{decimal(value, places)}"


def lift(value: float) -> str:
    """A factor with two significant digits: ``×2.4``, ``×31``."""
    return times(value, 1 if abs(value) < 9.95 else 0)


def seconds(value: float) -> str:
    """A duration: ``0.4 s``, ``38 s``, ``2 min 5 s``, ``1 h 4 min``."""
    if value < 9.95:
        return f"{value:.1f}{NARROW}s"
    whole = round(value)
    if whole < 60:
        return f"{whole}{NARROW}s"
    if whole < 3600:
        return f"{whole // 60}{NARROW}min {whole % 60}{NARROW}s"
    minutes = round(value / 60)
    return f"{minutes // 60}{NARROW}h {minutes % 60}{NARROW}min"


def day(value: date, year: bool = False) -> str:
    """``28 June``, or ``28 June 2026``."""
    text = f"{value.day}\u00a0{MONTHS[value.month - 1]}"
    return f"{text} {value.year}" if year else text


def short_day(value: date) -> str:
    """``28 Jun``, for axes and narrow tables."""
    return f"{value.day}\u00a0{MONTHS[value.month - 1][:3]}"


def day_range(first: date, last: date) -> str:
    """``6–12 July`` or ``29 June – 5 July``; years only where they differ."""
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day}{DASH}{day(last)}"
    years = first.year != last.year
    return f"{day(first, years)} {DASH} {day(last, years)}"


def days(values: Sequence[date]) -> str:
    """As-of dates in words: up to three are listed, more become a range with their number."""
    ordered = sorted(values)
    if len(ordered) <= 3:
        return join_words([day(value) for value in ordered])
    years = ordered[0].year != ordered[-1].year
    weekly = all(b - a == timedelta(days=7) for a, b in pairwise(ordered))
    every = "every week, " if weekly else ""
    return f"{day(ordered[0], years)} to {day(ordered[-1], years)} ({every}{len(ordered)} dates)"


def moment(value: datetime) -> str:
    """``29 June 2026, 18:00 UTC``."""
    return f"{day(value.date(), True)}, {value:%H:%M} {value.tzname() or ''}".rstrip()


def people(value: float) -> str:
    """``1 person``, ``14,203 people``."""
    text = count(value)
    return f"{text} {'person' if text == '1' else 'people'}"


def plural(value: int, singular: str, many: str | None = None) -> str:
    """``1 check``, ``14 checks``."""
    return f"{count(value)} {singular if value == 1 else many or singular + 's'}"


def join_words(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def sentence(text: str) -> str:
    """The same text with a capital first letter."""
    return text[:1].upper() + text[1:]
