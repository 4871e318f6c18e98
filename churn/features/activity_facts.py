"""Facts about a product's activity before any SQL step runs, and whether there is enough of it."""

from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from churn.config.settings import Settings
from churn.core.calendar import (
    OBSERVATION_WEEKS,
    WEEK,
    Windows,
    day_offsets,
    last_complete_as_of,
    monday_of,
    sunday_on_or_before,
)
from churn.core.errors import IncompleteWeekError, SourceError, UsageError
from churn.core.values import highest_sum, value_names
from churn.features.aggregates import ledger, weekly
from churn.features.aggregates.tables import query
from churn.features.product_filter import match_names, match_parameters
from churn.sources.availability import Availability, check_tables
from churn.warehouse.base import Warehouse
from churn.warehouse.templates import sql_root


@dataclass(frozen=True)
class ActivityFacts:
    """Facts about a product's activity up to an as-of date.

    Attributes:
        rows: raw rows.
        first_date: day of the first row.
        last_date: day of the last row.
        available: which optional sources and columns have data.
    """

    rows: int
    first_date: date
    last_date: date
    available: Availability


def minimum_training_dates(windows: Windows) -> int:
    """Return how many past as-of dates are needed to train and judge on.

    One is held out, one stops the fit and one is fitted on. The labels of those just before the held-out
    one are not known on it.
    """
    return 3 + windows.label_delay // WEEK - 1


def check_week_is_over(as_of: date, today: date) -> None:
    """Refuse an as-of date that is today or later.

    Raises:
        UsageError: the message names the latest as-of date.
    """
    if as_of >= today:
        raise UsageError(
            f"the as-of date {as_of} is not over yet (today is {today}): "
            f"the latest as-of date is {last_complete_as_of(today)}"
        )


def check_data_covers(warehouse: Warehouse, settings: Settings, windows: Windows) -> None:
    """Refuse an as-of date whose last week has no data. Quick enough to run before anything else.

    Raises:
        UsageError: the as-of date is not over yet.
        SourceError: the tables are wrong or end too early. The message names the latest as-of date.
    """
    check_week_is_over(windows.as_of, date.today())
    check_tables(warehouse, settings.source)
    activity = (sql_root() / "sources" / settings.source / "activity.sql").read_text("utf-8")
    text = f"select max(activity_date) as last_date from (\n{activity}) as activity"
    last: date | None = query(warehouse, warehouse, text, {})[0]["last_date"]
    if last is not None and last < windows.last_week_start:
        raise SourceError(
            f"the data end on {last}, and have nothing in the week that ends on the as-of date "
            f"{windows.as_of}: add --as-of {sunday_on_or_before(last)}, the latest date with data"
        )


