import re
from collections.abc import Callable
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest

from churn.config.warehouse import WarehouseSettings
from churn.core.errors import RunError, UsageError
from churn.outputs import migrations
from churn.warehouse.base import Dialect
from churn.warehouse.duckdb.client import DuckDBWarehouse
from churn.warehouse.redshift.client import RedshiftWarehouse
from churn.warehouse.templates import sql_root
from tests.support.data_folders import AS_OF, event, write_table
from tests.support.publishing import TABLES, Counted, rows_of, tables

TITLES = ["schema version", "scores", "score reasons", "published", "reasons", "reason sentences"]

# Nothing is connected to.
REDSHIFT = RedshiftWarehouse(
    WarehouseSettings(
        kind="redshift", host="127.0.0.1", database="audience", auth="environment", iam_role="default"
    )
)


@pytest.fixture
def warehouse(tmp_path: Path, open_warehouse: Callable[..., DuckDBWarehouse]) -> DuckDBWarehouse:
    write_table(tmp_path / "data", "events.activity", [event("a", AS_OF)])
    return open_warehouse(tmp_path / "data")


def done(warehouse: Any) -> list[Any]:
    return [title for _, title in rows_of(warehouse, "select version, title from churn.schema_version")]


def test_what_is_pending_is_shown_and_not_done(warehouse: DuckDBWarehouse) -> None:
    pending = migrations.pending(warehouse, "user_id")
    assert [(each.version, each.title) for each in pending] == list(enumerate(TITLES))
    assert all(re.match(r"(CREATE|ALTER) .*;\Z", each.sql, re.DOTALL) for each in pending), pending
    assert tables(warehouse) == []


def test_migrations_are_applied_once(warehouse: DuckDBWarehouse) -> None:
    assert [each.title for each in migrations.apply(warehouse, "user_id")] == TITLES
    assert tables(warehouse) == TABLES
    assert done(warehouse) == TITLES
    assert migrations.pending(warehouse, "user_id") == []
    assert migrations.apply(warehouse, "user_id") == []


def test_what_is_shown_is_what_makes_the_tables(
    tmp_path: Path, warehouse: DuckDBWarehouse, open_warehouse: Callable[..., DuckDBWarehouse]
) -> None:
    by_hand = open_warehouse(tmp_path / "data")
    for each in migrations.pending(by_hand, "user_id"):
        for statement in each.sql.split(";\n"):
            by_hand.execute(statement)
    migrations.apply(warehouse, "user_id")
    for table in TABLES:
        assert by_hand.columns(f"churn.{table}") == warehouse.columns(f"churn.{table}") != {}


def test_columns_that_are_there_are_not_added_again(warehouse: DuckDBWarehouse) -> None:
    migrations.apply(warehouse, "user_id")
    warehouse.execute("delete from churn.schema_version where version >= 2")
    warehouse.execute("alter table churn.scores drop column reason_2")
    (reasons, published, *_) = migrations.pending(warehouse, "user_id")
    assert reasons.sql == "ALTER TABLE churn.scores\nADD COLUMN reason_2 TEXT(80);"
    assert published.sql.startswith("CREATE TABLE IF NOT EXISTS churn.published")
    assert [each.version for each in migrations.apply(warehouse, "user_id")] == [2, 3, 4, 5]
    assert "reason_2" in warehouse.columns("churn.scores")
    warehouse.execute("delete from churn.schema_version where version = 2")
    assert [each.sql for each in migrations.pending(warehouse, "user_id")] == ["-- exists already"]


