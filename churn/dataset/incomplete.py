"""What follows from incomplete weeks: dates that are left out, warnings, and runs that are refused."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date

from churn.config.settings import Product
from churn.core.calendar import WEEK, Windows, monday_of
from churn.core.errors import IncompleteWeekError, SourceError
from churn.features.activity_facts import minimum_training_dates
from churn.features.completeness import IncompleteWeek

_SHOWN = 5

Incomplete = Mapping[date, IncompleteWeek]


def spoilt_dates(product: Product, dates: Sequence[date], incomplete: Collection[date]) -> tuple[date, ...]:
    """Return the as-of dates whose people or labels an incomplete week falsifies.

    A date's people are those of its last observed week, and its labels come from its target weeks. Where
    other observed weeks are incomplete, features are too low, but people and labels are right.

    Args:
        dates: as-of dates.
        incomplete: Mondays of incomplete weeks.
    """

    def spoilt(windows: Windows) -> bool:
        return not {windows.last_week_start, *windows.target_starts}.isdisjoint(incomplete)

    return tuple(day for day in dates if spoilt(product.windows(day)))


def check_last_week(name: str, windows: Windows, incomplete: Incomplete) -> None:
    """Refuse an as-of date whose last observed week is nearly empty.

    Raises:
        IncompleteWeekError: the message names the latest as-of date whose week is complete.
    """
    low = incomplete.get(windows.last_week_start)
    if low is None or not low.nearly_empty:
        return
    latest = windows.as_of
    while monday_of(latest) in incomplete:
        latest -= WEEK
    raise IncompleteWeekError(
        f"activity of product {name!r} is missing in the week that ends on {windows.as_of}: {low.figures}. "
        f"{_remedy(name, windows, [low.week])}. Until then the latest as-of date is {latest}"
    )


def check_can_be_judged(name: str, windows: Windows, incomplete: Incomplete) -> None:
    """Refuse to judge an as-of date by weeks of which activity is missing.

    Raises:
        IncompleteWeekError: its last observed week, or a target week, is incomplete.
    """
    weeks = (windows.last_week_start, *windows.target_starts)
    missing = {week: incomplete[week] for week in weeks if week in incomplete}
    if missing:
        raise IncompleteWeekError(
            f"what users of product {name!r} did after {windows.as_of} is not known: activity is missing in "
            f"{_listed(missing)}. Load the missing rows; or, if it was really that quiet, "
            f"{_declare(name, list(missing))}"
        )


def check_dates_left(
    name: str, windows: Windows, most: int, kept: int, left_out: Sequence[date], incomplete: Incomplete
) -> None:
    """Refuse a product with too few past as-of dates that no incomplete week falsifies.

    Args:
        most: most dates that the product trains on.
        kept: dates that it would train on.
        left_out: dates that are left out.
        incomplete: the incomplete weeks.

    Raises:
        SourceError: the message lists the incomplete weeks.
    """
    # Half of the most dates where a product sets few.
    needed = min(minimum_training_dates(windows), max(1, most // 2))
    if left_out and kept < needed:
        raise SourceError(
            f"product {name!r} has {kept} as-of dates to train and judge on, but {needed} are needed: "
            f"{len(left_out)} are left out, since activity is missing in {_listed(incomplete)}. "
            f"{_remedy(name, windows, list(incomplete))}, or choose a later as-of date"
        )


def incomplete_warnings(
    name: str, windows: Windows, incomplete: Incomplete, left_out: Sequence[date]
) -> list[str]:
    """Return what people should know of incomplete weeks.

    Args:
        incomplete: the incomplete weeks from the first observed week of the first training date on.
        left_out: training dates that are left out because of them.
    """
    sentences = []
    last = incomplete.get(windows.last_week_start)
    if last is not None:
        sentences.append(
            f"activity is missing in the last observed week, of {last.week}: {last.figures}. People whose "
            "activity is missing are not scored, and others seem less active than they are. "
            f"{_remedy(name, windows, [last.week])}"
        )
    earlier = {week: low for week, low in incomplete.items() if low is not last}
    if earlier:
        own = any(week >= windows.observation_start for week in earlier)
        effect = (
            "Features count that as absence, so the predictions may be too high"
            if own
            else "Features of past dates count that as absence"
        )
        sentences.append(
            f"activity is missing in {_listed(earlier)}. {effect}. {_remedy(name, windows, list(earlier))}"
        )
    if left_out:
        dates = (
            f"date {left_out[0]} is" if len(left_out) == 1 else f"dates {', '.join(map(str, left_out))} are"
        )
        sentences.append(
            f"the as-of {dates} left out of training, of the judgement of the model and of the trend: where "
            "activity is missing, people seem to stay away"
        )
    return sentences


def _listed(incomplete: Incomplete) -> str:
    shown = [f"of {week} ({low.figures})" for week, low in list(incomplete.items())[-_SHOWN:]]
    more = f", and {len(incomplete) - _SHOWN} earlier ones" if len(incomplete) > _SHOWN else ""
    return f"{len(incomplete)} week{'s' * (len(incomplete) > 1)}: {', '.join(shown)}{more}"


def _remedy(name: str, windows: Windows, weeks: Sequence[date]) -> str:
    back = (windows.last_week_start - min(weeks)) // WEEK + 1
    return (
        f"Load the missing rows and run with --rebuild-weeks {back}; or, if it was really that quiet, "
        f"{_declare(name, weeks)}"
    )


def _declare(name: str, weeks: Sequence[date]) -> str:
    listed = ", ".join(f'"{week}"' for week in weeks[-_SHOWN:])
    return f"add {listed} to quiet_weeks under [products.{name}] in churn.toml"
