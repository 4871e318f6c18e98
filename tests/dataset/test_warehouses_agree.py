"""The same source tables in both warehouses: the same plan, the same tables, the same snapshots out of them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from churn.config.load import load_settings
from churn.config.settings import Settings
from churn.dataset.build import plan_dataset, run_steps
from churn.dataset.checks import check_snapshots
from churn.dataset.labels import plan_labels, read_labels
from churn.dataset.plan import DatasetPlan
from churn.dataset.run_schemas import drop_schema, leftover_schemas
from churn.dataset.unload import count_rows, read_snapshots, rows_by, snapshot_schema, unload
from churn.warehouse.base import Warehouse
from churn.warehouse.duckdb.client import DuckDBWarehouse
from churn.warehouse.redshift.client import RedshiftWarehouse
from tests.support.data_folders import (
    AS_OF,
    TODAY,
    broadcaster_folder,
    broadcaster_rows,
    event_folder,
    event_settings,
    weekly_events,
)
from tests.support.fixtures_aws import Bucket, Redshift
from tests.support.weekly_jobs import fill


@pytest.fixture
def there(redshift: Redshift, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedshiftWarehouse]:
    monkeypatch.setenv("CHURN_REDSHIFT_USER", "churn")
    monkeypatch.setenv("CHURN_REDSHIFT_PASSWORD", "unused")
    warehouse = RedshiftWarehouse(redshift.settings())
    yield warehouse
    warehouse.close()


def prepared(warehouse: Warehouse, chosen: Settings, name: str) -> tuple[DatasetPlan, dict[str, int]]:
    plan = plan_dataset(warehouse, chosen, name, AS_OF, f"run_{name}_20240701t000000z_1", today=TODAY)
    rows = run_steps(warehouse, plan)
    check_snapshots(warehouse, plan, rows)
    return plan, rows


def assert_same(ours: pa.Table, theirs: pa.Table) -> None:
    assert ours.schema == theirs.schema
    keys = [("as_of_date", "ascending"), ("user_id", "ascending")]
    assert theirs == theirs.sort_by(keys)
    for name in ours.column_names:
        mine, other = ours[name].combine_chunks(), theirs[name].combine_chunks()
        if pa.types.is_floating(mine.type):
            assert mine.is_null().equals(other.is_null()), name
            np.testing.assert_allclose(
                mine.drop_null().to_numpy(), other.drop_null().to_numpy(), rtol=1e-6, err_msg=name
            )
        else:
            assert mine.equals(other), name


def compare(
    data: Path, chosen: Settings, name: str, there: RedshiftWarehouse, bucket: Bucket, out: Path
) -> dict[str, pa.Table]:
    here = DuckDBWarehouse(None, data, memory="1GB", threads=2)
    by_purpose: dict[str, pa.Table] = {}
    try:
        fill(there, data, bucket)
        (ours, our_rows), (theirs, their_rows) = (prepared(one, chosen, name) for one in (here, there))
        assert replace(ours, tables=theirs.tables) == theirs
        assert ours.tables.rows == theirs.tables.rows  # whose name is a digest of all that makes them
        assert our_rows == their_rows
        for purpose in ("train", "score"):
            (out / purpose).mkdir()
            pair: list[pa.Table] = []
            for warehouse, folder in ((here, str(out / purpose)), (there, f"{bucket.url}/out/{purpose}")):
                files = unload(warehouse, ours, purpose, folder, 1_000)
                assert rows_by(files) == count_rows(warehouse, ours, purpose) > 0
                pair.append(read_snapshots(files))
            assert pair[0].schema == snapshot_schema(ours, labelled=purpose == "train")
            assert_same(*pair)
            by_purpose[purpose] = pair[0]
        learned: list[Any] = []
        for warehouse in (here, there):
            later = plan_labels(warehouse, chosen, ours, f"{ours.schema}_later", today=TODAY)
            run_steps(warehouse, later)
            learned.append(read_labels(warehouse, later))
        assert learned[0] == learned[1]
        assert set(learned[0].values()) <= {0, 1}
        for warehouse in (here, there):
            assert leftover_schemas(warehouse, name) == [ours.schema]
            drop_schema(warehouse, ours.schema)
            assert leftover_schemas(warehouse, name) == []
    finally:
        here.close()
    return by_purpose


@pytest.mark.parametrize("sampling", ["cohort", pytest.param("all", marks=pytest.mark.slow)])
def test_the_broadcasters_tables_give_the_same_snapshots(
    sampling: str, there: RedshiftWarehouse, bucket: Bucket, tmp_path: Path
) -> None:
    data = broadcaster_folder(tmp_path / "data", broadcaster_rows())
    product = {"minimum_value": 60, "training": {"sampling": sampling, "max_dates": 5}}
    chosen = load_settings(data, tmp_path / "out", {"products": {"iplayer": product}, "sql_memory": "1GB"})
    compared = compare(data, chosen, "iplayer", there, bucket, tmp_path)
    assert set(compared["train"]["churned"].to_pylist()) == {0, 1}


NAMES = ("it's", "back\\slash", "100%", "%(as_of)s", ":as_of", "ünï", '"; drop table x; --')


def test_whatever_users_and_categories_are_called(
    there: RedshiftWarehouse, bucket: Bucket, tmp_path: Path
) -> None:
    rows = weekly_events(["plain"], 22, category="other")
    for name in NAMES:
        rows += weekly_events([name, f"{name}2"], 24, category=name)
    data = event_folder(tmp_path / "data", rows)
    chosen = event_settings(data, food={"categories": list(NAMES), "match": ["food", *NAMES]})
    compared = compare(data, chosen, "food", there, bucket, tmp_path)
    users = {user for name in NAMES for user in (name, f"{name}2")}
    assert set(compared["score"]["user_id"].to_pylist()) == {*users, "plain"}
