"""What the Warehouse protocol promises, on every warehouse: run these tests on a new one first."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.core import url_to_fs

from churn.core.errors import RunError, UsageError
from churn.warehouse.base import Session, Warehouse
from churn.warehouse.duckdb.client import DuckDBWarehouse
from churn.warehouse.redshift.client import RedshiftWarehouse
from churn.warehouse.templates import render
from tests.support.data_folders import AS_OF, event, write_table

SCHEMA = pa.schema([("user_id", pa.string()), ("n", pa.int32()), ("day", pa.date32())])
QUERY = "select cast('u' || n as varchar(20)) as user_id, n, date '2024-06-30' as day from s.numbers where n <= :rows"


@pytest.fixture(params=["duckdb", "redshift"])
def warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Warehouse]:
    """Each warehouse, with the numbers from 1 to 1,000 in s.numbers and one row in s.t."""
    opened: Warehouse
    if request.param == "duckdb":
        write_table(tmp_path / "data", "events.activity", [event("a", AS_OF)])
        opened = DuckDBWarehouse(None, tmp_path / "data", memory="1GB", threads=2)
    else:
        opened = RedshiftWarehouse(request.getfixturevalue("redshift").settings())
    series = {"duckdb": "range(1, 1001) as g(n)", "redshift": "generate_series(1, 1000) as g(n)"}
    opened.execute("create schema s")
    opened.execute(f"create table s.numbers as select cast(n as integer) as n from {series[request.param]}")
    opened.execute("create table s.t (a integer, b varchar(20))")
    opened.execute("insert into s.t values (1, 'x')")
    yield opened
    opened.close()


@pytest.fixture
def folder(request: pytest.FixtureRequest, warehouse: Warehouse, tmp_path: Path) -> str:
    """An empty folder that the warehouse can write to and read from."""
    if warehouse.reads_remote_files:
        return f"{request.getfixturevalue('bucket').url}/out"
    (tmp_path / "out").mkdir()
    return str(tmp_path / "out")


def rows(warehouse: Warehouse, text: str, session: Session | None = None, **values: Any) -> list[Any]:
    statement = render(text, {}, values, "s", warehouse.dialect)
    found = (session or warehouse).fetch(statement.sql, statement.parameters)
    return [tuple(row.values()) for row in found.to_pylist()]


def unloaded(warehouse: Warehouse, folder: str, count: int) -> list[tuple[str, int]]:
    statement = render(QUERY, {}, {"rows": count}, "s", warehouse.dialect)
    return warehouse.unload(statement.sql, statement.parameters, folder, schema=SCHEMA, rows_per_file=400)


@pytest.mark.parametrize(
    "value",
    [
        "x'); drop table s.t; --",
        "back\\slash %s",
        -(2**62),
        0.1,
        True,
        date(2024, 2, 29),
        datetime(2024, 2, 29, 23, 59),
    ],
)
def test_a_bound_value_comes_back_unchanged(warehouse: Warehouse, value: Any) -> None:
    assert rows(warehouse, "select :value as value, a from s.t", value=value) == [(value, 1)]


def test_integers_divide_into_integers(warehouse: Warehouse) -> None:
    assert rows(warehouse, "select 7 / 2 as i, -7 / 2 as n") == [(3, -3)]


def test_times_are_utc(warehouse: Warehouse) -> None:
    assert rows(warehouse, "select current_setting('TimeZone') as zone") == [("UTC",)]


def test_execute_returns_how_many_rows_changed(warehouse: Warehouse) -> None:
    assert warehouse.execute("insert into s.t values (2, 'y'), (3, 'z')") == 2
    assert warehouse.execute("delete from s.t where a > 1") == 2


def test_columns_are_those_of_a_table_or_view_and_empty_without_one(warehouse: Warehouse) -> None:
    warehouse.execute(f"create view s.v as select a from s.t{warehouse.view_suffix}")
    assert list(warehouse.columns("s.t")) == ["a", "b"]
    assert warehouse.columns("s.v") == {"a": "integer"}
    assert warehouse.columns("s.missing") == {}


def test_a_refused_statement_is_named_and_the_warehouse_usable_after_it(warehouse: Warehouse) -> None:
    with pytest.raises(RunError, match=r"refused a statement \(select nothing"):
        warehouse.fetch("select nothing\nfrom s.t")
    assert rows(warehouse, "select a from s.t") == [(1,)]


def test_stream_returns_batches_in_the_querys_order(warehouse: Warehouse) -> None:
    with warehouse.stream("select n from s.numbers order by n desc", batch_rows=300) as (schema, batches):
        found = list(batches)
    assert schema.names == ["n"]
    assert len(found) > 1
    assert [n for batch in found for n in batch["n"].to_pylist()] == list(range(1000, 0, -1))


def test_a_transaction_commits_everything_or_nothing(warehouse: Warehouse) -> None:
    def change(last: str) -> None:
        with warehouse.transaction() as session:
            session.lock("s.t")
            session.execute("create table s.other (a integer)")
            session.execute("insert into s.t values (2, 'y')")
            assert rows(warehouse, "select a from s.t order by a", session) == [(1,), (2,)]
            session.execute(last)

    with pytest.raises(RunError):
        change("insert into s.t values ('no number', 'z')")
    assert rows(warehouse, "select a from s.t") == [(1,)]
    assert warehouse.columns("s.other") == {}
    change("delete from s.t where a = 1")
    assert rows(warehouse, "select a from s.t") == [(2,)]
    assert warehouse.columns("s.other") == {"a": "integer"}


def test_an_interruption_rolls_a_transaction_back(warehouse: Warehouse) -> None:
    def interrupted() -> None:
        with warehouse.transaction() as session:
            session.execute("delete from s.t")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert rows(warehouse, "select a from s.t") == [(1,)]


def test_unloaded_files_hold_the_querys_rows(warehouse: Warehouse, folder: str) -> None:
    files = unloaded(warehouse, folder, 1000)
    fs = url_to_fs(folder)[0]
    tables = [pq.read_table(path, filesystem=fs if "://" in path else None) for path, _ in files]
    assert [table.num_rows for table in tables] == [count for _, count in files]
    numbers = pa.concat_tables(tables)["n"].to_pylist()
    assert sorted(numbers) == list(range(1, 1001))
    assert tables[0].schema.names == SCHEMA.names
    assert unloaded(warehouse, f"{folder}-2", 0) == []


def test_files_are_loaded_by_column_name_and_counted(warehouse: Warehouse, folder: str) -> None:
    paths = [path for path, _ in unloaded(warehouse, folder, 500)]
    warehouse.execute("create table s.loaded (day date, user_id varchar(20), n integer)")
    assert warehouse.load_parquet("s.loaded", paths, SCHEMA.names) == 500
    found = rows(warehouse, "select count(distinct user_id) as a, max(n) as b, min(day) as c from s.loaded")
    assert found == [(500, 500, date(2024, 6, 30))]


def test_files_without_a_column_are_not_loaded(warehouse: Warehouse, folder: str) -> None:
    paths = [path for path, _ in unloaded(warehouse, folder, 5)]
    with pytest.raises(RunError):
        warehouse.load_parquet("s.t", paths, ["a", "b"])
    with pytest.raises(UsageError):
        warehouse.load_parquet("s.t; drop table s.t", paths, SCHEMA.names)
    assert rows(warehouse, "select a from s.t") == [(1,)]


def test_a_scratch_schema_takes_tables(warehouse: Warehouse) -> None:
    with warehouse.scratch("s") as place:
        warehouse.execute(f"create table {place}.large as select n from s.numbers")
        assert rows(warehouse, f"select count(*) as n from {place}.large") == [(1000,)]
        warehouse.execute(f"drop table {place}.large")


def test_upkeep_changes_no_rows(warehouse: Warehouse) -> None:
    warehouse.execute("delete from s.numbers where n > 10")
    warehouse.analyze("s.t", "s.numbers")
    warehouse.rewrite()
    assert warehouse.rewrite_bytes() == 0  # nothing of either is a file of this machine
    assert rows(warehouse, "select count(*) as n from s.numbers") == [(10,)]


def test_transactions_that_lock_a_table_wait_for_each_other_and_see_what_was_committed(
    warehouse: Warehouse,
) -> None:
    def add(_: int) -> None:
        with warehouse.transaction() as session:
            session.lock("s.t")
            ((before,),) = rows(warehouse, "select a from s.t", session)
            session.execute("delete from s.t")
            session.execute(f"insert into s.t values ({before + 1}, 'x')")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(12)))
    assert rows(warehouse, "select a from s.t") == [(13,)]
