"""What tests share: quiet property tests, and no settings from the environment that they run in."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings

from churn.warehouse.duckdb.client import DuckDBWarehouse

pytest_plugins = [
    "tests.support.chaos_summary",
    "tests.support.fixtures_aws",
    "tests.support.fixtures_weekly",
    "tests.support.markers",
]

# A machine that is busy with other tests is not a failure.
settings.register_profile("house", deadline=None)
settings.load_profile("house")

# Modules that take longest, in seconds of CPU: they start first, so that neither core waits for the other at the end.
# All others come after these, in the usual order.
_LONGEST = (
    "flows/test_schedules", "jobs/test_erase", "jobs/test_weekly", "jobs/test_faults", "flows/test_credentials",
    "scoring/test_fargate", "outputs/test_tables", "jobs/test_weekly_redshift", "jobs/test_weekly_s3",
    "features/test_store", "features/test_aggregates", "dataset/test_build", "lake/test_stores",
    "outputs/test_tables_redshift", "explain/test_treeshap", "flows/test_bad_input", "flows/test_hostile",
    "sql/test_golden", "scoring/test_address", "stand_ins/test_stand_ins", "outputs/test_tracking",
    "deployments/test_aws", "flows/test_cli", "jobs/test_doctor", "lake/test_staging_s3", "dataset/test_warehouses_agree",
    "jobs/test_prune", "jobs/test_heavy_user", "jobs/test_weekly_chaos", "jobs/test_secrets", "jobs/test_weekly_fargate",
)  # fmt: skip


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest modules begin."""
    order = {f"tests/{name}.py": place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: order.get(item.nodeid.partition("::")[0], len(order)))  # stable


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
