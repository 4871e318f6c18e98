"""Dates whose labels would be made by missing data are left out, and everybody is told."""

import json
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from churn.core.errors import IncompleteWeekError, SourceError
from churn.dataset.build import plan_dataset, run_steps
from churn.dataset.plan import DatasetPlan
from churn.jobs.backtest import backtest
from churn.warehouse.duckdb.client import DuckDBWarehouse
from tests.support.data_folders import AS_OF, TODAY, event, event_folder, event_settings

Open = Callable[[Path], DuckDBWarehouse]
Rows = Sequence[dict[str, Any]]
DAY, WEEK = timedelta(days=1), timedelta(days=7)
MONDAY = AS_OF - 6 * DAY
WEEKS = 24


def people(product: str = "food", users: int = 60, weeks: int = WEEKS) -> list[dict[str, Any]]:
    """Users who come on some two days in three weeks of four."""
    rng = np.random.default_rng(len(product))
    return [
        event(f"u{user:03d}", AS_OF - (7 * back + int(day)) * DAY, product=product)
        for user in range(users)
        for back in range(weeks)
        if rng.random() < 0.75
        for day in rng.integers(0, 7, 2)
    ]


def without(rows: Rows, week: date, product: str = "food", every: int = 0) -> list[dict[str, Any]]:
    """Leave out what a product has in a week, but for each ``every``-th row."""
    return [
        row
        for index, row in enumerate(rows)
        if row["product"] != product
        or not week <= row["occurred_at"].date() < week + WEEK
        or (every and index % every == 0)
    ]


def planned(
    tmp_path: Path, open_warehouse: Open, rows: Rows, name: str = "food", as_of: date = AS_OF, **product: Any
) -> tuple[DuckDBWarehouse, DatasetPlan]:
    data = event_folder(tmp_path / "data", rows)
    products = {"food": {}, "drink": {}, "any": {"match": []}}
    chosen = event_settings(data, **{**products, name: {**products[name], **product}})
    opened = open_warehouse(data)
    return opened, plan_dataset(opened, chosen, name, as_of, "run", today=TODAY)


@pytest.mark.parametrize("every", [0, 20])
def test_dates_that_a_missing_week_spoils_are_left_out(
    tmp_path: Path, open_warehouse: Open, caplog: pytest.LogCaptureFixture, every: int
) -> None:
    week = MONDAY - 5 * WEEK
    opened, plan = planned(tmp_path, open_warehouse, without(people(), week, every=every))
    target_of, last_of = week - 8 * DAY, week + 6 * DAY
    assert plan.left_out == (target_of, last_of)
    assert not {*plan.left_out} & {*plan.training_dates}
    assert len(plan.training_dates) == WEEKS - 14 - 2
    run_steps(opened, plan)
    rates = opened.fetch(
        "select as_of_date, avg(churned) as rate from run.snapshots where purpose = 'train' group by 1"
    ).to_pylist()
    assert {row["as_of_date"] for row in rates} == {*plan.training_dates}
    assert max(row["rate"] for row in rates) < 0.6
    missing, left_out = plan.warnings
    assert f"activity is missing in 1 week: of {week} (" in missing
    assert "active users, usually about 4" in missing
    assert "--rebuild-weeks 6" in missing
    assert f'"{week}" to quiet_weeks under [products.food]' in missing
    assert f"the as-of dates {target_of}, {last_of} are left out" in left_out
    assert [record.getMessage() for record in caplog.records] == [f"food: {each}" for each in plan.warnings]


def test_a_week_that_no_product_has_is_missing_however_small_they_are(
    tmp_path: Path, open_warehouse: Open
) -> None:
    week = MONDAY - 5 * WEEK
    _, plan = planned(tmp_path, open_warehouse, without(people(users=4), week))
    assert plan.left_out == (week - 8 * DAY, week + 6 * DAY)
    assert f"of {week} (no activity of any product)" in plan.warnings[0]


def test_each_of_several_target_weeks_counts(tmp_path: Path, open_warehouse: Open) -> None:
    week = MONDAY - 5 * WEEK
    _, plan = planned(tmp_path, open_warehouse, without(people(), week), target_weeks=2)
    assert plan.left_out == (week - 15 * DAY, week - 8 * DAY, week + 6 * DAY)


