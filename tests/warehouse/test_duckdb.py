import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from churn.core.calendar import monday_of
from churn.core.errors import RunError, SourceError, UsageError
from churn.warehouse.duckdb.client import DuckDBWarehouse
from tests.support.data_folders import AS_OF, EVENTS, event, write_table

Open = Callable[..., DuckDBWarehouse]
ROOT = Path(__file__).parents[2]
ONE = [event("a", AS_OF)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_table(tmp_path / "data", "events.activity", ONE)
    return tmp_path / "data"


@pytest.fixture
def warehouse(data: Path, open_warehouse: Open) -> DuckDBWarehouse:
    return open_warehouse(data)


def values(warehouse: DuckDBWarehouse, sql: str, parameters: dict[str, Any] | None = None) -> list[Any]:
    return [tuple(row.values()) for row in warehouse.fetch(sql, parameters).to_pylist()]


def test_each_folder_is_a_table(warehouse: DuckDBWarehouse) -> None:
    assert values(warehouse, "select user_id, product from events.activity") == [("a", "food")]
    assert warehouse.columns("events.activity") == {
        "user_id": "varchar",
        "product": "varchar",
        "occurred_at": "timestamp",
        "value": "double",
        "category": "varchar",
        "item_id": "varchar",
        "device": "varchar",
    }
    assert warehouse.columns("prez.scv_vmb") == {}


def test_all_files_of_a_folder_are_one_table(data: Path, open_warehouse: Open) -> None:
    write_table(data, "events.activity", [event("b", AS_OF), event("c", AS_OF)], part=1)
    assert values(open_warehouse(data), "select count(*) from events.activity") == [(3,)]


@pytest.mark.parametrize("name", ["product=food", "a[1]", "what?", "50%'s *", "ünïcode"])
def test_the_data_folders_name_is_only_a_name(name: str, tmp_path: Path, open_warehouse: Open) -> None:
    data = tmp_path / name / "data"
    write_table(data, "events.activity", [event("a", AS_OF, product="sounds")])
    warehouse = open_warehouse(data)
    assert values(warehouse, "select product from events.activity") == [("sounds",)]
    assert set(warehouse.columns("events.activity")) == set(EVENTS.names)


@pytest.mark.parametrize("name", ["product=food", "a[1]", "50%'s *"])
def test_a_score_folders_name_is_only_a_name(name: str, tmp_path: Path, warehouse: DuckDBWarehouse) -> None:
    path = tmp_path / name / "part.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table({"amount": [1.5], "product": ["sounds"]}), path)
    warehouse.execute("create schema s")
    warehouse.execute("create table s.t (product varchar, amount double)")
    assert warehouse.load_parquet("s.t", [str(path)], ["amount", "product"]) == 1
    assert values(warehouse, "select product, amount from s.t") == [("sounds", 1.5)]


def test_files_are_loaded_by_column_name_and_counted(tmp_path: Path, warehouse: DuckDBWarehouse) -> None:
    paths = [str(tmp_path / f"{n}.parquet") for n in range(2)]
    pq.write_table(pa.table({"a": [1, 2], "b": ["x", "y"], "more": [0, 0]}), paths[0])
    pq.write_table(pa.table({"b": ["z"], "a": [3], "more": [0]}), paths[1])
    warehouse.execute("create schema s")
    warehouse.execute("create table s.t (b varchar, a bigint)")
    assert warehouse.load_parquet("s.t", paths, ["a", "b"]) == 3
    assert values(warehouse, "select a, b from s.t order by a") == [(1, "x"), (2, "y"), (3, "z")]


@pytest.mark.parametrize(("table", "columns"), [("s.t; drop table s.t", ["a"]), ("s.t", ["a; drop"])])
def test_names_that_are_no_identifiers_are_refused(
    warehouse: DuckDBWarehouse, table: str, columns: list[str]
) -> None:
    with pytest.raises(UsageError):
        warehouse.load_parquet(table, [], columns)


def test_every_statement_divides_integers_like_redshift_on_every_connection(
    warehouse: DuckDBWarehouse,
) -> None:
    sql = "select 7 / 2 as i, -7 / 2 as n, 7.0::double / 2 as d, cast(7 as decimal(18, 4)) / 2 as m"
    expected = [(3, -3, 3.5, 3.5)]
    assert values(warehouse, sql) == expected
    with warehouse.stream(sql, batch_rows=10) as (_, batches):
        assert [tuple(row.values()) for batch in batches for row in batch.to_pylist()] == expected
    with warehouse.transaction() as session:
        assert [tuple(row.values()) for row in session.fetch(sql).to_pylist()] == expected


def test_weeks_and_weekdays_are_counted_as_python_counts_them(warehouse: DuckDBWarehouse) -> None:
    found = values(
        warehouse,
        "select day::date, date_trunc('week', day)::date, extract(dow from day) from"
        " range(timestamp '2019-12-20', timestamp '2028-01-10', interval 1 day) as days(day)",
    )
    assert len(found) > 2900
    for day, monday, weekday in found:
        assert monday == monday_of(day)
        assert weekday == (day.weekday() + 1) % 7


def test_hexadecimal_is_read_as_redshift_reads_it(warehouse: DuckDBWarehouse) -> None:
    assert values(warehouse, "select from_base('ffffffff', 16), from_base('0cc175b9', 16)") == [
        (4294967295, 214005177)
    ]


def test_python_variables_are_not_tables(warehouse: DuckDBWarehouse) -> None:
    secret = pa.table({"a": [1]})
    with pytest.raises(RunError, match="secret does not exist"):
        warehouse.fetch("select * from secret")
    assert secret.num_rows == 1


def test_a_result_that_breaks_half_way_is_the_warehouses_fault(warehouse: DuckDBWarehouse) -> None:
    warehouse.execute("set global threads = 1")  # or another thread may only say that it was interrupted
    sql = "select cast(case when range < 400000 then '1' else 'x' end as int) as n from range(400001)"
    with (
        pytest.raises(RunError, match=r"refused a statement .*Could not convert string 'x'"),
        warehouse.stream(sql, batch_rows=1024) as (_, batches),
    ):
        for _ in batches:
            pass


def test_threads_work_side_by_side(warehouse: DuckDBWarehouse) -> None:
    warehouse.execute("create schema s")
    together = threading.Barrier(4)

    def make(n: int) -> int:
        together.wait(10)
        return warehouse.execute(f"create table s.t{n} as select * from range(1000 * {n})")

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(make, range(1, 5))) == [1000, 2000, 3000, 4000]


