"""Publishing over a connection that can be cut at any statement, and beside others who publish."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import timedelta
from threading import Event
from typing import Any

import pytest

from churn.core.errors import RunError
from churn.outputs import migrations
from churn.outputs.tables import Published
from churn.warehouse import retries
from churn.warehouse.base import LostConnectionError
from churn.warehouse.redshift.client import RedshiftWarehouse
from tests.stand_ins.redshift import Fault
from tests.support.fixtures_aws import Bucket, Redshift
from tests.support.publishing import (
    LATER_RUN,
    RUN,
    STARTED,
    TABLES,
    Counted,
    Place,
    publish,
    reason_file,
    runs,
    score_file,
    standing,
    standing_reasons,
    tables,
)

# Not what the connection does for itself.
OWN = r"^(?!set |select 1\s*$|select pg_|begin|rollback)"
CHANGES = r"^(create|alter|insert|lock)"
OLD = [("food", RUN, "food-1", 2, 6)]
NEW = [("food", LATER_RUN, "food-2", 3, 9)]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "_FIRST_PAUSE", 0.02)


@pytest.fixture
def warehouse(redshift: Redshift) -> Iterator[RedshiftWarehouse]:
    with closing(RedshiftWarehouse(redshift.settings(retries=0))) as found:
        yield found


def older(bucket: Bucket) -> dict[str, Any]:
    place = Place(bucket.url) / "old"
    return {
        "paths": [score_file(place / "s.parquet", {"a": 0.25, "b": 0.5})],
        "rows": 2,
        "reason_paths": [reason_file(place / "r.parquet", ["a", "b"])],
    }


def newer(bucket: Bucket) -> dict[str, Any]:
    place, later = Place(bucket.url) / "new", STARTED + timedelta(hours=1)
    users = {"b": 0.75, "c": 0.125, "d": 0.5}
    changes = {
        "run_id": LATER_RUN,
        "score_datetime": later.replace(tzinfo=None),
        "model_version": "food-2",
    }
    return {
        "paths": [score_file(place / "s.parquet", users, **changes)],
        "rows": 3,
        "reason_paths": [reason_file(place / "r.parquet", list(users))],
        "run_id": LATER_RUN,
        "started_at": later,
    }


def whole(warehouse: RedshiftWarehouse) -> list[tuple[Any, ...]]:
    """Which run stands, after a look that scores and reasons are that run's and nothing else is there."""
    stands = runs(warehouse)
    ((_, run_id, _, score_rows, reason_rows),) = stands
    assert [row[4] for row in standing(warehouse)] == [run_id] * score_rows
    assert [row[5] for row in standing_reasons(warehouse)] == [run_id] * reason_rows
    assert tables(warehouse) == TABLES
    return stands


def test_a_connection_that_ends_at_any_statement_leaves_the_old_rows_or_the_new_ones(
    redshift: Redshift, bucket: Bucket, warehouse: RedshiftWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "ATTEMPTS", 1)
    old, new = older(bucket), newer(bucket)
    publish(warehouse, **old)
    left = []
    for point in ("statement", "answer"):
        for step in range(100):
            fault = Fault(point, "crash", OWN, skip=step)
            redshift.front.faults[:] = [fault]
            try:
                publish(warehouse, **new)
            except RunError as error:
                lost = error
            else:
                assert fault.times, "this fault had no statement to happen at"
                break
            finally:
                redshift.front.faults.clear()
            left.append(whole(warehouse))
            # What is new although a connection was lost is what was lost after a commit.
            unsure = isinstance(lost, LostConnectionError) and not lost.unchanged and point == "answer"
            assert left[-1] == OLD or (left[-1] == NEW and unsure), (point, step, lost)
            if left[-1] == NEW:
                warehouse.execute("delete from churn.published")  # for the older run to go back
                publish(warehouse, **old)
        assert step > 15
        assert whole(warehouse) == NEW
        warehouse.execute("delete from churn.published")
        publish(warehouse, **old)
    assert left.count(NEW) == 1
    assert publish(warehouse, **new).replaced == 2
    assert whole(warehouse) == NEW


@pytest.mark.parametrize(
    "match",
    [
        "^lock table churn.published",
        "^copy churn.staging_scores",
        "^copy churn.staging_reasons",
        "^delete from churn.scores",
        "^insert into churn.reasons",
        "^insert into churn.published",
        "^commit",
    ],
)
@pytest.mark.parametrize("point", ["statement", "answer"])
def test_a_connection_lost_once_is_survived(
    redshift: Redshift, bucket: Bucket, warehouse: RedshiftWarehouse, match: str, point: Any
) -> None:
    new = newer(bucket)
    publish(warehouse, **older(bucket))
    fault = Fault(point, "cut", match, skip=3 if match == "^commit" else 0)
    redshift.front.faults.append(fault)
    published = publish(warehouse, migrate=False, **new)
    assert published in [Published("churn.scores", 3, n, reasons=9) for n in (2, 3)]
    assert not fault.times, "it happened"
    assert whole(warehouse) == NEW


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_of_many_that_publish_at_once_the_newest_stands(
    redshift: Redshift, bucket: Bucket, isolation: str
) -> None:
    redshift.look(f"alter database {redshift.database} set default_transaction_isolation = '{isolation}'")
    old, new = older(bucket), newer(bucket)

    def run(change: dict[str, Any]) -> Published:
        with closing(RedshiftWarehouse(redshift.settings())) as own:
            return publish(own, **change)

    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(run, [old, new, old, new, old, new]))
    assert {each.rows for each in done[1::2]} == {3}
    assert all(each.newer_run in (None, LATER_RUN) for each in done[::2])
    with closing(RedshiftWarehouse(redshift.settings())) as warehouse:
        assert whole(warehouse) == NEW
        assert [row[0] for row in standing(warehouse)] == ["b", "c", "d"]