def test_two_at_once_do_each_migration_once(warehouse: DuckDBWarehouse) -> None:
    barrier = Barrier(2)
    did: list[str] = []
    failed: list[BaseException] = []

    def run() -> None:
        barrier.wait()
        try:
            did.extend(each.title for each in migrations.apply(warehouse, "user_id"))
        except BaseException as error:
            failed.append(error)

    threads = [Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert sorted(did) == sorted(TITLES)
    assert done(warehouse) == TITLES


class LostError(Exception):
    pass


def test_a_failure_at_any_statement_leaves_whole_migrations(warehouse: DuckDBWarehouse) -> None:
    whole: set[int] = set()
    for fatal in range(1, 60):

        def lose(step: int, name: str, fatal: int = fatal) -> None:
            if step == fatal:
                raise LostError(name)

        try:
            migrations.apply(Counted(warehouse, lose), "user_id")  # type: ignore[arg-type]  # only looks like one
        except LostError:
            recorded = done(warehouse)
            assert {*tables(warehouse)} - {"schema_version"} == {*recorded} & {
                "scores",
                "published",
                "reasons",
            }
            assert ("reason_3" in warehouse.columns("churn.scores")) == ("score reasons" in recorded)
            whole.add(len(recorded))
            migrations.apply(warehouse, "user_id")
            assert done(warehouse) == TITLES
            warehouse.execute("drop schema churn cascade")
        else:
            break
    assert whole == {0, 1, 2, 3, 4, 5}
    assert done(warehouse) == TITLES


@pytest.mark.parametrize("dialect", ["duckdb", "redshift", "postgres"])
def test_every_migration_only_adds(dialect: Dialect) -> None:
    found = migrations.migrations(dialect, "user_id")
    assert [each.version for each in found] == list(range(len(found)))
    for each in found:
        assert not re.search(r"(?i)\b(drop|delete|rename|truncate|update|replace)\b", each.sql)


@pytest.mark.parametrize(
    "statement",
    [
        "drop table churn.scores",
        "delete from churn.scores",
        "truncate table churn.scores",
        "update churn.scores set margin = 0",
        "alter table churn.scores drop column margin",
        "alter table churn.scores rename to old",
        "alter table churn.scores rename column margin to m",
        "alter table churn.scores alter column run_id type varchar(9)",
        "alter table churn.scores add column x integer not null",
        "alter table churn.scores add column x integer, add column y integer",
        "create table churn.scores (x integer)",
        "create or replace table churn.scores (x integer)",
        "create view churn.v as select 1 as x",
        "insert into churn.scores with gone as (delete from churn.scores) select 1 as x",
        "create table if not exists churn.a (x integer);\n\ndrop table churn.scores",
        "vacuum churn.scores",
        "grant all on table churn.scores to public",
    ],
)
def test_a_migration_that_takes_away_is_refused(tmp_path: Path, statement: str) -> None:
    (tmp_path / "001_x.sql").write_text(statement, "utf-8")
    with pytest.raises((RunError, migrations.sqlglot.errors.ParseError)) as refused:
        migrations.migrations("redshift", "user_id", tmp_path)
    if refused.type is RunError:
        assert "001_x.sql is no migration" in str(refused.value)


def test_the_files_are_numbered_without_a_gap_and_say_what_they_make() -> None:
    files = sorted((sql_root() / "publish" / "migrations").iterdir())
    assert [path.name[:4] for path in files] == [f"{number:03d}_" for number in range(len(files))]
    assert all(path.read_text("utf-8").startswith("-- Makes: ") for path in files)


def test_tables_are_distributed_and_sorted_on_redshift_only() -> None:
    for dialect in ("duckdb", "postgres"):
        assert "KEY(" not in "".join(each.sql for each in migrations.migrations(dialect, "user_id"))
    placed = [each.title for each in migrations.migrations("redshift", "bbc_hid3") if "DISTKEY" in each.sql]
    assert placed == ["scores", "reasons"]
    (scores,) = (each.sql for each in migrations.migrations("redshift", "bbc_hid3") if each.title == "scores")
    assert 'DISTKEY("bbc_hid3")' in scores
    assert "COMPOUND SORTKEY(product, target_week_start_date)" in scores


def test_readers_are_granted_to_read_and_nothing_else(warehouse: DuckDBWarehouse) -> None:
    assert migrations.grants(REDSHIFT, "analysts") == [
        'grant usage on schema churn to group "analysts"',
        'grant select on table churn.scores to group "analysts"',
        'grant select on table churn.reasons to group "analysts"',
        'grant select on table churn.published to group "analysts"',
    ]
    assert migrations.grants(REDSHIFT, None) == migrations.grants(warehouse, "analysts") == []
    with pytest.raises(UsageError, match="cannot be used as a name"):
        migrations.grants(REDSHIFT, 'x"; drop table churn.scores; --')


def test_a_group_that_cannot_be_named_is_refused_before_anything_is_done(warehouse: DuckDBWarehouse) -> None:
    class Redshift(Counted):
        grants = RedshiftWarehouse.grants

    with pytest.raises(UsageError, match="cannot be used as a name"):
        migrations.apply(Redshift(warehouse, lambda *_: None), "user_id", readers="A b")  # type: ignore[arg-type]  # only looks like one
    assert tables(warehouse) == []


@pytest.mark.parametrize("name", ["value", "rank", 'x" int); --', "X"])
def test_an_id_column_that_cannot_be_one_is_refused(warehouse: DuckDBWarehouse, name: str) -> None:
    with pytest.raises(UsageError, match=r"cannot be"):
        migrations.pending(warehouse, name)
