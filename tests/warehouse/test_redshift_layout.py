"""The stand-in takes DISTKEY, SORTKEY, DISTSTYLE and late binding as Redshift does, and refuses what it refuses."""

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from tests.stand_ins.redshift_rewrite import rewritten
from tests.stand_ins.redshift_sql import RefusalError
from tests.support.fixtures_aws import Redshift

KEYED = "create table t distkey(a) sortkey(b) as"


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("create table t distkey(A) as select a from y -- as", 'create table t  as select * from (select a from y\n) as laid_out where laid_out."a" is null or true -- as'),
        ("create temp table t diststyle auto as select 1 as a", "create temp table t  as select 1 as a"),
        ("create local temporary table t (a, b) distkey(a) as select 1, 2", "create local temporary table t (a, b)  as select 1, 2"),
        ("create table if not exists s.t (a int not null, primary key (a)) backup no interleaved sortkey (a)", "create table if not exists s.t (a int not null, primary key (a))  "),
        ("create table t (a decimal(18, 4) default 1 sortkey, b int) sortkey auto", None),
        ("create table t (a int) sortkey auto encode auto", "create table t (a int)  "),
        ("create view s.v as select extract(day from a) from s.t with no schema binding", "create view s.v as select extract(day from a) from s.t "),
        ("create view s.v as with c as (select a from s.t) select a from c where a is distinct from b with no schema binding", "create view s.v as with c as (select a from s.t) select a from c where a is distinct from b "),
        ("alter table t add column a int encode zstd", "alter table t add column a int "),
    ],
)  # fmt: skip
def test_what_is_laid_out_as_redshift_can_is_taken(statement: str, expected: str | None) -> None:
    assert expected is None or rewritten(statement) == expected
    if expected is None:
        assert "sortkey" not in rewritten(statement)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("create table t (a int) distkey(b)", '"b" of a key is not in the table'),
        ("create table t (a int) sortkey(a, b)", '"b" of a key is not in the table'),
        ("create table t (a) distkey(b) as select 1", '"b" of a key is not in the table'),
        ("create table t (a int, b int) distkey(a, b)", "syntax error"),
        ("create table t (a int distkey, b int distkey)", "one DISTKEY"),
        ("create table t (a int distkey, b int) distkey(b)", "one DISTKEY"),
        ("create table t (a varchar(5)) distkey(lower(a))", "syntax error"),
        ("create table t (a int, b int) sortkey(a + b)", "syntax error"),
        ("create table t (a int) sortkey(a desc)", "syntax error"),
        ("create table t (a int) sortkey()", "syntax error"),
        ("create table t (a int) sortkey(a,)", "syntax error"),
        ("create table t (a int) distkey", "syntax error"),
        ("create table t (a int) distkey a", "syntax error"),
        ("create table t (a int) diststyle key", "needs a DISTKEY"),
        ("create table t (a int) diststyle even distkey(a)", "takes no DISTKEY"),
        ("create table t (a int) diststyle hash", "syntax error"),
        ("create table t (a int) diststyle all diststyle all", "twice"),
        ("create table t (a int) sortkey(a) sortkey(a)", "one SORTKEY"),
        ("create table t (a int) sortkey(a, a)", "twice"),
        ("create table t (a int) compound distkey(a)", "syntax error"),
        ("create table t (a1 int, a2 int, a3 int, a4 int, a5 int, a6 int, a7 int, a8 int, a9 int)"
         " interleaved sortkey(a1, a2, a3, a4, a5, a6, a7, a8, a9)", "8 columns at most"),
        ("create table t sortkey auto as select 1 as a", "syntax error"),
        ("create table t distkey(1) as select 1 as a", "syntax error"),
        ("create table t (a int) partition by hash (a)", "syntax error"),
        ("create table t (a int) inherits (s)", "syntax error"),
        ("create view v as select a from t with no schema binding", "should be qualified"),
        ("create view v as select a from s.t join u on true with no schema binding", "should be qualified"),
        ("create view v as select a from s.t with check option", "syntax error"),
    ],
)  # fmt: skip
def test_what_redshift_cannot_lay_out_is_refused(statement: str, said: str) -> None:
    with pytest.raises(RefusalError, match=said):
        rewritten(statement)


@pytest.fixture
def engine(redshift: Redshift) -> sa.Engine:
    return sa.create_engine(redshift.url, poolclass=sa.NullPool)


def send(engine: sa.Engine, *statements: str) -> list[tuple[object, ...]]:
    with engine.begin() as connection:
        for statement in statements:
            found = connection.exec_driver_sql(statement)
        return [tuple(row) for row in found] if found.returns_rows else []


def test_a_table_of_a_query_is_the_same_with_keys_and_without(engine: sa.Engine) -> None:
    query = "select cast('x' as varchar(7)) as a, 1::smallint as b, 'y' as c union all select null, 2, 'z'"
    send(engine, f"{KEYED} {query}", f"create table plain as {query}")
    told = "select column_name, data_type, character_maximum_length from information_schema.columns where table_name = '{}' order by 1"
    assert send(engine, told.format("t")) == send(engine, told.format("plain")) != []
    assert send(engine, "select * from t order by b") == [("x", 1, "y"), (None, 2, "z")]


def test_a_key_that_the_query_does_not_make_is_refused(engine: sa.Engine) -> None:
    send(engine, "create table y (a int, z int)")
    for query in ("select a from y", "select z as b from y", "select a as b, z as a2 from y"):
        with pytest.raises(DBAPIError, match=r"column laid_out\.(a|b) does not exist"):
            send(engine, f"{KEYED} {query}")


def test_a_view_is_not_laid_out(engine: sa.Engine) -> None:
    for keys in ("distkey(a)", "sortkey(a)", "diststyle all"):
        with pytest.raises(DBAPIError, match="syntax error"):
            send(engine, f"create view v {keys} as select 1 as a")


def test_the_list_of_columns_knows_tables_views_and_external_tables(
    engine: sa.Engine, redshift: Redshift
) -> None:
    send(engine, "create schema s", "create table s.t (a int, b date)")
    send(engine, "create view s.v as select b from s.t with no schema binding")
    redshift.look("insert into svv_external_columns values ('s', 'spectrum', 'c', 'varchar(250)', 1)")
    found = send(
        engine,
        "select table_name, column_name, data_type from svv_columns where table_schema = 's' order by 1, ordinal_position",
    )
    assert found == [("spectrum", "c", "varchar(250)"), ("t", "a", "integer"), ("t", "b", "date"), ("v", "b", "date")]  # fmt: skip
