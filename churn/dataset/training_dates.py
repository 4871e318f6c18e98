"""How many past as-of dates to train on, where a product leaves it open."""

from churn.config.settings import Settings
from churn.config.training import MOST_DATES, USUAL_DATES
from churn.core.calendar import WEEK, Windows
from churn.features.aggregates import weekly
from churn.features.aggregates.tables import query
from churn.features.product_filter import match_names, match_parameters
from churn.warehouse.base import Warehouse
from churn.warehouse.templates import sql_root

# From so many rows on, older dates gain next to nothing (docs/benchmarks.md).
_ENOUGH_ROWS = 60_000


def choose_max_dates(warehouse: Warehouse, settings: Settings, name: str, windows: Windows) -> int:
    """Return how many past as-of dates a run trains on at most, from the weekly aggregates.

    A product's own ``max_dates`` wins. One past date a user (``cohort``) has as many rows with any number of
    dates. Otherwise dates are added beyond ``USUAL_DATES``, up to ``MOST_DATES``, until the users who were
    active in the last weeks of these dates make enough rows. The all-time number of users says nothing of
    that: 40,000 customers of 13 years may be 300 a week.

    Args:
        settings: the settings; the weekly aggregates are up to date.
        name: the product's name.
        windows: the windows of the run's as-of date.
    """
    product = settings.product(name)
    if product.training.max_dates is not None or product.training.sampling != "all":
        return product.training.most_dates
    latest = windows.as_of - windows.label_delay
    names = {**match_names(product), "kept": weekly.aggregate_tables(settings).table}
    text = (sql_root() / "checks" / "weekly_users.sql").read_text("utf-8")
    values = {"first_day": latest - MOST_DATES * WEEK, "last_day": latest, **match_parameters(product)}
    users = {row["week_start"]: int(row["users"]) for row in query(warehouse, warehouse, text, values, names)}
    rows = 0
    for dates in range(1, MOST_DATES):
        rows += users.get(Windows(latest - (dates - 1) * WEEK).last_week_start, 0)
        if dates >= USUAL_DATES and rows >= _ENOUGH_ROWS:
            return dates
    return MOST_DATES
