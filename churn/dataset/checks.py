"""Checks between stages: a broken rule fails the run, and an oddity goes to the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from churn.core.errors import CheckError
from churn.dataset.plan import DatasetPlan
from churn.warehouse.base import Warehouse

_SHOWN = 10
_CONSTANT = 0.1  # share of features that may be constant without a warning


@dataclass(frozen=True)
class CheckResult:
    """A check that passed.

    Attributes:
        name: what was checked.
        detail: the numbers that were checked.
    """

    name: str
    detail: str


def check_snapshots(warehouse: Warehouse, plan: DatasetPlan, rows: Mapping[str, int]) -> list[CheckResult]:
    """Check the snapshots and the feature set in the warehouse, where counting is cheap.

    Args:
        rows: rows by step, as the steps reported them.

    Raises:
        CheckError: keys are repeated, labels or user ids are missing, activity after the last known day was
            read, row counts differ, or nobody is to be scored. The message lists all of these.
    """
    schema = plan.schema
    counts = warehouse.fetch(
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
    if counts["duplicates"]:
        failures.append(f"{schema}.snapshots: {counts['duplicates']:,} duplicate (user, as-of date) keys")
    if counts["null_users"]:
        failures.append(f"{schema}.snapshots: {counts['null_users']:,} rows without a user id")
    if not counts["score_rows"]:
        failures.append(
            f"{schema}.snapshots: nobody is eligible on {plan.windows.as_of}; see `minimum_value`"
        )
    if counts["unlabelled"]:
        failures.append(f"{schema}.snapshots: {counts['unlabelled']:,} training rows have no label")
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
        CheckResult("unique snapshot keys", f"{counts['snapshots']:,} (user, as-of date) pairs"),
        CheckResult("no activity after the as-of date", f"read up to {plan.known_until}"),
        CheckResult("one feature row a snapshot", f"{rows['feature_set']:,} rows"),
    ]


def check_equal_rows(stage: str, counts: Mapping[str, int]) -> CheckResult:
    """Check that every stage had the same number of rows.

    Raises:
        CheckError: the counts differ.
    """
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        raise CheckError(stage, [f"row counts differ from stage to stage: {listed}"])
    return CheckResult("row counts equal from stage to stage", f"{next(iter(counts.values())):,} users")


def warn_features(empty: Sequence[str], constant: Sequence[str], of: int) -> list[str]:
    """Return a warning for features that are empty in the training snapshots, and for many constant ones.

    A few constant features are usual, such as the share of categories that are not listed.

    Args:
        empty: features without any value.
        constant: features with one value everywhere.
        of: number of all features.
    """
    return [
        f"{len(features)} feature{'s are' if len(features) > 1 else ' is'} {what} in training: "
        + ", ".join(features[:_SHOWN])
        + (f" and {len(features) - _SHOWN} more" if len(features) > _SHOWN else "")
        for what, features, allowed in (("empty", empty, 0), ("constant", constant, _CONSTANT * of))
        if len(features) > allowed
    ]
