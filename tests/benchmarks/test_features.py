from pathlib import Path
from typing import Any

import pytest

from churn.sources.simulator import simulate
from tests.benchmarks import features, features_naive
from tests.benchmarks.features import Bench, Job, carry_out, split
from tests.support.data_folders import event_folder, weekly_events

USERS, WEEKS = 150, 20


def run_here(job: Job, template: Path | None = None) -> dict[str, Any]:
    assert template is None
    return carry_out(job)


def test_the_benchmark_compares_equal_features_and_knows_which_rows_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate(tmp_path / "simulated", users=USERS, weeks=WEEKS)
    monkeypatch.setattr(features, "run", run_here)  # a process for each job takes seconds to start
    monkeypatch.setattr(features, "PRODUCTS", ("sounds",))
    data = split(tmp_path / "simulated", tmp_path / "lake", USERS, WEEKS)
    assert 0 < data.new_rows < data.rows / 10
    assert Bench(data, "all", 2).check() > 180  # columns


def test_the_benchmark_notices_what_differs(tmp_path: Path) -> None:
    """A comparison that finds no columns, or no rows, would find nothing wrong."""
    warehouse = features.DuckDBWarehouse(None, event_folder(tmp_path, weekly_events(["a"], 1)), threads=1)
    warehouse.execute("attach ':memory:' as naive")
    columns = "user_id, as_of_date, unnest([1, 2]) as count, unnest([0.5::double, null]) as share"
    warehouse.execute(f"create table mine as select {columns} from (select 'a' as user_id, 1 as as_of_date)")
    warehouse.execute("create schema naive.n")
    for share, found in ((0.5, 0), (0.5 + 1e-12, 0), (0.5 + 1e-8, 1), ("null", 1)):
        warehouse.execute(
            "create or replace table naive.n.feature_set as"
            f" select user_id, as_of_date, count, cast({share} as double) as share, 3 as other from mine where count = 1"
        )
        warehouse.execute("create or replace table one as select * from mine where count = 1")
        assert features_naive.compare(warehouse, "one", "naive", "n") == {"count": 0, "share": found}
    with pytest.raises(AssertionError, match="not the same snapshots"):
        features_naive.compare(warehouse, "mine", "naive", "n")
    warehouse.close()
