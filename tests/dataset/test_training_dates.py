"""How many past dates a run trains on, where its product leaves it open."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from churn.config.settings import Settings
from churn.core.calendar import WEEK, Windows
from churn.dataset.build import plan_dataset
from churn.dataset.training_dates import choose_max_dates
from churn.features.aggregates.weekly import aggregate_tables
from churn.warehouse.base import Warehouse
from churn.warehouse.open import open_in_memory
from tests.support.data_folders import AS_OF, TODAY, event_folder, event_settings, weekly_events

Settle = Callable[..., Settings]
WINDOWS = Windows(AS_OF)
LATEST_MONDAY = WINDOWS.last_week_start - WINDOWS.label_delay  # of the latest date whose label is known


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return event_folder(tmp_path_factory.mktemp("dates") / "data", weekly_events(["a"], 2))


@pytest.fixture
def settle(data: Path) -> Settle:
    def settle_(match: tuple[str, ...] = ("food",), **training: Any) -> Settings:
        return event_settings(data, food={"match": match, "training": {"sampling": "all", **training}})

    return settle_


@pytest.fixture
def kept(settle: Settle) -> Iterator[Warehouse]:
    """A warehouse whose kept user_week is empty."""
    with closing(open_in_memory(settle())) as warehouse:
        tables = aggregate_tables(settle())
        warehouse.execute(f"create schema {tables.schema}")
        columns = "user_id varchar(20), product varchar(20), week_start date"
        warehouse.execute(f"create table {tables.table('user_week')} ({columns})")
        yield warehouse


def come(warehouse: Warehouse, users: int, weeks: int = 110, product: str = "food", since: int = 0) -> None:
    """Add users who come in every week, for some weeks up to ``since`` weeks before the latest that counts."""
    table = aggregate_tables(event_settings(Path())).table("user_week")
    warehouse.execute(
        f"insert into {table} select 'u' || u, '{product}', date '{LATEST_MONDAY}' - cast(7 * w as integer) "
        f"from generate_series(1, {users}) as users(u), generate_series({since}, {since + weeks - 1}) as weeks(w)"
    )


def dates(warehouse: Warehouse, settings: Settings) -> int:
    return choose_max_dates(warehouse, settings, "food", WINDOWS)


@pytest.mark.parametrize(
    ("users", "expected"),
    [(1, 104), (576, 104), (577, 104), (600, 100), (700, 86), (2_307, 27), (2_308, 26), (9_000, 26)],
)
def test_dates_are_added_until_there_are_enough_rows(
    kept: Warehouse, settle: Settle, users: int, expected: int
) -> None:
    come(kept, users)
    assert dates(kept, settle()) == expected


def test_customers_of_other_years_do_not_count(kept: Warehouse, settle: Settle) -> None:
    come(kept, 300, weeks=600)
    come(kept, 40_000, weeks=1, since=104)
    come(kept, 40_000, weeks=2, since=-2)  # whose label is not known
    assert dates(kept, settle()) == 104


def test_users_of_any_activity_of_the_product_count_once_a_week(kept: Warehouse, settle: Settle) -> None:
    for product in ("food", "wine"):
        come(kept, 700, product=product)
    come(kept, 5_000, product="radio")
    assert dates(kept, settle(("food", "wine"))) == dates(kept, settle(("food",))) == 86
    assert dates(kept, settle(())) == 26


def test_weeks_without_anybody_add_no_rows(kept: Warehouse, settle: Settle) -> None:
    come(kept, 2_000, weeks=10)
    come(kept, 2_000, weeks=100, since=30)
    assert dates(kept, settle()) == 50


def test_a_number_that_is_set_wins(kept: Warehouse, settle: Settle) -> None:
    come(kept, 1)
    assert dates(kept, settle(max_dates=110)) == 110
    assert dates(kept, settle(max_dates=8)) == 8


def test_one_past_date_a_user_gives_as_many_rows_with_any_number_of_dates(
    kept: Warehouse, settle: Settle
) -> None:
    come(kept, 1)
    assert dates(kept, settle(sampling="cohort")) == 26


def test_a_small_log_is_trained_on_all_its_dates(tmp_path: Path) -> None:
    data = event_folder(tmp_path / "data", weekly_events(map(str, range(20)), 50))
    settings = event_settings(data)
    with closing(open_in_memory(settings)) as warehouse:
        plan = plan_dataset(warehouse, settings, "food", AS_OF, "run_food", today=TODAY)
    latest = AS_OF - WINDOWS.label_delay
    assert plan.training_dates == tuple(latest - back * WEEK for back in reversed(range(35)))