@pytest.mark.parametrize("first", ["older", "newer"])
def test_who_comes_second_waits_and_then_looks_and_readers_do_not_wait(
    redshift: Redshift, bucket: Bucket, warehouse: RedshiftWarehouse, first: str
) -> None:
    changes = {"older": older(bucket), "newer": newer(bucket)}
    migrations.apply(warehouse, "user_id")
    arrived, go_on = Event(), Event()

    def stop(_: int, step: str) -> None:
        if step == "commit" and standing_there:
            arrived.set()
            assert go_on.wait(30)

    standing_there = True
    second = next(name for name in changes if name != first)
    with ThreadPoolExecutor(2) as pool, closing(RedshiftWarehouse(redshift.settings())) as other:
        one = pool.submit(publish, Counted(warehouse, stop), **changes[first])
        assert arrived.wait(30)
        two = pool.submit(publish, other, **changes[second])
        while not redshift.look("select 1 from pg_locks where not granted"):
            assert not two.done()
        assert redshift.look("select count(*) from churn.scores") == [(0,)]
        assert not two.done()
        go_on.set()
        assert one.result(30).newer_run is None
        kept = two.result(30).newer_run
    assert kept == (LATER_RUN if second == "older" else None)
    assert whole(warehouse) == NEW


def test_the_other_driver_publishes_as_well(redshift: Redshift, bucket: Bucket) -> None:
    old, new = older(bucket), newer(bucket)
    with closing(RedshiftWarehouse(redshift.settings(driver="redshift_connector"))) as warehouse:
        assert publish(warehouse, **old) == Published("churn.scores", 2, 0, reasons=6)
        redshift.front.faults.append(Fault("answer", "cut", "^insert into churn.scores"))
        assert publish(warehouse, **new) == Published("churn.scores", 3, 2, reasons=9)
        assert publish(warehouse, **old).newer_run == LATER_RUN
        assert whole(warehouse) == NEW


@pytest.mark.parametrize("isolation", ["read committed", "serializable"])
def test_many_that_migrate_at_once_do_each_migration_once(redshift: Redshift, isolation: str) -> None:
    redshift.look(f"alter database {redshift.database} set default_transaction_isolation = '{isolation}'")

    def run(_: int) -> list[str]:
        with closing(RedshiftWarehouse(redshift.settings())) as own:
            return [each.title for each in migrations.apply(own, "user_id")]

    with ThreadPoolExecutor(4) as pool:
        done = [title for titles in pool.map(run, range(4)) for title in titles]
    assert sorted(done) == [
        "published", "reason sentences", "reasons", "schema version", "score reasons", "scores",
    ]  # fmt: skip


def test_a_connection_that_ends_while_it_migrates_leaves_whole_migrations(
    redshift: Redshift, warehouse: RedshiftWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "ATTEMPTS", 1)
    for point in ("statement", "answer"):
        for step in range(100):
            fault = Fault(point, "crash", CHANGES, skip=step)
            redshift.front.faults[:] = [fault]
            with suppress(LostConnectionError):
                migrations.apply(warehouse, "user_id")
            redshift.front.faults.clear()
            there = set(tables(warehouse)) - {"schema_version"}
            versions = "select title from churn.schema_version"
            recorded = bool(warehouse.columns("churn.schema_version"))
            done = warehouse.fetch(versions)["title"].to_pylist() if recorded else []
            assert there == {*done} & {"scores", "published", "reasons"}
            assert ("reason_3" in warehouse.columns("churn.scores")) == ("score reasons" in done)
            if fault.times:
                break
            warehouse.execute("drop schema if exists churn cascade")
        assert step > 12
        assert migrations.pending(warehouse, "user_id") == []
        warehouse.execute("drop schema churn cascade")


def test_a_group_may_read_what_is_published(redshift: Redshift, warehouse: RedshiftWarehouse) -> None:
    redshift.look(f"create role {redshift.database}_analysts")
    try:
        group = f"{redshift.database}_analysts"
        for _ in range(2):
            migrations.apply(warehouse, "user_id", readers=group)
        granted = redshift.look(
            "select table_name, privilege_type from information_schema.role_table_grants"
            f" where grantee = '{group}' order by 1"
        )
        assert granted == [(name, "SELECT") for name in ("published", "reasons", "scores")]
    finally:
        redshift.look(f"drop owned by {group}; drop role {group}")
