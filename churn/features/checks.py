"""Checks of feature rows before they are stored: one for each user and date, values within range."""

from collections.abc import Collection, Sequence
from datetime import date

from churn.core.errors import CheckError
from churn.core.names import identifier
from churn.features.aggregates.tables import query
from churn.features.catalogue import TEXT, Feature
from churn.warehouse.base import Session, Warehouse

_SHOWN = 20
# Shares are quotients of floating-point numbers, so a whole may be slightly more than 1.
_ROUNDING = 1e-9


def check_rows(
    warehouse: Warehouse,
    session: Session,
    table: str,
    eligible: str,
    features: Sequence[Feature],
    dates: Collection[date],
) -> None:
    """Check the feature rows of some dates against the eligible users and the catalogue.

    Args:
        session: the transaction that wrote the rows.
        table: the feature rows.
        eligible: a table with one row for each user and date that must have a feature row.
        features: the features to check.
        dates: the dates to check.

    Raises:
        CheckError: users have several rows for a date, or features are out of range. The message names each
            step and feature with its least and greatest value and its range.
    """
    bounded = [feature for feature in features if feature.type != TEXT and _is_bounded(feature)]
    bounds = "".join(
        f",\n    min({name}) as low_{index}, max({name}) as high_{index}"
        for index, name in enumerate(identifier(feature.name) for feature in bounded)
    )
    days = {f"day_{index}": day for index, day in enumerate(dates)}
    listed = ", ".join(f":{name}" for name in days)
    text = f"select count(*) as n{bounds}\nfrom {table}\nwhere as_of_date in ({listed})"
    (row,) = query(warehouse, session, text, days)
    (users,) = query(warehouse, session, f"select count(*) as n from {eligible}", {})
    failures = []
    if row["n"] != users["n"]:
        failures.append(
            f"{row['n']:,} rows for {users['n']:,} users and dates: a feature step made several rows for one"
        )
    for index, feature in enumerate(bounded):
        low, high = row[f"low_{index}"], row[f"high_{index}"]
        if low is not None and not (_at_most(feature.range.low, low) and _at_most(high, feature.range.high)):
            failures.append(
                f"sql/features/{feature.step}.sql: {feature.name} goes from {low:g} to {high:g} "
                f"{feature.unit}; its range in the catalogue is {_describe_range(feature)}"
            )
    if failures:
        more = len(failures) - _SHOWN
        raise CheckError("feature rows", failures[:_SHOWN] + ([f"and {more:,} more"] if more > 0 else []))


def _is_bounded(feature: Feature) -> bool:
    return feature.range.low is not None or feature.range.high is not None


def _at_most(low: float | None, high: float | None) -> bool:
    """Return whether one number is at most another, but for rounding; None is no bound."""
    return low is None or high is None or low <= high + _ROUNDING * max(1.0, abs(high))


def _describe_range(feature: Feature) -> str:
    low, high = feature.range
    if high is None:
        return f"{low:g} or more"
    return f"up to {high:g}" if low is None else f"from {low:g} to {high:g}"
