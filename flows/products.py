"""The one loop over products, for the command line and for the flow of all products."""

from collections.abc import Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING

from churn.config.settings import Settings
from churn.core.calendar import last_complete_as_of
from flows.console import stop_requested

if TYPE_CHECKING:
    from churn.jobs.weekly.finish import RunResult


def names_and_dates(
    settings: Settings, products: Sequence[str] | None, dates: Sequence[date]
) -> tuple[list[str], list[date]]:
    """Return the products to run and their as-of dates, each once, the dates in order.

    The default is all products, last Sunday.

    Raises:
        UsageError: unknown product, or a date is not a Sunday.
    """
    names = list(dict.fromkeys(products or settings.products))
    days = sorted(set(dates)) or [last_complete_as_of(date.today())]
    for name in names:
        for day in days:
            settings.product(name).windows(day)
    return names, days


def run_each(
    names: Sequence[str],
    rebuild_weeks: int,
    run: Callable[[str, int], "RunResult"],
    passing_over: type[Exception] = Exception,
) -> tuple[dict[str, "RunResult"], dict[str, Exception]]:
    """Run products one after the other; one that fails does not keep the next from running.

    Args:
        names: the products, in order.
        rebuild_weeks: weeks of raw activity to read again. Products share them: the first one reads them.
        run: runs a product, given its name and the weeks that it reads again.
        passing_over: errors after which the next product has its turn; any other ends the loop.

    Returns:
        Results and errors by product.
    """
    results: dict[str, RunResult] = {}
    failures: dict[str, Exception] = {}
    for index, name in enumerate(names):
        try:
            results[name] = run(name, rebuild_weeks if index == 0 else 0)
        except passing_over as error:
            if stop_requested():
                raise
            failures[name] = error
    return results, failures