def profile_activity(
    warehouse: Warehouse,
    settings: Settings,
    name: str,
    windows: Windows,
    schema: str,
    today: date,
    available: Availability,
    *,
    outside: bool,
) -> ActivityFacts:
    """Return the facts about a product's activity up to the as-of date, from the weekly aggregates.

    Args:
        schema: a run's schema, which has the view ``activity``.
        today: the day of the run.
        available: which optional sources and columns exist.
        outside: whether any product has rows whose date is missing or impossible.

    Raises:
        SourceError: the product has no activity, or rows break the source contract. The faulty weeks are
            read again by the next run.
    """
    product = settings.products[name]
    values = {
        **match_parameters(product),
        "known_until": windows.as_of,
        "history_start": ledger.HISTORY_START,
        "today": today,
    }

    def one_row(file: str) -> dict[str, Any]:
        text = (sql_root() / file).read_text("utf-8")
        names = {
            **day_offsets(),
            **match_names(product),
            **value_names(settings.value_decimals),
            "kept": weekly.aggregate_tables(settings).table,
        }
        return query(warehouse, warehouse, text, values, names, schema)[0]

    row = one_row("checks/activity.sql")
    if outside:
        row |= one_row("aggregates/outside.sql")
    if not row["product_rows"]:
        raise SourceError(_empty_product(warehouse, settings, name, windows, schema))
    decimals = settings.value_decimals
    highest = value_names(decimals)["highest_value"].replace("1e", "10^")
    faults = [
        f"{row[column]:,} rows {what}"
        for column, what in (
            ("null_users", "have no user id (null or blank): remove them, or give them one"),
            (
                "long_users",
                "have a user id of more than 250 bytes, which published tables cannot hold (a letter outside "
                "English takes 2 to 4 bytes): use a shorter one, such as a hash of it",
            ),
            ("null_dates", "have no date: remove them"),
            ("negative_values", "have a negative value: durations and amounts are 0 or more"),
            (
                "huge_values",
                f"have a value that is not a number, or is {highest} or more: correct or remove them",
            ),
            (
                "ancient_rows",
                f"are dated before {ledger.HISTORY_START}, often an empty time: correct or remove them",
            ),
            (
                "future_rows",
                f"are dated after today ({today}), up to {row.get('latest_date')}: correct clock or log",
            ),
        )
        if row.get(column)
    ]
    if row["users_with_huge_sums"]:
        faults.append(
            f"{row['users_with_huge_sums']:,} users have values that add up to {highest_sum(decimals):,} or "
            "more in a week, which sums cannot hold: correct or remove their rows, use a larger unit, or "
            f"keep fewer decimals (`value_decimals`, now {decimals})"
        )
    if faults:
        listed = "\n".join(f"  - {fault}" for fault in faults)
        weekly.invalidate_faulty_weeks(warehouse, settings)
        raise SourceError(f"the activity of product {name!r} breaks the source contract:\n{listed}")
    available = replace(
        available,
        category=row["categories"] > 0,
        device=row["devices"] > 0,
        item=row["items"] > 0,
        series=row["series"] > 0,
        time_of_day=row["rows_with_time"] > 0,
        live=row["rows_with_live"] > 0,
        page_views=row["rows_with_page_views"] > 0,
        other_products=row["other_rows"] > 0,
    )
    return ActivityFacts(int(row["product_rows"]), row["first_date"], row["last_date"], available)


def _empty_product(warehouse: Warehouse, settings: Settings, name: str, windows: Windows, schema: str) -> str:
    text = (sql_root() / "checks" / "products.sql").read_text("utf-8")
    names = {"kept": weekly.aggregate_tables(settings).table}
    rows = query(warehouse, warehouse, text, {}, names, schema)
    listed = ", ".join(f"{row['product']} ({int(row['events']):,} events)" for row in rows) or "none"
    wanted = ", ".join(settings.products[name].match) or "any"
    return (
        f"product {name!r} has no activity up to {windows.as_of}: it matches {wanted}, "
        f"and the products in the data are {listed}. Correct its `match`, or choose a later date"
    )


def check_history(name: str, windows: Windows, facts: ActivityFacts) -> None:
    """Refuse a product without activity in the last week, or with too little history to train on.

    Raises:
        IncompleteWeekError: nobody was there in the last week; the message names the latest as-of date.
        SourceError: the history is too short; the message names the earliest as-of date.
    """
    if facts.last_date < windows.last_week_start:
        latest = sunday_on_or_before(facts.last_date)
        raise IncompleteWeekError(
            f"product {name!r} has no activity in the week that ends on {windows.as_of}: its activity ends "
            f"on {facts.last_date}, so the latest as-of date is {latest}"
        )
    least = minimum_training_dates(windows)
    needed, have = weeks_of_history(windows, facts.first_date)
    if have < needed:
        first_week = monday_of(facts.first_date + timedelta(days=6))
        delay = windows.label_delay // WEEK
        earliest = first_week + needed * WEEK - timedelta(days=1)
        raise SourceError(
            f"product {name!r} has {have} full weeks of history on {windows.as_of} (activity starts on "
            f"{facts.first_date}), but {needed} are needed: {OBSERVATION_WEEKS} to observe, {delay} until "
            f"the label is known, and {least - 1} more for {least} as-of dates to train and judge on. "
            f"The earliest as-of date is {earliest}"
        )


def weeks_of_history(windows: Windows, first_date: date) -> tuple[int, int]:
    """Return how many full weeks of history a run needs, and how many there are on its as-of date.

    Args:
        windows: the run's windows.
        first_date: day of the first activity.
    """
    needed = OBSERVATION_WEEKS + windows.label_delay // WEEK + minimum_training_dates(windows) - 1
    first_week = monday_of(first_date + timedelta(days=6))
    return needed, max(0, (windows.as_of - first_week).days // 7 + 1)
