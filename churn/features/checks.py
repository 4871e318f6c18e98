"""Checks of feature rows before they are kept: one row a user and date, every number within its range."""

from collections.abc import Collection, Sequence
from datetime import date

from churn.core.errors import CheckError
from churn.core.names import identifier
from churn.features.aggregates.tables import query
from churn.features.catalogue import TEXT, Feature
from churn.warehouse.base import Session, Warehouse

_SHOWN = 20
# Shares are quotients of floating-point numbers: a whole may come to a hair more than 1.
_ROUNDING = 1e-9


def check_rows(
    warehouse: Warehouse,
    session: Session,
    table: str,
    eligible: str,
    features: Sequence[Feature],
    dates: Collection[date],
) -> None:
    """Check the feature rows of some dates against who is eligible, and against the catalogue.

    Args:
        session: the transaction in which the rows were written.
        table: the feature rows.
        eligible: who has a row, on these dates and no others.
        features: what the columns are.
        dates: which rows to look at.

    Raises:
        CheckError: lists steps that have several rows for a user and date, and features with a value that the
            catalogue says they cannot have: the step, the feature, what was found and what was expected.
    """
    ranged = [feature for feature in features if feature.type != TEXT and _is_bounded(feature)]
    bounds = "".join(
        f",\n    min({name}) as low_{index}, max({name}) as high_{index}"
        for index, name in enumerate(identifier(feature.name) for feature in ranged)
    )
    days = {f"day_{index}": day for index, day in enumerate(dates)}
    listed = ", ".join(f":{name}" for name in days)
    text = f"select count(*) as n{bounds}\nfrom {table}\nwhere as_of_date in ({listed})"
    (found,) = query(warehouse, session, text, days)
    (users,) = query(warehouse, session, f"select count(*) as n from {eligible}", {})
    failures = []
    if found["n"] != users["n"]:
        failures.append(
            f"{found['n']:,} rows for {users['n']:,} users on dates: a feature step has several for one"
        )
    for index, feature in enumerate(ranged):
        low, high = found[f"low_{index}"], found[f"high_{index}"]
        if low is not None and not (_reaches(feature.range.low, low) and _reaches(high, feature.range.high)):
            failures.append(
                f"sql/features/{feature.step}.sql: {feature.name} goes from {low:g} to {high:g} "
                f"{feature.unit}, and can only be {_said(feature)}"
            )
    if failures:
        more = len(failures) - _SHOWN
        raise CheckError("feature rows", failures[:_SHOWN] + ([f"and {more:,} more"] if more > 0 else []))


def _is_bounded(feature: Feature) -> bool:
    return feature.range.low is not None or feature.range.high is not None


def _reaches(low: float | None, high: float | None) -> bool:
    """Return whether one number is at most another but for rounding; what is open reaches everything."""
    return low is None or high is None or low <= high + _ROUNDING * max(1.0, abs(high))


def _said(feature: Feature) -> str:
    low, high = feature.range
    if high is None:
        return f"{low:g} or more"
    return f"up to {high:g}" if low is None else f"from {low:g} to {high:g}"
