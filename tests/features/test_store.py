"""The feature store and lifetime totals: a run makes rows of its own date only, equal to those of a fresh run."""

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn.config.settings import Settings
from churn.core.errors import CheckError, RunError
from churn.dataset.build import plan_dataset, run_step, run_steps
from churn.dataset.plan import DatasetPlan
from churn.dataset.run_schemas import drop_schema
from churn.dataset.unload import unload
from churn.features import store
from churn.features.aggregates import ledger, lifetime, weekly
from churn.warehouse.base import Warehouse
from churn.warehouse.duckdb.client import DuckDBWarehouse
from churn.warehouse.templates import Step
from tests.features.test_aggregates import log, update
from tests.support.data_folders import (
    AS_OF,
    TODAY,
    event,
    event_folder,
    event_settings,
    weekly_events,
    write_table,
)

WEEK = timedelta(days=7)
SUNDAYS = [AS_OF - back * WEEK for back in (3, 2, 1, 0)]
Rows = list[dict[str, Any]]


def settings_of(data: Path, sampling: str = "all", max_dates: int = 4, **more: Any) -> Settings:
    training = {"sampling": sampling, "max_dates": max_dates}
    return event_settings(data, food={"training": training, **more}, both={"match": []})


def run(
    warehouse: Warehouse, chosen: Settings, day: date, product: str = "food", **more: Any
) -> tuple[DatasetPlan, Rows]:
    """Make the feature set of a date as a run does; return the plan, and the rows in a fixed order."""
    plan = plan_dataset(warehouse, chosen, product, day, "run", today=TODAY, **more)
    run_steps(warehouse, plan)
    rows = warehouse.fetch("select * from run.feature_set").to_pylist()
    drop_schema(warehouse, "run")
    return plan, sorted(rows, key=lambda row: (row["as_of_date"], row["user_id"]))


def from_nothing(data: Path, work: Callable[[Warehouse], Any]) -> Any:
    warehouse = DuckDBWarehouse(None, data, memory="1GB", threads=2)
    try:
        return work(warehouse)
    finally:
        warehouse.close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return event_folder(tmp_path / "data", log(weeks=26))


@pytest.fixture
def warehouse(tmp_path: Path, data: Path) -> Any:
    opened = DuckDBWarehouse(tmp_path / "warehouse.duckdb", data, memory="1GB", threads=2)
    yield opened
    opened.close()


def test_the_digest_is_of_every_form_of_a_step() -> None:
    def digest_of(text: str) -> str:
        step = Step("x", "features/x.sql", "table", text, frozenset())
        return store.feature_row_tables("kept", "food", [step], [{"past": 0}, {"past": 1}], {}).digest

    text = "select {{ 'a' if past else 'b' }} as n from t"
    assert digest_of(text) == digest_of(f"-- A comment.\n{text}")
    assert (
        len({digest_of(each) for each in (text, text.replace("'a'", "'c'"), text.replace("'b'", "'c'"))}) == 3
    )


@pytest.mark.parametrize(
    ("sampling", "max_dates", "product"),
    [
        ("all", 4, "both"),
        ("cohort", 26, "food"),
        pytest.param("cohort", 4, "food", marks=pytest.mark.slow),
        pytest.param("cohort", 26, "both", marks=pytest.mark.slow),
    ],
)
def test_runs_with_stored_rows_have_the_features_of_a_run_without(
    warehouse: Warehouse, data: Path, sampling: str, max_dates: int, product: str
) -> None:
    chosen = settings_of(data, sampling, max_dates)
    for day in SUNDAYS:
        plan, rows = run(warehouse, chosen, day, product)
        assert {row["as_of_date"] for row in rows} <= {*plan.training_dates, day}
        fresh, expected = from_nothing(data, lambda other, day=day: run(other, chosen, day, product))
        assert fresh.new_dates == fresh.training_dates == plan.training_dates
        assert rows == expected