def test_another_product_is_not_touched_and_any_product_is(tmp_path: Path, open_warehouse: Open) -> None:
    week = MONDAY - 5 * WEEK
    rows = without([*people(), *people("drink", 90)], week)
    _, drink = planned(tmp_path, open_warehouse, rows, "drink")
    assert (drink.left_out, drink.warnings) == ((), ())
    _, both = planned(tmp_path, open_warehouse, rows, "any")
    assert both.left_out == (week - 8 * DAY, week + 6 * DAY)
    assert "0 active users of food, usually about 4" in both.warnings[0]


def test_a_week_that_was_really_quiet_can_be_declared(tmp_path: Path, open_warehouse: Open) -> None:
    week = MONDAY - 5 * WEEK
    rows = without(people(), week, every=20)
    _, plan = planned(tmp_path, open_warehouse, rows, quiet_weeks=[f"{week}"])
    assert (plan.left_out, plan.warnings) == ((), ())
    assert len(plan.training_dates) == WEEKS - 14


def test_a_last_week_that_is_nearly_empty_is_refused(tmp_path: Path, open_warehouse: Open) -> None:
    rows = without(people(), MONDAY, every=20)
    told = rf"is missing in the week that ends on {AS_OF}: \d active users, usually about 4\d\. Load .*"
    with pytest.raises(IncompleteWeekError, match=told + f"latest as-of date is {AS_OF - WEEK}"):
        planned(tmp_path, open_warehouse, rows)
    _, plan = planned(tmp_path, open_warehouse, rows, quiet_weeks=[f"{MONDAY}"])
    assert plan.left_out == ()


def test_a_last_week_that_ends_early_is_told(tmp_path: Path, open_warehouse: Open) -> None:
    rows = [row for row in people(users=200) if row["occurred_at"].date() < AS_OF - DAY]
    _, plan = planned(tmp_path, open_warehouse, rows)
    assert plan.left_out == (AS_OF - 2 * WEEK,)
    assert plan.warnings[0].startswith(
        f"activity is missing in the last observed week, of {MONDAY}: next to no activity on Sat, Sun. People"
    )


def test_too_few_dates_that_are_right_are_refused(tmp_path: Path, open_warehouse: Open) -> None:
    rows = without(people(weeks=18), MONDAY - 2 * WEEK)
    with pytest.raises(
        SourceError, match=r"has 2 as-of dates .* but 4 are needed: 2 are left out, since acti"
    ):
        planned(tmp_path, open_warehouse, rows)


def test_stored_rows_of_other_dates_stay_useful(tmp_path: Path, open_warehouse: Open) -> None:
    """With one date a user, the users of a date that is left out are not given to other dates."""
    week = MONDAY - 5 * WEEK
    training = {"sampling": "cohort", "max_dates": 12}
    _, whole = planned(tmp_path / "whole", open_warehouse, people(), training=training)
    _, spoilt = planned(tmp_path / "spoilt", open_warehouse, without(people(), week), training=training)
    assert spoilt.left_out
    assert spoilt.users == {day: whole.users[day] for day in spoilt.training_dates}


def test_a_back_test_leaves_out_dates_that_cannot_be_judged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = event_folder(tmp_path / "data", without(people(users=120, weeks=30), MONDAY - 2 * WEEK))
    few = {"max_trees": 5, "minimum_rows": 20, "minimum_class_rows": 2, "sampling": "all"}
    chosen = event_settings(data, food={"training": few})
    spoilt = [AS_OF - 4 * WEEK, AS_OF - 2 * WEEK]  # by their target week, and by their last observed week
    figures = backtest(chosen, "food", [*spoilt, AS_OF - 5 * WEEK], tmp_path / "judged.parquet")
    assert [each["as_of"] for each in figures["dates"]] == [f"{AS_OF - 5 * WEEK}"]
    assert list(figures["left_out"]) == [f"{day}" for day in spoilt]
    assert pq.read_table(tmp_path / "judged.parquet")["as_of"].unique().to_pylist() == [AS_OF - 5 * WEEK]
    told = [record.getMessage() for record in caplog.records]
    assert all(f"food: {why}" in told for why in figures["left_out"].values())
    assert json.dumps(figures)
    with pytest.raises(IncompleteWeekError, match="activity is missing in"):
        backtest(chosen, "food", spoilt, tmp_path / "none.parquet")
