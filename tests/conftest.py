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
    "jobs/test_heavy_user", "flows/test_schedules", "jobs/test_erase", "outputs/test_tables", "jobs/test_weekly",
    "jobs/test_faults", "jobs/test_weekly_chaos", "scoring/test_fargate", "flows/test_credentials",
    "jobs/test_weekly_redshift", "jobs/test_weekly_s3", "jobs/test_weekly_fargate",
    "jobs/test_secrets", "flows/test_killed_processes", "scoring/test_worker_kills", "explain/test_treeshap",
    "stand_ins/test_stand_ins", "scoring/test_fanout", "scoring/test_address", "deployments/test_aws",
    "lake/test_stores", "lake/test_staging_s3", "outputs/test_tables_redshift", "flows/test_hostile",
    "dataset/test_build", "dataset/test_warehouses_agree", "model/test_metrics",
    "sources/test_simulator", "benchmarks/test_warehouse", "warehouse/test_redshift",
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