@pytest.mark.parametrize(("sampling", "max_dates"), [("all", 4), ("cohort", 26)])
def test_after_two_weeks_a_run_makes_the_rows_of_its_own_date_only(
    warehouse: Warehouse, data: Path, sampling: str, max_dates: int
) -> None:
    """Also while each week adds a past date, since there are fewer than the most there can be."""
    chosen = settings_of(data, sampling, max_dates)
    plans = [run(warehouse, chosen, day)[0] for day in SUNDAYS]
    first = len(plans[0].training_dates)
    assert [len(plan.training_dates) for plan in plans] == [min(first + back, max_dates) for back in range(4)]
    assert [len(plan.new_dates) for plan in plans] == [first, 1, 0, 0]
    assert run(warehouse, settings_of(data), AS_OF, "both")[0].new_dates  # another product has its own


def test_rebuilding_a_week_makes_the_rows_of_later_dates_again(warehouse: Warehouse, data: Path) -> None:
    chosen = settings_of(data)
    for day in SUNDAYS:
        run(warehouse, chosen, day)
    plan, rows = run(warehouse, chosen, AS_OF, rebuild_weeks=4)
    assert plan.new_dates == (AS_OF - 3 * WEEK, AS_OF - 2 * WEEK)
    assert rows == from_nothing(data, lambda other: run(other, chosen, AS_OF))[1]


def test_rows_of_two_definitions_never_mix(warehouse: Warehouse, data: Path) -> None:
    run(warehouse, settings_of(data), AS_OF)
    changed = settings_of(data, minimum_value=8.0)
    plan, rows = run(warehouse, changed, AS_OF)
    assert plan.new_dates == plan.training_dates
    assert rows == from_nothing(data, lambda other: run(other, changed, AS_OF))[1]


def test_rows_of_a_cohort_are_not_used_for_all_users(warehouse: Warehouse, data: Path) -> None:
    run(warehouse, settings_of(data, "cohort"), AS_OF)
    plan, rows = run(warehouse, settings_of(data, "all"), AS_OF)
    assert plan.new_dates == plan.training_dates
    assert rows == from_nothing(data, lambda other: run(other, settings_of(data, "all"), AS_OF))[1]
    assert (
        run(warehouse, settings_of(data, "cohort"), AS_OF)[0].new_dates == ()
    )  # everybody's hold the cohort's


@pytest.mark.parametrize(
    ("broken", "error", "message"),
    [
        ("drop table run.features_lifetime", RunError, "features_lifetime"),
        (
            "insert into run.features_lifetime select * from run.features_lifetime",
            CheckError,
            r"\d+ rows for \d+ users and dates: a feature step made several rows for one$",
        ),
        (
            "update run.features_lifetime set lifetime_active_rate = 1.25",
            CheckError,
            r"features_lifetime\.sql: lifetime_active_rate goes from 1.25 to 1.25 .*; its range in the catalogue is from 0 to 1$",
        ),
        (
            "update run.window_sums set days_13w = -2",
            CheckError,
            r"features_activity\.sql: days_13w goes from -2 to -2 days; its range in the catalogue is from 1 to 91",
        ),
        (
            "update run.window_sums set value_13w = -2",
            CheckError,
            r"features_activity\.sql: value_13w goes from -2 to -2 .*; its range in the catalogue is 0 or more",
        ),
    ],
)
def test_a_failure_leaves_the_stored_rows_unchanged(
    warehouse: Warehouse, data: Path, broken: str, error: type[Exception], message: str
) -> None:
    plan, before = run(warehouse, settings_of(data), AS_OF)
    again = plan_dataset(warehouse, settings_of(data), "food", AS_OF, "run", today=TODAY)
    for step in again.steps:
        if step.name == store.ROWS:
            warehouse.execute(broken)
            with pytest.raises(error, match=message):
                run_step(warehouse, again, step)
            break
        run_step(warehouse, again, step)
    table = plan.tables.rows.table(store.ROWS)
    counted = warehouse.fetch(f"select count(*) as n from {table}")["n"][0].as_py()
    assert counted == len(before)
    drop_schema(warehouse, "run")
    assert run(warehouse, settings_of(data), AS_OF)[0].new_dates == ()


def test_deleted_weeks_leave_no_lifetime_totals(data: Path, tmp_path: Path) -> None:
    """Older files are removed, as where activity is stored for a limited time."""
    chosen = settings_of(data)
    for weeks in (26, 20):
        write_table(data, "events.activity", [*log(weeks=weeks), *weekly_events(["u1", "regular"], weeks)])
        warehouse = DuckDBWarehouse(tmp_path / "warehouse.duckdb", data, memory="1GB", threads=2)
        found = [run(warehouse, chosen, AS_OF)[1] for _ in range(2)]
        warehouse.close()
        expected = from_nothing(data, lambda other: run(other, chosen, AS_OF))[1]
        assert found == [expected, expected]