def test_what_a_run_makes_is_kept_in_the_file(tmp_path: Path, data: Path, open_warehouse: Open) -> None:
    file = tmp_path / "deep" / "out" / "warehouse.duckdb"
    first = open_warehouse(data, file)
    first.execute("create schema s")
    first.execute("create table s.t as select 1 as a")
    first.close()
    assert values(open_warehouse(data, file), "select a from s.t") == [(1,)]


def test_tables_of_a_data_folder_used_before_are_forgotten(
    tmp_path: Path, data: Path, open_warehouse: Open
) -> None:
    file = tmp_path / "warehouse.duckdb"
    write_table(data, "prez.scv_vmb", [{"episode_id": "e1"}])
    first = open_warehouse(data, file)
    first.execute("create schema churn")
    first.execute("create view churn.mine as select 1 as a")
    assert first.columns("prez.scv_vmb")
    first.close()
    other = tmp_path / "other"
    write_table(other, "events.activity", [event("b", AS_OF)])
    second = open_warehouse(other, file)
    assert second.columns("prez.scv_vmb") == {}
    assert values(second, "select user_id from events.activity") == [("b",)]
    assert second.columns("churn.mine") == {"a": "integer"}


def test_a_view_whose_table_is_gone_is_not_taken_as_absent(data: Path, open_warehouse: Open) -> None:
    warehouse = open_warehouse(data)
    for statement in (
        "create schema s",
        "create table s.t as select 1 as a",
        "create view s.v as select a from s.t",
    ):
        warehouse.execute(statement)
    assert warehouse.columns("s.v") == {"a": "integer"}
    warehouse.execute("drop table s.t")
    with pytest.raises(RunError, match="t does not exist"):
        warehouse.columns("s.v")


