"""A user of ten million rows, as a machine that pretends to be a person leaves them."""

from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any

import duckdb
import psutil
import pytest

from churn.config.settings import Settings
from churn.core.calendar import monday_of
from churn.dataset.build import plan_dataset, run_steps
from churn.warehouse.duckdb.client import DuckDBWarehouse
from tests.benchmarks.score import peak_mb
from tests.support.data_folders import AS_OF, TODAY, event, event_folder, event_settings, weekly_events

pytestmark = pytest.mark.slow

ROWS, WEEKS, ITEMS = 10_000_000, 20, 9_973
MEMORY_MB = 512
START = datetime.combine(monday_of(AS_OF) - timedelta(weeks=WEEKS - 1), time())
SECONDS = WEEKS * 7 * 24 * 3600
HEAVY = f"""
    select
        'heavy' as user_id,
        'food' as product,
        timestamp '{START}' + to_seconds(n * {SECONDS} // {ROWS}) as occurred_at,
        cast(0.25 as double) as value,
        ['Drama', 'News', 'Drama;News', 'Weather'][1 + n % 4] as category,
        'i' || n % {ITEMS} as item_id,
        ['tv', 'web'][1 + n % 2] as device
    from range({ROWS}) as numbers(n)
"""


def features(data: Path, chosen: Settings) -> tuple[dict[tuple[str, Any], dict[str, Any]], float]:
    """Make features; return them by user and as-of date, and by how many MB this process grew at most."""
    process = psutil.Process()
    warehouse = DuckDBWarehouse(data / "out" / "warehouse.duckdb", data, memory=chosen.sql_memory, threads=2)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = process.memory_info().rss / 1e6
        made = plan_dataset(warehouse, chosen, "food", AS_OF, "run", today=TODAY)
        run_steps(warehouse, made)
        grown = peak_mb(process) - before
        rows = warehouse.fetch("select * from run.feature_set").to_pylist()
    finally:
        warehouse.close()
    return {(row.pop("user_id"), row.pop("as_of_date")): row for row in rows}, grown


def test_a_user_of_ten_million_rows_is_right_needs_little_memory_and_changes_nobody_else(
    tmp_path: Path,
) -> None:
    kind = {"item_id": "i1", "category": "Drama", "device": "tv"}
    others = [event("b", START.date(), **kind), *weekly_events(["a", "b"], WEEKS, **kind)]
    products = {"categories": ["Drama", "News"], "devices": ["tv", "web"]}
    folders = [event_folder(tmp_path / name, others) for name in ("with", "without")]
    with duckdb.connect(config={"memory_limit": "1GB"}) as engine:
        engine.execute(
            f"copy ({HEAVY}) to '{folders[0]}/tables/events.activity/heavy.parquet' (format parquet)"
        )
    (found, grown), (alone, _) = (
        features(
            data, event_settings(data, food=products).model_copy(update={"sql_memory": f"{MEMORY_MB}MB"})
        )
        for data in folders
    )
    # The engine's limit, and what it does not count; all rows at once would take a gigabyte and more.
    assert grown < 1.25 * MEMORY_MB
    assert alone == {key: row for key, row in found.items() if key[0] != "heavy"}
    assert {day for user, day in found if user == "heavy"} == {day for _, day in alone}
    week = ROWS // WEEKS
    row = found["heavy", AS_OF]
    expected = {
        **{f"events_w{offset}": week for offset in range(2, 15)},
        **{f"value_w{offset}": week / 4 for offset in range(2, 15)},
        **{f"days_w{offset}": 7 for offset in range(2, 15)},
        "events_13w": 13 * week,
        "events_slope": 0,
        "lifetime_events": ROWS,
        "lifetime_value": ROWS / 4,
        "lifetime_days": 7 * WEEKS,
        "items_1w": ITEMS,
        "items_13w": ITEMS,
        "categories_used": 2,
        "devices_used": 2,
        "days_since_last": 0,
        "share_category_drama": 0.5,
        "share_category_news": 0.5,
        "share_other_category": 0.25,
        "share_device_tv": 0.5,
        "share_weekday_sunday": pytest.approx(1 / 7, rel=1e-5),
        "share_daypart_overnight": pytest.approx(6 / 24, rel=1e-5),
        "churned": None,
    }
    assert {name: row[name] for name in expected} == expected
