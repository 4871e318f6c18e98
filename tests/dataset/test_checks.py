from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from churn.core.errors import CheckError
from churn.dataset.build import plan_dataset, run_steps
from churn.dataset.checks import CheckResult, check_equal_rows, check_snapshots, warn_features
from churn.dataset.plan import DatasetPlan
from churn.warehouse.duckdb.client import DuckDBWarehouse
from tests.support.data_folders import AS_OF, TODAY, event, event_folder, event_settings, weekly_events

Opened = tuple[DuckDBWarehouse, DatasetPlan, dict[str, int]]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """A warehouse in which the steps of a small product have run, with their rows."""
    events = weekly_events(["a", "b"], 24) + weekly_events(["left"], 6, last=AS_OF - timedelta(days=14))
    data = event_folder(tmp_path_factory.mktemp("checks"), events)
    warehouse = DuckDBWarehouse(None, data, memory="500MB", threads=1)
    plan = plan_dataset(warehouse, event_settings(data), "food", AS_OF, "run", today=TODAY)
    yield warehouse, plan, run_steps(warehouse, plan)
    warehouse.close()


def weeks_of(opened: Opened) -> str:
    """The kept table that the run's view user_week shows."""
    return opened[1].tables.aggregates.table("user_week")


@pytest.fixture
def break_with(opened: Opened) -> Iterator[Callable[..., str]]:
    """Change the tables, check them, and give back the message; afterwards they are whole again."""
    warehouse, plan, rows = opened
    tables = ("run.snapshots", weeks_of(opened))
    for table in tables:
        warehouse.execute(f"create table {table}_whole as select * from {table}")

    def break_(*statements: str, **counts: int) -> str:
        for statement in statements:
            warehouse.execute(statement)
        with pytest.raises(CheckError) as refused:
            check_snapshots(warehouse, plan, rows | counts)
        assert refused.value.stage == "snapshots"
        assert str(refused.value).startswith(
            f"snapshots: {len(refused.value.failures)} check(s) failed\n  - "
        )
        return "\n".join(refused.value.failures)

    yield break_
    for table in tables:
        warehouse.execute(f"create or replace table {table} as select * from {table}_whole")
        warehouse.execute(f"drop table {table}_whole")


def test_sound_snapshots_pass_and_say_what_was_checked(
    opened: Opened,
) -> None:
    passed = check_snapshots(*opened)
    count = opened[2]["snapshots"]
    assert passed == [
        CheckResult("unique snapshot keys", f"{count} (user, as-of date) pairs"),
        CheckResult("no activity after the as-of date", f"read up to {AS_OF}"),
        CheckResult("one feature row a snapshot", f"{count} rows"),
    ]


def test_a_snapshot_that_is_there_twice_fails(break_with: Callable[..., str]) -> None:
    twice = "insert into run.snapshots select * from run.snapshots where user_id = 'a' and purpose = 'score'"
    assert break_with(twice) == "run.snapshots: 1 duplicate (user, as-of date) keys"


def test_a_snapshot_without_a_user_fails(break_with: Callable[..., str]) -> None:
    nobody = "update run.snapshots set user_id = null where user_id = 'a' and purpose = 'score'"
    assert break_with(nobody) == "run.snapshots: 1 rows without a user id"


def test_activity_from_after_the_as_of_date_fails(opened: Opened, break_with: Callable[..., str]) -> None:
    late = f"update {weeks_of(opened)} set last_date = date '2024-07-01' where week_start = date '2024-06-24'"
    assert break_with(late) == "run.user_week: 2 rows hold activity after 2024-06-30"


def test_nobody_to_score_fails(break_with: Callable[..., str]) -> None:
    nobody = "delete from run.snapshots where purpose = 'score'"
    assert break_with(nobody) == ("run.snapshots: nobody is eligible on 2024-06-30; see `minimum_value`")


def test_a_training_row_without_a_label_fails(break_with: Callable[..., str]) -> None:
    unlabelled = "update run.snapshots set churned = null where purpose = 'train' and user_id = 'b'"
    assert break_with(unlabelled).endswith("training rows have no label")


def test_a_feature_row_too_many_fails(opened: Opened, break_with: Callable[..., str]) -> None:
    count = opened[2]["snapshots"]
    message = break_with(feature_set=count + 1)
    assert message.startswith(
        f"run.feature_set has {count + 1} rows, and run.snapshots {count}: a feature step"
    )


def test_everything_that_broke_is_listed(opened: Opened, break_with: Callable[..., str]) -> None:
    message = break_with(
        "insert into run.snapshots select * from run.snapshots",
        "update run.snapshots set churned = null",
        "delete from run.snapshots where purpose = 'score'",
        f"update {weeks_of(opened)} set last_date = date '2025-01-01'",
        feature_set=1,
    )
    assert len(message.splitlines()) == 5


def test_equal_row_counts_pass() -> None:
    assert check_equal_rows("scoring", {"unloaded": 1200, "scored": 1200}).detail == "1,200 users"


def test_unequal_row_counts_fail_with_every_stage() -> None:
    with pytest.raises(CheckError, match="unloaded 1,200, scored 1,199") as refused:
        check_equal_rows("scoring", {"unloaded": 1200, "scored": 1199})
    assert refused.value.stage == "scoring"


def test_features_that_say_nothing_are_warned_of() -> None:
    assert warn_features(["empty", "no_text"], ["zero", "one_text"], 7) == [
        "2 features are empty in training: empty, no_text",
        "2 features are constant in training: zero, one_text",
    ]


def test_a_few_constant_features_give_no_warning() -> None:
    assert warn_features([], [], 2) == []
    assert warn_features([], ["f00"], 12) == []


def test_a_long_list_of_features_is_cut_and_counted() -> None:
    [warning] = warn_features([f"f{n:02d}" for n in range(12)], [], 12)
    assert warning.startswith("12 features are empty in training: f00, f01")
    assert warning.endswith("f09 and 2 more")
    [warning] = warn_features(["f01"], [], 12)
    assert warning == "1 feature is empty in training: f01"


def test_an_event_of_a_user_in_the_target_week_is_not_read(tmp_path: Path) -> None:
    """The check looks at what was read, and what comes later is not read at all."""
    events = [*weekly_events(["a", "b"], 24), event("a", AS_OF + timedelta(days=9))]
    data = event_folder(tmp_path, events)
    warehouse = DuckDBWarehouse(None, data, memory="500MB", threads=1)
    try:
        plan = plan_dataset(warehouse, event_settings(data), "food", AS_OF, "run", today=TODAY)
        assert len(check_snapshots(warehouse, plan, run_steps(warehouse, plan))) == 3
    finally:
        warehouse.close()