def test_a_folder_without_tables_is_refused_and_says_what_makes_them(
    tmp_path: Path, open_warehouse: Open
) -> None:
    for tables in (tmp_path / "none", tmp_path):
        (tmp_path / "tables" / "events.activity").mkdir(parents=True, exist_ok=True)
        (tmp_path / "tables" / ".DS_Store").touch()
        with pytest.raises(SourceError, match=r"holds no tables: make them with `churn simulate` or"):
            open_warehouse(tables)


@pytest.mark.parametrize("name", ["Events.activity", "events.activity.old", "x y.z", 'a".b', "events.2024"])
def test_a_folder_that_is_no_table_name_is_refused(name: str, data: Path, open_warehouse: Open) -> None:
    write_folder = data / "tables" / name
    write_folder.mkdir()
    pq.write_table(pa.table({"a": [1]}), write_folder / "part-00000.parquet")
    with pytest.raises(SourceError, match=r"a table's folder is named <schema>.<table> in lower case"):
        open_warehouse(data)


def test_a_table_may_be_named_like_a_word_of_sql(data: Path, open_warehouse: Open) -> None:
    folder = data / "tables" / "order.select"
    folder.mkdir()
    pq.write_table(pa.table({"a": [1]}), folder / "part-00000.parquet")
    assert open_warehouse(data).columns("order.select") == {"a": "bigint"}


@pytest.mark.process
@pytest.mark.parametrize("damage", ["empty", "text", "cut", "head only"])
@pytest.mark.parametrize("part", [0, 1])
def test_a_damaged_file_is_named_and_the_database_let_go(
    damage: str, part: int, tmp_path: Path, data: Path, open_warehouse: Open
) -> None:
    write_table(data, "events.activity", ONE, part=1)
    path = data / "tables" / "events.activity" / f"part-{part:05d}.parquet"
    whole = path.read_bytes()
    broken = {"empty": b"", "text": b"user_id,product\na,food\n", "cut": whole[:-20], "head only": whole[:4]}
    path.write_bytes(broken[damage])
    file = tmp_path / "warehouse.duckdb"
    with pytest.raises(SourceError, match=f"{path.name} cannot be read as Parquet .*make it anew"):
        DuckDBWarehouse(file, data)
    path.write_bytes(whole)
    code = f"import duckdb; duckdb.connect({str(file)!r}).close()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)  # not locked


def test_every_file_that_differs_is_named(data: Path, open_warehouse: Open) -> None:
    table = pa.Table.from_pylist(ONE, schema=EVENTS)
    write_table(data, "events.activity", table.drop_columns(["device"]), part=1)
    write_table(data, "events.activity", table.rename_columns({"value": "amount"}), part=2)
    zoned = table["occurred_at"].cast(pa.timestamp("us", "UTC"))
    write_table(data, "events.activity", table.set_column(2, "occurred_at", zoned), part=3)
    with pytest.raises(SourceError) as refused:
        open_warehouse(data)
    assert str(refused.value).splitlines()[1:] == [
        "  - part-00001.parquet differs from the first file: device is missing (in the first file: text)",
        "  - part-00002.parquet differs from the first file: value is missing (in the first file: number), "
        "amount is number (in the first file: missing)",
        "  - part-00003.parquet differs from the first file: "
        "occurred_at is timestamp with time zone UTC (in the first file: timestamp)",
    ]


def test_files_may_store_the_same_text_and_numbers_differently(data: Path, open_warehouse: Open) -> None:
    table = pa.Table.from_pylist([event("b", AS_OF, value=2)], schema=EVENTS)
    table = table.set_column(0, "user_id", table["user_id"].dictionary_encode())
    table = table.set_column(3, "value", table["value"].cast(pa.int32()))
    write_table(data, "events.activity", table.select(table.column_names[::-1]), part=1)
    found = values(open_warehouse(data), "select user_id, value from events.activity order by user_id")
    assert found == [("a", 1.0), ("b", 2.0)]


