"""Weekly aggregates: each raw row is read once, and the tables always equal those of a fresh build."""

import os
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import date, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn.config.settings import Settings
from churn.core.errors import ConfigError, RunError, SourceError, UsageError
from churn.dataset.build import plan_dataset, run_steps
from churn.dataset.run_schemas import drop_schema
from churn.features.aggregates import ledger, weekly
from churn.jobs import prune
from churn.warehouse.base import Warehouse
from churn.warehouse.duckdb.client import DuckDBWarehouse
from churn.warehouse.redshift.client import RedshiftWarehouse
from churn.warehouse.templates import create, load_step
from tests.support.data_folders import (
    AS_OF,
    TODAY,
    event,
    event_folder,
    event_settings,
    weekly_events,
    write_table,
)
from tests.support.fixtures_aws import Bucket, Redshift
from tests.support.weekly_jobs import fill

Open = Callable[..., DuckDBWarehouse]
Rows = list[dict[str, Any]]
WEEK = timedelta(days=7)
MONDAY = AS_OF - timedelta(days=6)
WEEKS = 20


def log(users: int = 12, weeks: int = WEEKS, last: date = AS_OF, seed: int = 1) -> Rows:
    """Events of two products at random days, items and amounts."""
    rng = random.Random(seed)
    return [
        event(
            f"u{user}",
            last - timedelta(days=rng.randrange(7 * weeks)),
            product=rng.choice(["food", "drink"]),
            item_id=f"i{rng.randrange(5)}",
            value=rng.choice([0.25, 1.5, 3.0]),
        )
        for user in range(users)
        for _ in range(2 * weeks)
    ]


def settings_of(data: Path) -> Settings:
    return event_settings(data, food={}, drink={}, both={"match": []})


def update(
    warehouse: Warehouse, data: Path, until: date, schema: str = "run", **more: Any
) -> weekly.AggregateUpdate:
    """Update the aggregates as a run does, with its own view of the activity."""
    chosen = settings_of(data)
    warehouse.execute(f"create schema if not exists {schema}")
    if not warehouse.columns(f"{schema}.activity"):
        view = create(load_step("sources/events/activity.sql", {}), {}, {}, schema, warehouse.dialect)
        warehouse.execute(view.sql)
    return weekly.update_aggregates(warehouse, chosen, schema, until, today=TODAY, **more)


