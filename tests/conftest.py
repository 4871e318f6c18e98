"""What tests share: quiet property tests, and no settings from the environment that they run in."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings

from churn.warehouse.duckdb import DuckDBWarehouse

pytest_plugins = ["tests.support.fixtures_aws", "tests.support.fixtures_weekly"]

# A machine that is busy with other tests is not a failure.
settings.register_profile("house", deadline=None)
settings.load_profile("house")

# What a test needs that is not parametrised by the warehouse.
_NEEDED = {"duckdb": {"open_warehouse"}, "redshift": {"redshift", "postgres"}}


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the warehouse that it runs on; to render for a dialect is not to run on it."""
    for item in items:
        given = getattr(item, "callspec", None)
        values = [value for name, value in given.params.items() if name != "dialect"] if given else []
        fixtures = set(getattr(item, "fixturenames", ()))
        chosen = {value for value in values if isinstance(value, str) and value in _NEEDED}
        for warehouse in chosen or {name for name, needed in _NEEDED.items() if needed & fixtures}:
            item.add_marker(warehouse)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CHURN_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def open_warehouse() -> Iterator[Callable[..., DuckDBWarehouse]]:
    """Open warehouses that are closed when the test ends; in memory unless a database is named."""
    with ExitStack() as stack:

        def open_(data: Path, database: Path | None = None, threads: int = 2) -> DuckDBWarehouse:
            warehouse = DuckDBWarehouse(database, data, memory="1GB", threads=threads)
            stack.callback(warehouse.close)
            return warehouse

        yield open_