def test_lifetime_totals_are_complete_when_another_run_rebuilds_weeks_meanwhile(
    warehouse: Warehouse, data: Path
) -> None:
    chosen = settings_of(data)
    plan = plan_dataset(warehouse, chosen, "food", AS_OF, "run", today=TODAY)
    plan_dataset(warehouse, chosen, "food", AS_OF - WEEK, "earlier", today=TODAY, rebuild_weeks=1)
    run_steps(warehouse, plan)
    rows = warehouse.fetch("select * from run.feature_set").to_pylist()
    expected = from_nothing(data, lambda other: run(other, chosen, AS_OF))[1]
    assert sorted(rows, key=lambda row: (row["as_of_date"], row["user_id"])) == expected


def test_rows_that_another_run_deletes_meanwhile_give_an_error(
    warehouse: Warehouse, data: Path, tmp_path: Path
) -> None:
    chosen = settings_of(data, max_dates=2)
    plan = plan_dataset(warehouse, chosen, "food", AS_OF - 3 * WEEK, "run_early", today=TODAY)
    run_steps(warehouse, plan)
    (folder := tmp_path / "train").mkdir()
    assert unload(warehouse, plan, "train", folder, 1000)
    run(warehouse, chosen, AS_OF)
    gone = rf"feature rows of {plan.training_dates[0]}, .* were deleted .* Run again"
    with pytest.raises(RunError, match=gone):
        unload(warehouse, plan, "train", folder, 1000)
    again = plan_dataset(warehouse, chosen, "food", AS_OF - 3 * WEEK, "run_again", today=TODAY)
    assert again.new_dates == again.training_dates


def update_lifetime(warehouse: Warehouse, data: Path, until: date) -> Rows:
    """Update the totals; return them up to a day, and check the latest row of each user."""
    chosen = settings_of(data)
    definition = weekly.aggregate_tables(chosen)
    tables = lifetime.lifetime_tables(definition, chosen.products["food"])
    versions = ledger.week_versions(warehouse, definition)
    known = {week: version for week, version in versions.items() if week <= until}
    lifetime.update_lifetime(warehouse, tables, known)
    rows = warehouse.fetch(f"select * from {tables.table(lifetime.LIFETIME)}").to_pylist()
    state = warehouse.fetch(f"select * from {tables.table(lifetime.LATEST)}").to_pylist()
    latest = {row["user_id"]: row for row in sorted(rows, key=lambda row: row["week_start"])}
    assert {row["user_id"]: row for row in state} == latest
    return sorted((row for row in rows if row["week_start"] <= until), key=str)


@settings(max_examples=6)
@given(
    order=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), min_size=1, max_size=5),
    late=st.lists(st.integers(0, 50), max_size=3),
)
def test_lifetime_totals_do_not_depend_on_the_order_of_updates(
    tmp_path_factory: pytest.TempPathFactory, order: Sequence[tuple[int, int]], late: Sequence[int]
) -> None:
    place = tmp_path_factory.mktemp("lifetime")
    data = event_folder(place / "data", log(users=4, weeks=8))
    warehouse = DuckDBWarehouse(place / "warehouse.duckdb", data, memory="1GB", threads=1)
    try:
        for back, rebuild in order:
            update(warehouse, data, AS_OF - back * WEEK, rebuild_weeks=rebuild)
            update_lifetime(warehouse, data, AS_OF - back * WEEK)
        if late:  # a new file, which is read where weeks are new or rebuilt
            more = [event("u1", AS_OF - timedelta(days=day), product="food", value=2.0) for day in late]
            event_folder(place / "more", more)
            source = next((place / "more" / "tables" / "events.activity").glob("*.parquet"))
            source.rename(data / "tables" / "events.activity" / "part-late.parquet")
        update(warehouse, data, AS_OF, rebuild_weeks=10)
        found = update_lifetime(warehouse, data, AS_OF)
    finally:
        warehouse.close()

    def once(other: Warehouse) -> Rows:
        update(other, data, AS_OF)
        return update_lifetime(other, data, AS_OF)

    assert found == from_nothing(data, once)