def tables(warehouse: Warehouse, data: Path, until: date = AS_OF) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of every aggregate up to a day, sorted."""
    definition = weekly.aggregate_tables(settings_of(data))
    aggregates = {}
    for name in weekly.AGGREGATES:
        rows = warehouse.fetch(f"select * from {definition.table(name)}").to_pylist()
        aggregates[name] = sorted((row for row in rows if row["week_start"] <= until), key=str)
    return aggregates


def fresh(data: Path, until: date = AS_OF) -> dict[str, list[dict[str, Any]]]:
    """Return the tables of a build from nothing."""
    warehouse = DuckDBWarehouse(None, data, memory="1GB", threads=2)
    try:
        update(warehouse, data, until)
        return tables(warehouse, data)
    finally:
        warehouse.close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return event_folder(tmp_path / "data", log())


@pytest.fixture(params=["duckdb", "redshift"])
def warehouse(
    request: pytest.FixtureRequest, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Warehouse]:
    if request.param == "duckdb":
        opened: Warehouse = DuckDBWarehouse(tmp_path / "warehouse.duckdb", data, memory="1GB", threads=2)
    else:
        redshift: Redshift = request.getfixturevalue("redshift")
        bucket: Bucket = request.getfixturevalue("bucket")
        monkeypatch.setenv("CHURN_REDSHIFT_USER", "churn")
        monkeypatch.setenv("CHURN_REDSHIFT_PASSWORD", "unused")
        opened = RedshiftWarehouse(redshift.settings())
        fill(opened, data, bucket)
    yield opened
    opened.close()


def test_updating_week_by_week_gives_the_tables_of_one_build(warehouse: Warehouse, data: Path) -> None:
    for back in range(WEEKS - 1, -1, -1):
        result = update(warehouse, data, AS_OF - back * WEEK)
        assert len(result.weeks) == 1
    assert result.warnings == ()
    assert tables(warehouse, data) == fresh(data)


def test_a_run_reads_the_raw_rows_of_new_weeks_only(warehouse: Warehouse, data: Path) -> None:
    rows = log()
    first = update(warehouse, data, AS_OF - WEEK)
    second = update(warehouse, data, AS_OF)
    again = update(warehouse, data, AS_OF)
    new = sum(row["occurred_at"].date() >= MONDAY for row in rows)
    assert (first.raw_rows, second.raw_rows, again.raw_rows) == (len(rows) - new, new, 0)
    assert (second.weeks, again.weeks) == ((MONDAY,), ())


def test_rebuilding_weeks_in_any_order_changes_nothing(warehouse: Warehouse, data: Path) -> None:
    update(warehouse, data, AS_OF)
    expected = tables(warehouse, data)
    for until, weeks in ((AS_OF, 3), (AS_OF - 5 * WEEK, 2), (AS_OF, 1), (AS_OF - WEEK, 0)):
        result = update(warehouse, data, until, rebuild_weeks=weeks)
        assert len(result.weeks) == weeks
        assert tables(warehouse, data) == expected


def test_weeks_that_another_run_made_meanwhile_are_not_made_again(
    warehouse: Warehouse, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition, versions = weekly.aggregate_tables(settings_of(data)), []
    transaction = warehouse.transaction

    def after_another_run(*, computes: bool = False) -> Any:
        if computes and not versions:
            versions.append(True)
            assert update(warehouse, data, AS_OF, "other").raw_rows
            versions.append(ledger.week_versions(warehouse, definition))
        return transaction(computes=computes)

    monkeypatch.setattr(warehouse, "transaction", after_another_run)
    assert update(warehouse, data, AS_OF).raw_rows == 0
    assert ledger.week_versions(warehouse, definition) == versions[1]
    assert tables(warehouse, data) == fresh(data)


def test_weeks_that_were_deleted_meanwhile_are_made(
    warehouse: Warehouse, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update(warehouse, data, AS_OF)
    ledger_table, transaction = (
        weekly.aggregate_tables(settings_of(data)).table(ledger.WEEKS.name),
        warehouse.transaction,
    )

    def after_forgetting(*, computes: bool = False) -> Any:
        if computes:
            warehouse.execute(f"delete from {ledger_table}")
        return transaction(computes=computes)

    monkeypatch.setattr(warehouse, "transaction", after_forgetting)
    assert update(warehouse, data, AS_OF, rebuild_weeks=2).raw_rows
    monkeypatch.undo()
    update(warehouse, data, AS_OF)
    assert tables(warehouse, data) == fresh(data)


def test_a_failure_within_a_chunk_leaves_complete_weeks_only(
    warehouse: Warehouse, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update(warehouse, data, AS_OF - 3 * WEEK)
    before = tables(warehouse, data)
    monkeypatch.setattr(weekly, "week_row", lambda *_: (_ for _ in ()).throw(RunError("gone")))
    with pytest.raises(RunError, match="gone"):
        update(warehouse, data, AS_OF)
    assert tables(warehouse, data) == before
    monkeypatch.undo()
    update(warehouse, data, AS_OF)
    assert tables(warehouse, data) == fresh(data)


def test_late_rows_give_a_warning_and_are_read_on_request(warehouse: Warehouse, data: Path) -> None:
    update(warehouse, data, AS_OF)
    definition = weekly.aggregate_tables(settings_of(data))
    # As if two of the week's rows had come late.
    week = MONDAY - 2 * WEEK
    warehouse.execute(
        f"update {definition.table('weeks')} set raw_rows = raw_rows - 2"
        f" where week_start = date '{week.isoformat()}'"
    )
    late = update(warehouse, data, AS_OF)
    assert late.warnings == (
        f"rows of 1 past week, the oldest from {week}, changed after they were read: 2 came late. "
        "--rebuild-weeks 3 reads them again",
    )
    assert late.weeks == ()
    # The warning stays until the week is rebuilt, and rows are not counted again.
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(weekly, "record_row_counts", None)
        assert update(warehouse, data, AS_OF).warnings == late.warnings
    assert update(warehouse, data, AS_OF, rebuild_weeks=3).warnings == ()
    assert update(warehouse, data, AS_OF).warnings == ()


def test_late_rows_in_a_new_file_count_after_a_rebuild_of_their_week(
    data: Path, open_warehouse: Open
) -> None:
    database = data.parent / "kept.duckdb"
    opened = open_warehouse(data, database)
    update(opened, data, AS_OF)
    opened.close()
    late = [event("late", MONDAY - WEEK, product="food", item_id="i1")]
    write_table(data, "events.activity", late, part=1)
    opened = open_warehouse(data, database)
    assert "1 came late" in update(opened, data, AS_OF).warnings[0]
    assert all(row["user_id"] != "late" for row in tables(opened, data)["user_week"])
    assert len(update(opened, data, AS_OF, rebuild_weeks=2).weeks) == 2
    assert tables(opened, data) == fresh(data)


def test_weeks_before_the_first_stored_week_are_made(data: Path, open_warehouse: Open) -> None:
    database = data.parent / "kept.duckdb"
    opened = open_warehouse(data, database)
    update(opened, data, AS_OF)
    opened.close()
    old = AS_OF - (WEEKS + 2) * WEEK
    write_table(data, "events.activity", [event("old", old, product="food")], part=1)
    opened = open_warehouse(data, database)
    assert len(update(opened, data, AS_OF).weeks) == 3
    assert tables(opened, data) == fresh(data)


def test_a_changed_file_makes_all_weeks_again(data: Path, open_warehouse: Open) -> None:
    database = data.parent / "kept.duckdb"
    opened = open_warehouse(data, database)
    update(opened, data, AS_OF)
    opened.close()
    path = write_table(data, "events.activity", log(seed=2))
    os.utime(path, (1, 1))
    opened = open_warehouse(data, database)
    assert len(update(opened, data, AS_OF).weeks) == WEEKS
    assert tables(opened, data) == fresh(data)


def test_a_changed_definition_has_its_own_tables(data: Path) -> None:
    ours = weekly.aggregate_tables(settings_of(data))
    other = weekly.aggregate_tables(
        event_settings(data, food={"categories": ["Fruit"]}, drink={}, both={"match": []})
    )
    assert ours.digest != other.digest
    assert ours.table("user_week") != other.table("user_week")
    assert ours == weekly.aggregate_tables(settings_of(data))


def test_two_categories_with_one_feature_name_are_refused(data: Path) -> None:
    chosen = event_settings(data, food={"categories": ["Fruit & Veg"]}, drink={"categories": ["fruit veg"]})
    with pytest.raises(ConfigError, match=r"'food' and 'drink' have categories that give the same feature"):
        weekly.aggregate_tables(chosen)


def test_products_share_the_aggregates(warehouse: Warehouse, data: Path) -> None:
    chosen = settings_of(data)
    counts = {}
    for name in ("food", "drink", "both"):
        plan = plan_dataset(warehouse, chosen, name, AS_OF, f"run_{name}", today=TODAY)
        counts[name] = run_steps(warehouse, plan)["user_week"]
        facts = warehouse.fetch(f"select sum(events) as events from run_{name}.user_week")
        assert facts["events"][0].as_py() == plan.facts.rows
        drop_schema(warehouse, f"run_{name}")
    assert max(counts["food"], counts["drink"]) < counts["both"] < counts["food"] + counts["drink"]
    assert update(warehouse, data, AS_OF).raw_rows == 0


def test_two_first_runs_can_create_the_tables_at_the_same_time(
    redshift: Redshift, bucket: Bucket, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHURN_REDSHIFT_USER", "churn")
    monkeypatch.setenv("CHURN_REDSHIFT_PASSWORD", "unused")
    expected = fresh(data, AS_OF)
    with ExitStack() as stack:
        opened = [
            stack.enter_context(closing(RedshiftWarehouse(redshift.settings()))),
            stack.enter_context(closing(RedshiftWarehouse(redshift.settings()))),
        ]
        fill(opened[0], data, bucket)
        pool = stack.enter_context(ThreadPoolExecutor(2))
        for index in range(8):  # two that begin at the same moment are in each other's way in most rounds
            chosen = settings_of(data).model_copy(update={"kept_schema": f"kept_{index}"})
            barrier = Barrier(2, timeout=60)

            def first(number: int, chosen: Settings = chosen, barrier: Barrier = barrier) -> None:
                warehouse, schema = opened[number], f"run_{chosen.kept_schema}_{number}"
                warehouse.execute(f"create schema {schema}")
                view = create(load_step("sources/events/activity.sql", {}), {}, {}, schema, "redshift")
                warehouse.execute(view.sql)
                barrier.wait()
                weekly.update_aggregates(warehouse, chosen, schema, AS_OF, today=TODAY)

            for done in [pool.submit(first, number) for number in range(2)]:
                done.result()
            facts = weekly.aggregate_tables(chosen).table("week_facts")
            found = opened[0].fetch(f"select * from {facts}").to_pylist()
            assert sorted(found, key=str) == expected["week_facts"]


def test_a_week_without_activity_gives_a_warning(tmp_path: Path, open_warehouse: Open) -> None:
    hole = {MONDAY - 4 * WEEK + timedelta(days=day) for day in range(7)}
    data = event_folder(tmp_path, [row for row in log() if row["occurred_at"].date() not in hole])
    opened = open_warehouse(data)
    assert update(opened, data, AS_OF).warnings == ()
    plan = plan_dataset(opened, settings_of(data), "food", AS_OF, "run_food", today=TODAY)
    missing, left_out = plan.warnings
    assert missing.startswith(
        f"activity is missing in 1 week: of {MONDAY - 4 * WEEK} (no activity of any product)"
    )
    assert plan.left_out == (AS_OF - 6 * WEEK, AS_OF - 4 * WEEK)
    assert all(str(day) in left_out for day in plan.left_out)


def test_weeks_with_faulty_rows_are_read_again_after_a_correction(warehouse: Warehouse, data: Path) -> None:
    """A table that is updated in place has no files whose change shows."""
    if warehouse.dialect == "duckdb":
        pytest.skip("its tables are files, and a changed file makes all weeks again")
    warehouse.execute("update events.activity set value = -1 where user_id = 'u1'")
    with pytest.raises(SourceError, match="have a negative value"):
        plan_dataset(warehouse, settings_of(data), "food", AS_OF, "one", today=TODAY)
    warehouse.execute("update events.activity set value = 1 where user_id = 'u1'")
    assert plan_dataset(warehouse, settings_of(data), "food", AS_OF, "two", today=TODAY).facts.rows > 0


def test_a_faulty_oldest_week_goes_with_its_rows(warehouse: Warehouse, data: Path) -> None:
    if warehouse.dialect == "duckdb":
        pytest.skip("its tables are files, and a changed file makes all weeks again")
    old = AS_OF - (WEEKS + 2) * WEEK
    first = "select min(occurred_at) from events.activity"
    warehouse.execute(
        f"update events.activity set value = -1, occurred_at = '{old}' where occurred_at = ({first})"
    )
    with pytest.raises(SourceError, match="have a negative value"):
        plan_dataset(warehouse, settings_of(data), "food", AS_OF, "one", today=TODAY)
    warehouse.execute("delete from events.activity where value = -1")
    assert plan_dataset(warehouse, settings_of(data), "food", AS_OF, "two", today=TODAY).facts.rows > 0


@settings(max_examples=10)
@given(
    days=st.lists(st.tuples(st.integers(0, 7 * WEEKS - 1), st.integers(0, 2)), min_size=1, max_size=40),
    order=st.permutations(range(4)),
)
def test_any_order_of_updates_gives_the_same_tables(
    days: Sequence[tuple[int, int]], order: Sequence[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = [event(f"u{user}", AS_OF - timedelta(days=back), product="food") for back, user in days]
    data = event_folder(tmp_path_factory.mktemp("log"), [*rows, *weekly_events(["u"], 1, product="food")])
    opened = DuckDBWarehouse(None, data, memory="1GB", threads=1)
    try:
        for back in (*order, 0):
            update(opened, data, AS_OF - back * WEEK)
        assert tables(opened, data) == fresh(data)
    finally:
        opened.close()


def build_features(warehouse: Warehouse, chosen: Settings, day: date) -> tuple[tuple[date, ...], Rows]:
    """Make the features of food as a run does; return the new dates and the rows."""
    plan = plan_dataset(warehouse, chosen, "food", day, "run", today=TODAY)
    run_steps(warehouse, plan)
    rows = warehouse.fetch("select * from run.feature_set").to_pylist()
    drop_schema(warehouse, "run")
    return plan.new_dates, sorted(rows, key=str)


def test_tables_of_outdated_definitions_are_removed(warehouse: Warehouse, data: Path) -> None:
    short = {"training": {"max_dates": 3, "sampling": "all"}}
    old = event_settings(data, food={**short, "categories": ["Drama"]})
    new = event_settings(data, food=short)
    for chosen, back in ((old, 2), (new, 1), (new, 0)):
        _, rows = build_features(warehouse, chosen, AS_OF - back * WEEK)

    def existing() -> set[str]:
        text = "select table_name from information_schema.tables where table_schema = 'churn_kept'"
        return {f"churn_kept.{name}" for name in warehouse.fetch(text)["table_name"].to_pylist()}

    before = existing()
    assert prune.prune(warehouse, "churn_kept", 2, dry_run=False) == []
    planned = prune.prune(warehouse, "churn_kept", 1, dry_run=True)
    assert {outdated.tables[0].rpartition("_")[0] for outdated in planned} == {
        f"churn_kept.{ledger.name}" for ledger in prune.LEDGERS
    }
    assert {outdated.reached for outdated in planned} == {MONDAY - 2 * WEEK}
    assert existing() == before
    assert prune.prune(warehouse, "churn_kept", 1, dry_run=False) == planned
    gone = {name for outdated in planned for name in outdated.tables}
    assert len(gone) == 11
    assert existing() == before - gone
    assert prune.prune(warehouse, "churn_kept", 1, dry_run=False) == []
    assert build_features(warehouse, new, AS_OF) == ((), rows)


def test_very_large_keep_weeks_removes_nothing_or_is_refused(data: Path, open_warehouse: Open) -> None:
    opened = open_warehouse(data)
    opened.execute("create schema kept_of_old")
    for digest, week in (("0a", AS_OF), ("0b", date(1, 1, 1))):
        opened.execute(f"create table kept_of_old.weeks_{digest} as select date '{week}' as week_start")
    assert len(prune.prune(opened, "kept_of_old", 5200, dry_run=True)) == 1
    opened.execute("drop table kept_of_old.weeks_0a")
    assert prune.prune(opened, "kept_of_old", 1, dry_run=True) == []
    for weeks in (0, 200_000, 10**30):
        with pytest.raises(UsageError, match=f"keep_weeks is {weeks}: give 1 to 5200 weeks"):
            prune.prune(opened, "kept_of_old", weeks, dry_run=True)