HOLD = """
import sys
from pathlib import Path
from churn.warehouse.duckdb.client import DuckDBWarehouse
warehouse = DuckDBWarehouse(Path(sys.argv[1]), Path(sys.argv[2]))
print("open", flush=True)
sys.stdin.read()
warehouse.close()
"""


SPILL = """
import os, sys
from pathlib import Path
from churn.warehouse.duckdb.client import DuckDBWarehouse
database = Path(sys.argv[1]) if sys.argv[1] else None
warehouse = DuckDBWarehouse(database, Path(sys.argv[2]), memory="100MB", threads=1)
with warehouse.scratch("run_food") as place:
    warehouse.execute(f"create table {place}.t as select 'canary' || range as a, repeat('x', 300) from range(1000000)")
    print("spilled", flush=True)
    sys.stdin.read()
    os.kill(os.getpid(), 9)
"""


@contextmanager
def spilling(database: Path | None, data: Path) -> Iterator[Callable[[], None]]:
    """Another process that has spilled user ids; yields what kills it."""
    line = [sys.executable, "-c", SPILL, str(database or ""), str(data)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=data) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"spilled\n"
            yield lambda: process.communicate(timeout=60) and None
        finally:
            process.kill()


def spilled(folder: Path) -> list[Path]:
    """The files below a folder that name users."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".duckdb"]
    return [path for path in found if b"canary" in path.read_bytes()]


@pytest.mark.process
def test_what_a_killed_process_had_spilled_goes_when_the_database_is_opened_again(
    tmp_path: Path, data: Path
) -> None:
    file = tmp_path / "out" / "warehouse.duckdb"
    with spilling(file, data) as kill:
        assert spilled(file.parent)
        with pytest.raises(RunError, match="another run is using this output folder"):
            DuckDBWarehouse(file, data)
        assert spilled(file.parent)  # it is at work, and they are its own
        kill()
    assert spilled(file.parent)
    default = file.with_name("warehouse.duckdb.tmp")  # where anybody else who opens the file spills to
    default.mkdir(exist_ok=True)
    (default / "duckdb_temp_storage_DEFAULT-0.tmp").write_text("canary")
    with closing(DuckDBWarehouse(file, data)):
        assert not list(file.parent.glob("*tmp*"))


def test_a_process_goes_on_spilling_after_it_has_opened_the_database_again(
    tmp_path: Path, data: Path
) -> None:
    file = tmp_path / "out" / "warehouse.duckdb"
    rows = "select 'canary' || range as a, repeat('x', 300) as b from range(1000000)"
    with (
        closing(DuckDBWarehouse(file, data, memory="100MB", threads=1)) as warehouse,
        warehouse.scratch("run_food") as place,
    ):
        warehouse.execute(f"create table {place}.t as {rows}")
        assert spilled(file.parent)
        with closing(DuckDBWarehouse(file, data, memory="100MB", threads=1)):
            assert spilled(file.parent)
        assert values(warehouse, f"select sum(length(b)) from {place}.t") == [(300_000_000,)]
    assert not list(file.parent.glob("*tmp*"))


@pytest.mark.process
def test_a_warehouse_in_memory_spills_into_a_folder_of_its_own_that_goes_with_it(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    with spilling(None, data) as kill, closing(DuckDBWarehouse(None, data)):
        assert not spilled(data)
        assert spilled(scratch)
        assert len(list(scratch.iterdir())) == 2
        with closing(DuckDBWarehouse(None, data)):
            assert spilled(scratch)  # the other one is at work
        kill()
        assert spilled(scratch)
        with closing(DuckDBWarehouse(None, data)):
            assert not spilled(scratch)
            assert len(list(scratch.iterdir())) == 2
    assert list(scratch.iterdir()) == []


@pytest.mark.process
def test_a_database_that_another_process_holds_is_refused_until_it_is_let_go(
    tmp_path: Path, data: Path, open_warehouse: Open
) -> None:
    file = tmp_path / "warehouse.duckdb"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file), str(data)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(RunError, match="another run is using this output folder; wait for it, or choose"):
            open_warehouse(data, file)
        holder.stdin.close()
        assert holder.wait(60) == 0
    assert open_warehouse(data, file).columns("events.activity")


def test_a_file_that_is_no_database_is_refused_and_left_alone(
    tmp_path: Path, data: Path, open_warehouse: Open
) -> None:
    file = tmp_path / "warehouse.duckdb"
    file.write_text("my notes, kept here for years\n" * 1000)
    with pytest.raises(RunError, match="cannot be opened: it is no DuckDB database: move it away"):
        open_warehouse(data, file)
    assert file.read_text().startswith("my notes")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path, data: Path, open_warehouse: Open) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(RunError, match=r"out cannot be made: (Not a directory|File exists)"):
        open_warehouse(data, tmp_path / "out" / "warehouse.duckdb")


def test_no_extension_is_fetched(warehouse: DuckDBWarehouse) -> None:
    settings = ("autoinstall_known_extensions", "autoload_known_extensions")
    for name in settings:
        assert values(warehouse, f"select current_setting('{name}')") == [(False,)]
    with pytest.raises(RunError):
        warehouse.fetch("select * from read_parquet('https://localhost:1/x.parquet')")


def test_a_closed_warehouse_says_so(data: Path) -> None:
    warehouse = DuckDBWarehouse(None, data)
    warehouse.close()
    with pytest.raises((RunError, duckdb.Error), match=r"(?i)closed"):
        warehouse.fetch("select 1")


def test_a_transaction_takes_little_memory_and_gives_the_limit_back(data: Path, tmp_path: Path) -> None:
    def limits(warehouse: DuckDBWarehouse) -> list[Any]:
        return [value for (value,) in values(warehouse, "select current_setting('memory_limit')")]

    for memory, inside, outside in (
        ("2GB", "244.1 MiB", "1.8 GiB"),
        ("100MB", "95.3 MiB", "95.3 MiB"),
    ):
        with closing(DuckDBWarehouse(tmp_path / memory / "w.duckdb", data, memory=memory)) as warehouse:
            assert limits(warehouse) == [outside]
            with warehouse.transaction():
                with warehouse.transaction():
                    assert limits(warehouse) == [inside]
                assert limits(warehouse) == [inside], "another transaction is still open"
            assert limits(warehouse) == [outside]
            with pytest.raises(RunError), warehouse.transaction() as session:
                session.execute("select nothing")
            assert limits(warehouse) == [outside]


def test_runs_with_the_longest_names_have_scratch_places_of_their_own(warehouse: DuckDBWarehouse) -> None:
    schema = "r" * 63
    with warehouse.scratch(schema) as one, warehouse.scratch(schema) as other:
        assert one != other
        for place in (one, other):
            warehouse.execute(f"create table {place}.t as select '{place}' as a")
        assert warehouse.fetch(f"select a from {one}.t").to_pylist() == [{"a": one}]


def test_a_file_is_opened_once_in_a_process_and_closed_by_its_last_user(tmp_path: Path) -> None:
    write_table(tmp_path / "data", "events.activity", [event("a", AS_OF)])
    file = tmp_path / "warehouse.duckdb"
    one = DuckDBWarehouse.shared(file, tmp_path / "data", memory="1GB")
    two = DuckDBWarehouse.shared(file, tmp_path / "data", memory="1GB")
    assert one is two
    one.execute("create table t as select 1 as a")
    one.close()
    assert two.fetch("select a from t")["a"].to_pylist() == [1]
    two.close()
    with pytest.raises(duckdb.ConnectionException):
        two.fetch("select a from t")
    three = DuckDBWarehouse.shared(file, tmp_path / "data", memory="1GB")
    assert three is not one
    assert three.fetch("select a from t")["a"].to_pylist() == [1]
    three.close()
