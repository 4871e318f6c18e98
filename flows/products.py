"""The one loop over products, for the command line and for the flow of all products."""

import ctypes
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from datetime import date
from typing import TYPE_CHECKING, TypeVar

from churn.config.settings import Settings
from churn.core.calendar import last_complete_as_of
from flows.console import stop_requested

if TYPE_CHECKING:
    from churn.jobs.weekly.finish import RunResult

Found = TypeVar("Found")
Run = Callable[[str, int], "RunResult"]
_WAIT_SECONDS = 0.5


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
    settings: Settings,
    names: Sequence[str],
    rebuild_weeks: int,
    run: Run,
    passing_over: type[Exception] = Exception,
) -> tuple[dict[str, "RunResult"], dict[str, Exception]]:
    """Run products on one cluster, some at a time; one that fails does not keep the others from running.

    Args:
        settings: how many run at once (``runs_at_once``), and the cluster.
        names: the products, in order.
        rebuild_weeks: weeks of raw activity to read again. Products share them: the first one reads them,
            before any other begins.
        run: runs a product, given its name and the weeks that it reads again.
        passing_over: errors after which the next product has its turn; any other ends the loop.

    Returns:
        Results and errors by product, in the order of the products.
    """
    from churn.scoring.workers import shared_cluster

    at_once = min(settings.runs_at_once, len(names))
    first = 1 if rebuild_weeks or at_once == 1 else 0
    results: dict[str, RunResult] = {}
    failures: dict[str, Exception] = {}
    if len(names) == 1:  # its own run opens what it needs
        _in_order(names, rebuild_weeks, run, passing_over, results, failures)
        return results, failures
    with shared_cluster(settings.cluster, at_once):
        if at_once == 1:
            _in_order(names, rebuild_weeks, run, passing_over, results, failures)
        else:
            _in_order(names[:first], rebuild_weeks, run, passing_over, results, failures)
            _side_by_side(names[first:], at_once, run, passing_over, results, failures)
    return _ordered(names, results), _ordered(names, failures)


def _ordered(names: Sequence[str], found: Mapping[str, Found]) -> dict[str, Found]:
    return {name: found[name] for name in names if name in found}


def _in_order(
    names: Sequence[str],
    rebuild_weeks: int,
    run: Run,
    passing_over: type[Exception],
    results: dict[str, "RunResult"],
    failures: dict[str, Exception],
) -> None:
    for index, name in enumerate(names):
        try:
            results[name] = run(name, rebuild_weeks if index == 0 else 0)
        except passing_over as error:
            if stop_requested():
                raise
            failures[name] = error


def _side_by_side(
    names: Sequence[str],
    at_once: int,
    run: Run,
    passing_over: type[Exception],
    results: dict[str, "RunResult"],
    failures: dict[str, Exception],
) -> None:
    """Run products in threads, each in a copy of this context; an interrupt of this thread ends them all."""
    threads: dict[str, int] = {}

    def begin(name: str) -> "RunResult":
        threads[name] = threading.get_ident()
        try:
            return run(name, 0)
        finally:
            del threads[name]

    pool = ThreadPoolExecutor(at_once, "churn-product")
    pending: dict[Future[RunResult], str] = {}
    try:
        for name in names:
            pending[pool.submit(copy_context().run, begin, name)] = name
        while pending:
            for future in wait(pending, _WAIT_SECONDS, FIRST_COMPLETED).done:
                name = pending.pop(future)
                error = future.exception()
                if error is None:
                    results[name] = future.result()
                elif isinstance(error, passing_over) and not stop_requested():
                    failures[name] = error
                else:
                    raise error
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for thread in list(threads.values()):  # once: a second time would interrupt the clean-up
            _interrupt(thread)
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _interrupt(thread: int) -> None:
    """Raise KeyboardInterrupt in a thread, as Ctrl-C does in the main one: at its next step in Python."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(KeyboardInterrupt))
