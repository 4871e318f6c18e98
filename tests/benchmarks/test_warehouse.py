from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq

from tests.benchmarks import warehouse_data
from tests.benchmarks.warehouse import Job, carry_out

ROWS = 300


def test_the_benchmark_publishes_and_unloads_what_it_says(tmp_path: Path) -> None:
    warehouse_data.write_run(str(tmp_path), ROWS)
    warehouse_data.make_snapshots(tmp_path / "made", ROWS)
    with closing(warehouse_data.open_warehouse(tmp_path, None)) as warehouse:
        warehouse_data.fill(warehouse, warehouse_data.snapshot_files(tmp_path / "made"))
    (tmp_path / "made" / "model").rename(tmp_path / "model")
    jobs = ["publish", "unload and score", "DuckDB's COPY"]
    found = [carry_out(Job(what, ROWS, str(tmp_path), str(tmp_path))) for what in jobs]
    assert [each["rows"] for each in found] == [ROWS] * 3
    assert all(each["cpu_s"] > 0 for each in found)
    for folder in ("unloaded", "run/scores", "run/reasons", "copy"):
        rows = sum(pq.read_metadata(path).num_rows for path in (tmp_path / folder).glob("*.parquet"))
        assert rows == ROWS * (5 if folder == "run/reasons" else 1), folder
    with closing(warehouse_data.open_warehouse(tmp_path, None)) as warehouse:
        assert warehouse.fetch("select score_rows, reason_rows from churn.published").to_pylist() == [
            {"score_rows": ROWS, "reason_rows": 5 * ROWS}
        ]
