"""Checks between stages: what must hold fails the run by name, what looks odd goes to the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from churn.core.errors import CheckError
from churn.dataset.plan import DatasetPlan
from churn.warehouse.base import Warehouse

_SHOWN = 10


@dataclass(frozen=True)
class CheckResult:
    """A check that held.

    Attributes:
        name: what was checked.
        detail: on what, in numbers.
    """

    name: str
    detail: str


def check_snapshots(warehouse: Warehouse, plan: DatasetPlan, rows: Mapping[str, int]) -> list[CheckResult]:
    """Check the snapshots and the feature set in the warehouse, where they are cheap to count.

    Args:
        rows: rows by step, as the steps reported them.

    Raises:
        CheckError: lists what broke: duplicate keys, a feature built from later activity, unequal row counts,
            nobody to score.
    """
    schema = plan.schema
    found = warehouse.fetch(
        f"""
        select
            count(*) as snapshots,
            count(user_id) - count(distinct user_id || '|' || cast(as_of_date as varchar(10))) as duplicates,
            sum(case when user_id is null then 1 else 0 end) as null_users,
            sum(case when purpose = 'score' then 1 else 0 end) as score_rows,
            sum(case when purpose = 'train' and churned is null then 1 else 0 end) as unlabelled
        from {schema}.snapshots
        """
    ).to_pylist()[0]
    late = warehouse.fetch(
        f"select count(*) as late from {schema}.user_week"
        f" where last_date > date '{plan.known_until.isoformat()}'"
    ).to_pylist()[0]["late"]
    failures = []
    if found["duplicates"]:
        failures.append(f"{schema}.snapshots: {found['duplicates']:,} duplicate (user, as-of date) keys")
    if found["null_users"]:
        failures.append(f"{schema}.snapshots: {found['null_users']:,} rows without a user id")
    if not found["score_rows"]:
        failures.append(
            f"{schema}.snapshots: nobody is eligible on {plan.windows.as_of}; see `minimum_value`"
        )
    if found["unlabelled"]:
        failures.append(f"{schema}.snapshots: {found['unlabelled']:,} training rows have no label")
    if late:
        failures.append(f"{schema}.user_week: {late:,} rows hold activity after {plan.known_until}")
    if rows["feature_set"] != rows["snapshots"]:
        failures.append(
            f"{schema}.feature_set has {rows['feature_set']:,} rows, and {schema}.snapshots "
            f"{rows['snapshots']:,}: a feature step has several rows for a snapshot"
        )
    if failures:
        raise CheckError("snapshots", failures)
    return [
        CheckResult("unique snapshot keys", f"{found['snapshots']:,} (user, as-of date) pairs"),
        CheckResult("no activity after the as-of date", f"read up to {plan.known_until}"),
        CheckResult("one feature row a snapshot", f"{rows['feature_set']:,} rows"),
    ]


def check_equal_rows(stage: str, counts: Mapping[str, int]) -> CheckResult:
    """Check that the same rows went through every stage.

    Raises:
        CheckError: the counts differ.
    """
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        raise CheckError(stage, [f"row counts differ from stage to stage: {listed}"])
    return CheckResult("row counts equal from stage to stage", f"{next(iter(counts.values())):,} users")


def warn_features(snapshots: pa.Table, names: Sequence[str]) -> list[str]:
    """Return a warning for features that are empty or constant in the training snapshots."""
    empty, constant = [], []
    for name in names:
        column = snapshots[name]
        if column.null_count == len(column):
            empty.append(name)
        elif column.null_count:
            continue  # there or missing: that tells something too
        elif not pa.types.is_string(column.type):
            bounds = pc.min_max(column).as_py()
            if bounds["min"] == bounds["max"]:
                constant.append(name)
        elif pc.count_distinct(column).as_py() <= 1:
            constant.append(name)
    return [
        f"{len(found)} feature{'s are' if len(found) > 1 else ' is'} {what} in training: "
        + ", ".join(found[:_SHOWN])
        + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
        for what, found in (("empty", empty), ("constant", constant))
        if found
    ]
