"""The Redshift backend over real connections: values, transactions, lost connections, cancelling, secrets."""

import _thread
import gc
import logging
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs

from churn.config.warehouse import WarehouseSettings
from churn.core.errors import ConfigError, RunError
from churn.warehouse.base import LostConnectionError, SerialisationError
from churn.warehouse.redshift.client import RedshiftWarehouse
from tests.stand_ins.redshift import Fault
from tests.stand_ins.redshift_sql import RefusalError
from tests.support.fixtures_aws import ROLE, Bucket, Redshift

CANARY = "canary-7f3a\\'; %(x)s"
SCHEMA = pa.schema(
    [("user_id", pa.string()), ("churned", pa.int8()), ("f", pa.float32()), ("d", pa.date32())]
)
ROWS = (
    "select cast('u' || n as varchar(20)) as user_id, cast(n % 2 as smallint) as churned, cast(n as real) as f,"
    " date '2024-06-30' as d from generate_series(1, %(rows)s) as g(n)"
)
Open = Callable[..., RedshiftWarehouse]


@pytest.fixture
def open_redshift(redshift: Redshift, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    monkeypatch.setenv("CHURN_REDSHIFT_USER", "churn_user")
    monkeypatch.setenv("CHURN_REDSHIFT_PASSWORD", CANARY)
    opened: list[RedshiftWarehouse] = []

    def open_(*, progress_seconds: float = 60.0, **changes: Any) -> RedshiftWarehouse:
        options: dict[str, Any] = {
            "kind": "redshift",
            "host": "127.0.0.1",
            "port": redshift.port,
            "database": redshift.database,
            "auth": "environment",
            "iam_role": ROLE,
            "ssl": "prefer",
            "backoff": 0.02,
            "retries": 2,
        }
        opened.append(
            RedshiftWarehouse(WarehouseSettings(**{**options, **changes}), progress_seconds=progress_seconds)
        )
        return opened[-1]

    yield open_
    for warehouse in opened:
        warehouse.close()


@pytest.fixture(params=["psycopg2", "redshift_connector"])
def either(open_redshift: Open, request: pytest.FixtureRequest) -> RedshiftWarehouse:
    """A warehouse spoken to with each driver."""
    return open_redshift(driver=request.param)


@pytest.fixture
def warehouse(open_redshift: Open) -> RedshiftWarehouse:
    return open_redshift()


@pytest.fixture
def table(warehouse: RedshiftWarehouse) -> str:
    warehouse.execute("create schema s")
    warehouse.execute("create table s.t (n integer)")
    warehouse.execute("insert into s.t values (1)")
    return "s.t"


def values(warehouse: RedshiftWarehouse, sql: str, **parameters: Any) -> list[Any]:
    return [tuple(row.values()) for row in warehouse.fetch(sql, parameters).to_pylist()]


def sent(redshift: Redshift, word: str) -> list[str]:
    return [sql for sql in redshift.front.statements if sql.lower().startswith(word)]


# --- statements ---


def test_values_go_in_and_come_out_as_they_are(either: RedshiftWarehouse) -> None:
    given = {
        "text": CANARY,
        "day": date(2024, 6, 30),
        "at": datetime(2024, 6, 30, 12, 30, 1, 5),
        "whole": -(2**62),
        "real": 0.1,
        "yes": True,
        "none": None,
    }
    names = ", ".join(f"%({name})s as {name}" for name in given)
    found = either.fetch(f"select {names}, 7 % 3 as modulo, 'x%x' like '%x' as found", given)
    assert found.to_pylist() == [{**given, "modulo": 1, "found": True}]
    assert found.schema.field("day").type == pa.date32()
    assert found.schema.field("at").type == pa.timestamp("us")
    assert found.schema.field("real").type == pa.float64()


def test_results_have_types_whether_or_not_they_have_rows(either: RedshiftWarehouse) -> None:
    sql = (
        "select cast(1 as smallint) as a, cast(1 as bigint) as b, cast(1.25 as real) as c, cast(1.5 as decimal(10, 2))"
        " as d, 'x' as e, sum(cast(n as bigint)) as f from generate_series(1, 2) as g(n) where n > %(least)s"
    )
    full = either.fetch(sql, {"least": 0})
    assert full.to_pylist() == [{"a": 1, "b": 1, "c": 1.25, "d": Decimal("1.5"), "e": "x", "f": Decimal(3)}]
    empty = either.fetch(f"{sql} having count(*) > 0", {"least": 9})
    assert empty.num_rows == 0
    assert [field.type for field in empty.schema][:3] == [pa.int16(), pa.int64(), pa.float32()]


def test_a_step_binds_values_and_counts_its_rows(either: RedshiftWarehouse) -> None:
    either.execute("create schema s")
    # Redshift binds nothing in CREATE TABLE AS: the value has to be in the text.
    made = either.execute(
        "create table s.t as select n from generate_series(1, 5) g(n) where n > %(n)s", {"n": 2}
    )
    assert made in (3, 0)  # a driver may not be told
    assert values(either, "select count(*) from s.t") == [(3,)]
    assert either.execute("delete from s.t where n = %(n)s", {"n": 3}) == 1
    assert either.columns("s.t") == {"n": "integer"}
    assert either.columns("s.missing") == {}


def test_columns_of_external_tables_and_of_views_bound_late_are_known(
    either: RedshiftWarehouse, redshift: Redshift
) -> None:
    either.execute("create schema s")
    either.execute("create table s.t (a int, b date)")
    either.execute("create view s.v as select b, a from s.t with no schema binding")
    redshift.look(
        "insert into svv_external_columns values"
        " ('s', 'spectrum', 'user_id', 'varchar(250)', 1), ('s', 'spectrum', 'value', 'double', 2)"
    )
    assert either.columns("s.v") == {"b": "date", "a": "integer"}
    assert either.columns("s.spectrum") == {"user_id": "varchar(250)", "value": "double"}


def test_large_results_come_in_batches_through_a_cursor(
    either: RedshiftWarehouse, redshift: Redshift
) -> None:
    with either.stream(ROWS, {"rows": 1_000}, batch_rows=300) as (schema, batches):
        assert schema.names == SCHEMA.names
        found = list(batches)
    assert [batch.num_rows for batch in found] == [300, 300, 300, 100]
    assert pa.Table.from_batches(found)["user_id"].to_pylist() == [f"u{n}" for n in range(1, 1_001)]
    assert len(sent(redshift, "fetch forward 300")) >= 4
    with either.stream(ROWS, {"rows": 0}, batch_rows=300) as (schema, batches):
        assert schema.names == SCHEMA.names
        assert list(batches) == []


def test_what_the_server_refuses_is_told_without_the_values(either: RedshiftWarehouse) -> None:
    with pytest.raises(RunError, match=r"refused a statement \(select nothing where.*nothing") as caught:
        either.fetch("select nothing where 'x' = %(user)s", {"user": "somebody@example.org"})
    assert "somebody" not in str(caught.value)
    assert either.fetch("select 1 as a").to_pylist() == [{"a": 1}]


def test_sessions_speak_utc_and_tell_what_they_run(warehouse: RedshiftWarehouse, redshift: Redshift) -> None:
    assert values(warehouse, "select current_setting('TimeZone')") == [("UTC",)]
    assert values(warehouse, "select current_setting('application_name')") == [("churn",)]
    warehouse.fetch("select 1 as a where 'x' <> %(user)s", {"user": "somebody"})
    label = sent(redshift, "set query_group")[-1]
    assert label.startswith("set query_group to 'churn: select 1 as a where")
    assert "somebody" not in label


def test_the_servers_time_limit_is_set(open_redshift: Open) -> None:
    impatient = open_redshift(statement_timeout=1)
    with pytest.raises(RunError, match="statement timeout"):
        impatient.fetch("select pg_sleep(30)")


# --- transactions ---


def test_a_lock_makes_others_wait_until_the_end(warehouse: RedshiftWarehouse, table: str) -> None:
    order: list[str] = []

    def second() -> None:
        with warehouse.transaction() as session:
            session.lock(table)
            order.append("second has it")

    with warehouse.transaction() as session:
        session.lock(table)
        other = threading.Thread(target=second)
        other.start()
        time.sleep(0.3)
        order.append("first is done")
    other.join(timeout=20)
    assert order == ["first is done", "second has it"]


def test_a_conflict_is_told_apart(warehouse: RedshiftWarehouse, table: str) -> None:
    # PostgreSQL's own conflict: a row that was changed since the snapshot.
    with warehouse.transaction() as slow:
        slow.execute("set transaction isolation level repeatable read")
        slow.fetch("select n from s.t")
        warehouse.execute("update s.t set n = 2")
        with pytest.raises(SerialisationError, match="gave way"):
            slow.execute("update s.t set n = 3")


def test_redshifts_own_conflict_is_run_again(
    warehouse: RedshiftWarehouse, redshift: Redshift, table: str
) -> None:
    def refuse() -> None:
        raise RefusalError(
            "1023", detail="Serializable isolation violation on table - 100, transactions: 1, 2"
        )

    redshift.front.faults.append(Fault("statement", refuse, match="^insert", times=2))
    assert warehouse.execute("insert into s.t values (2)") == 1
    redshift.front.faults.append(Fault("statement", refuse, match="^insert", times=3))
    with pytest.raises(SerialisationError):
        warehouse.execute("insert into s.t values (3)")
    assert values(warehouse, "select n from s.t order by n") == [(1,), (2,)]


# --- lost connections ---


@pytest.mark.parametrize("action", ["cut", "crash"])
@pytest.mark.parametrize("point", ["statement", "answer"])
def test_a_step_whose_connection_breaks_is_run_again_and_done_once(
    either: RedshiftWarehouse, redshift: Redshift, point: Any, action: Any
) -> None:
    either.execute("create schema s")
    redshift.front.faults.append(Fault(point, action, match="^create table"))
    either.execute("create table s.t as select 1 as n")
    assert len(sent(redshift, "create table")) == 2
    assert values(either, "select n from s.t") == [(1,)]


def test_a_step_that_is_done_is_not_run_again(
    warehouse: RedshiftWarehouse, redshift: Redshift, table: str
) -> None:
    redshift.front.faults.append(Fault("answer", "cut", match="^commit", skip=0))
    with pytest.raises(LostConnectionError, match="may have been committed or not") as caught:
        warehouse.execute("insert into s.t values (2)")
    assert not caught.value.unchanged
    assert len(sent(redshift, "insert into s.t values (2)")) == 1
    deadline = time.monotonic() + 10
    while values(warehouse, "select count(*) from s.t") != [(2,)]:  # the commit went through
        assert time.monotonic() < deadline


def test_a_query_is_asked_again_wherever_it_breaks(warehouse: RedshiftWarehouse, redshift: Redshift) -> None:
    for point, match in (("statement", "^select 5"), ("answer", "^select 5"), ("answer", "^commit")):
        redshift.front.faults.append(Fault(point, "cut", match=match))  # type: ignore[arg-type]  # a Point
        assert values(warehouse, "select 5 as a") == [(5,)]


def test_a_transaction_that_breaks_says_that_nothing_was_changed(
    warehouse: RedshiftWarehouse, redshift: Redshift, table: str
) -> None:
    redshift.front.faults.append(Fault("statement", "crash", match="^insert"))

    def change() -> None:
        with warehouse.transaction() as session:
            session.execute("delete from s.t")
            session.execute("insert into s.t values (2)")

    with pytest.raises(LostConnectionError, match="was undone") as caught:
        change()
    assert caught.value.unchanged
    assert values(warehouse, "select n from s.t") == [(1,)]


def test_connections_that_died_while_idle_are_replaced(either: RedshiftWarehouse, redshift: Redshift) -> None:
    assert values(either, "select 1 as a") == [(1,)]
    for _ in range(3):
        redshift.front.cut_all()
        with either.transaction() as session:
            assert session.fetch("select 2 as a")["a"].to_pylist() == [2]


def test_a_server_that_is_not_there_is_tried_a_few_times(
    open_redshift: Open, caplog: pytest.LogCaptureFixture
) -> None:
    gone = open_redshift(port=1, retries=2)
    with pytest.raises(RunError, match=r"127.0.0.1:1/.* cannot be used: check host, port and network"):
        gone.fetch("select 1")
    assert caplog.text.count("trying again") == 2


# --- watching and cancelling ---


def test_a_long_statement_says_that_it_is_running(
    open_redshift: Open, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    open_redshift(progress_seconds=0.1).fetch("select pg_sleep(%(s)s)::varchar", {"s": 0.5})
    assert "still running after" in caplog.text
    assert "select pg_sleep" in caplog.text


def test_ctrl_c_ends_the_statement_on_the_server(
    either: RedshiftWarehouse, redshift: Redshift, request: pytest.FixtureRequest
) -> None:
    # A shell starts what runs in its background with Ctrl-C ignored.
    request.addfinalizer(
        partial(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler))
    )
    began = time.monotonic()
    threading.Timer(0.5, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        either.execute("create table public.t as select pg_sleep(60)::varchar as x")
    assert time.monotonic() - began < 10
    running = redshift.look(
        "select query from pg_stat_activity where state = 'active' and query like '%pg_sleep(60)%'"
    )
    assert [row for row in running if "pg_stat_activity" not in row[0]] == []
    assert either.columns("public.t") == {}
    assert values(either, "select 1 as a") == [(1,)]


# --- unload and load ---


def test_what_is_unloaded_is_what_was_asked_for(either: RedshiftWarehouse, bucket: Bucket) -> None:
    files = either.unload(ROWS, {"rows": 1_000}, f"{bucket.url}/out", schema=SCHEMA, rows_per_file=100)
    assert sum(rows for _, rows in files) == 1_000
    assert all(path.startswith(f"{bucket.url}/out/") for path, _ in files)
    found = pa.concat_tables(pq.read_table(path, filesystem=s3fs.S3FileSystem()) for path, _ in files)
    assert sorted(found["f"].to_pylist()) == list(range(1, 1_001))
    assert found.schema.field("churned").type == pa.int16()


def test_an_unload_without_rows_is_no_files(either: RedshiftWarehouse, bucket: Bucket) -> None:
    """Redshift writes neither files nor a manifest then, also where its connection was lost at first."""
    assert either.unload(ROWS, {"rows": 0}, f"{bucket.url}/out", schema=SCHEMA, rows_per_file=100) == []
    assert bucket.keys() == []


def test_an_unload_without_rows_whose_connection_was_lost_is_no_files(
    warehouse: RedshiftWarehouse, redshift: Redshift, bucket: Bucket
) -> None:
    redshift.front.faults.append(Fault("unload:files", "crash"))
    assert warehouse.unload(ROWS, {"rows": 0}, f"{bucket.url}/out", schema=SCHEMA, rows_per_file=100) == []
    assert len(sent(redshift, "unload")) == 2


def test_an_unload_whose_manifest_is_missing_is_told(
    warehouse: RedshiftWarehouse, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("churn.warehouse.redshift.client.read_manifest", lambda _: None)
    with pytest.raises(RunError, match=r"wrote no manifest to .*, though its query has 5 rows"):
        warehouse.unload(ROWS, {"rows": 5}, f"{bucket.url}/out", schema=SCHEMA, rows_per_file=100)


def test_an_unload_that_ends_after_its_connection_is_found_not_repeated(
    warehouse: RedshiftWarehouse, redshift: Redshift, bucket: Bucket
) -> None:
    redshift.front.faults.append(Fault("unload:started", "cut"))
    redshift.front.faults.append(Fault("unload:files", lambda: time.sleep(0.5)))
    files = warehouse.unload(ROWS, {"rows": 50}, f"{bucket.url}/out", schema=SCHEMA, rows_per_file=100)
    assert sum(rows for _, rows in files) == 50
    assert len(sent(redshift, "unload")) == 1


def test_an_unload_that_died_is_repeated_elsewhere_and_its_files_are_removed(
    warehouse: RedshiftWarehouse, redshift: Redshift, bucket: Bucket
) -> None:
    redshift.front.faults.append(Fault("unload:files", "crash"))
    files = warehouse.unload(ROWS, {"rows": 50}, f"{bucket.url}/out", schema=SCHEMA, rows_per_file=100)
    assert sum(rows for _, rows in files) == 50
    first, second = sent(redshift, "unload")
    assert first != second
    prefix = files[0][0].rpartition("/")[2][:12]
    left = bucket.keys()
    assert all(key.startswith(f"out/{prefix}") for key in left)


def test_an_unload_that_takes_too_long_unheard_is_given_up(
    open_redshift: Open, redshift: Redshift, bucket: Bucket
) -> None:
    hasty = open_redshift(unload_grace=0.2, retries=1)
    release = threading.Event()
    redshift.front.faults.append(Fault("unload:started", "cut"))
    redshift.front.faults.append(Fault("unload:files", lambda: release.wait(1.0)))
    files = hasty.unload(ROWS, {"rows": 50}, f"{bucket.url}/out", schema=SCHEMA, rows_per_file=100)
    release.set()
    assert sum(rows for _, rows in files) == 50
    assert len(sent(redshift, "unload")) == 2
    assert sent(redshift, "select pg_terminate_backend")


def test_an_unload_that_is_refused_leaves_nothing(warehouse: RedshiftWarehouse, bucket: Bucket) -> None:
    with pytest.raises(RunError, match=r"refused a statement \(unload to"):
        warehouse.unload("select nothing", None, f"{bucket.url}/out", schema=SCHEMA, rows_per_file=100)
    with pytest.raises(RunError, match="its columns are a, not user_id"):
        warehouse.unload("select 1 as a", None, f"{bucket.url}/out", schema=SCHEMA, rows_per_file=100)
    wide = ROWS.replace("as real", "as double precision")
    with pytest.raises(RunError, match="f is double, not float"):
        warehouse.unload(wide, {"rows": 5}, f"{bucket.url}/out", schema=SCHEMA, rows_per_file=100)
    assert bucket.keys() == []


def test_a_local_folder_is_refused(warehouse: RedshiftWarehouse, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="Redshift needs s3://"):
        warehouse.unload(ROWS, {"rows": 5}, str(tmp_path), schema=SCHEMA, rows_per_file=100)
    with pytest.raises(RunError, match="Redshift needs s3://"):
        warehouse.load_parquet("s.t", [str(tmp_path / "x.parquet")], ["n"])


def test_files_are_loaded_whole_and_the_manifest_goes(either: RedshiftWarehouse, bucket: Bucket) -> None:
    files = either.unload(ROWS, {"rows": 500}, f"{bucket.url}/out", schema=SCHEMA, rows_per_file=100)
    before = bucket.keys()
    either.execute("create schema s")
    either.execute("create table s.t (d date, f real, user_id varchar(20), churned smallint)")
    loaded = either.load_parquet("s.t", [path for path, _ in files], SCHEMA.names)
    assert loaded == 500
    assert values(either, "select count(*) as a, count(distinct user_id) as b, max(f) as c from s.t") == [
        (500, 500, 500.0)
    ]
    assert bucket.keys() == before


def test_files_with_other_columns_are_not_loaded(warehouse: RedshiftWarehouse, bucket: Bucket) -> None:
    files = warehouse.unload(ROWS, {"rows": 5}, f"{bucket.url}/out", schema=SCHEMA, rows_per_file=100)
    warehouse.execute("create schema s")
    warehouse.execute("create table s.t (f real, user_id varchar(20))")
    for columns in (["f", "user_id"], ["user_id"], [*reversed(SCHEMA.names)]):
        with pytest.raises(RunError, match=r"cannot be loaded into s\.t: its columns are user_id, churned"):
            warehouse.load_parquet("s.t", [path for path, _ in files], columns)
    with pytest.raises(RunError, match="cannot be read as Parquet"):
        warehouse.load_parquet("s.t", [f"{bucket.url}/missing.parquet"], ["f", "user_id"])
    with pytest.raises(RunError, match="no files"):
        warehouse.load_parquet("s.t", [], ["f"])
    assert values(warehouse, "select count(*) from s.t") == [(0,)]


def test_a_load_that_fails_leaves_no_manifest(warehouse: RedshiftWarehouse, bucket: Bucket) -> None:
    files = warehouse.unload(ROWS, {"rows": 5}, f"{bucket.url}/out", schema=SCHEMA, rows_per_file=100)
    before = bucket.keys()
    with pytest.raises(RunError, match="refused a statement"):
        warehouse.load_parquet("s.missing", [path for path, _ in files], SCHEMA.names)
    assert bucket.keys() == before


# --- secrets ---


def test_no_secret_is_shown_anywhere(
    either: RedshiftWarehouse, redshift: Redshift, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    logging.getLogger("sqlalchemy.engine").setLevel(logging.INFO)
    try:
        redshift.front.faults.append(Fault("statement", "cut", match="select 1 as a"))
        either.fetch("select 1 as a")
        shown = [
            repr(either),
            str(either.engine),
            repr(either.engine.url),
            repr(either.settings),
            str(vars(either)),
        ]
        redshift.front.logins = {"churn_user": "another password"}
        redshift.front.cut_all()
        with pytest.raises(RunError, match="check the user and its rights") as caught:
            either.fetch("select 1 as a")
        shown += traceback.format_exception(caught.value)
        shown += [str(error) for error in (caught.value.__cause__, caught.value.__context__)]
    finally:
        logging.getLogger("sqlalchemy.engine").setLevel(logging.NOTSET)
    assert caplog.text
    assert CANARY not in "\n".join([caplog.text, *shown])
    assert caplog.text.count("trying again") == 0  # a wrong password is not tried again
    caplog.clear()
    with (
        warnings.catch_warnings()
    ):  # redshift_connector leaves the socket of a refused login to the collector
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def test_a_password_in_a_servers_answer_is_taken_out(
    warehouse: RedshiftWarehouse, redshift: Redshift
) -> None:
    def tell() -> None:
        raise RefusalError(f"cannot open redshift://me:{CANARY}@host for password={CANARY}")

    warehouse.fetch("select 1 as a")
    redshift.front.faults.append(Fault("statement", tell, match="^select 2"))
    with pytest.raises(RunError) as caught:
        warehouse.fetch("select 2 as a")
    assert "canary" not in str(caught.value)


def test_missing_variables_are_named(open_redshift: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHURN_REDSHIFT_PASSWORD")
    with pytest.raises(ConfigError, match="CHURN_REDSHIFT_USER and CHURN_REDSHIFT_PASSWORD"):
        open_redshift().fetch("select 1")


def test_a_table_that_was_changed_is_read_as_it_is_now(either: RedshiftWarehouse) -> None:
    either.execute("create schema s")
    either.execute("create table s.t as select 1 as a")
    assert either.fetch("select * from s.t").to_pylist() == [{"a": 1}]
    either.execute("alter table s.t add column b varchar(10)")
    assert either.fetch("select * from s.t").to_pylist() == [{"a": 1, "b": None}]
