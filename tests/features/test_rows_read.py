"""Which raw rows a run reads, from the profiles of DuckDB's statements: each new row once."""

from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from churn.config.load import load_settings
from churn.dataset.build import plan_dataset, run_steps
from tests.support.data_folders import (
    ACTIVITY,
    AS_OF,
    TODAY,
    broadcaster_folder,
    broadcaster_rows,
    write_table,
)
from tests.support.profiles import ProfiledWarehouse

WEEK = timedelta(days=7)
VECTOR = 2048  # rows that DuckDB reads at a time
# This only asks whether there are rows, and reads one vector of them.
LOOK = f"select 1 as found from {ACTIVITY} limit 1"


def features(folder: Path, as_of: date, name: str) -> tuple[list[int], int]:
    """Make a product's features; return the raw rows of each scan, and the number of snapshots."""
    chosen = load_settings(
        folder, folder / "out", {"sql_memory": "1GB", "products": {name: {"minimum_value": 0}}}
    )
    warehouse = ProfiledWarehouse(folder / "out" / "warehouse.duckdb", folder, memory="1GB", threads=2)
    try:
        made = plan_dataset(warehouse, chosen, name, as_of, f"run_{name}_{as_of:%m%d}", today=TODAY)
        snapshots = run_steps(warehouse, made)["feature_set"]
    finally:
        warehouse.close()
    scans = warehouse.scans(ACTIVITY)
    looks = [rows for sql, rows in scans if sql == LOOK]
    assert all(rows <= VECTOR for rows in looks)
    return [rows for sql, rows in scans if sql != LOOK and rows], snapshots


def test_a_run_reads_the_raw_rows_of_the_new_week_once_and_no_others(tmp_path: Path) -> None:
    tables = broadcaster_rows()
    last = AS_OF - WEEK

    def between(after: date, until: date) -> list[Mapping[str, Any]]:
        return [row for row in tables[ACTIVITY] if after < row["date_of_event"] <= until]

    known, new = between(date.min, last), between(last, AS_OF)
    assert min(len(known), len(new)) > 100
    folder = broadcaster_folder(tmp_path, {**tables, ACTIVITY: known})
    read, snapshots = features(folder, last, "iplayer")
    # The first run also counts the rows by week, which shows that the profile sees all reads.
    assert (sum(read), snapshots > 0) == (2 * len(known), True)
    write_table(folder, ACTIVITY, new, part=1)
    read, snapshots = features(folder, AS_OF, "iplayer")
    assert (read, snapshots > 0) == ([len(new)], True)
    read, snapshots = features(folder, AS_OF, "sounds")  # from the other product's aggregates
    assert (read, snapshots > 0) == ([], True)
