"""Features of side tables: later rows change nothing, and each snapshot has one row."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn.features.catalogue import catalogue
from churn.sources.availability import Availability
from churn.warehouse.duckdb.client import DuckDBWarehouse
from churn.warehouse.templates import Statement, load_step, render
from tests.sql.test_golden import CONTRACT, read_plan
from tests.support.data_folders import AS_OF, event_folder, weekly_events

DATES = (AS_OF, AS_OF - timedelta(days=14))
SNAPSHOTS = [("a", AS_OF), ("a", AS_OF - timedelta(days=14)), ("b", AS_OF), ("c", AS_OF)]
PRODUCT = {"match": ["iplayer", "sounds"], "factors": 2, "follows": ["follow", "bookmark"]}
# Days from the as-of date: around both as-of dates, around the starts of their windows, and any others.
EDGES = [edge + day for edge in (0, -14, -91, -105) for day in (-7, -1, 0, 1, 7)]
DAYS = st.one_of(st.sampled_from(EDGES), st.integers(-400, 40))


@dataclass(frozen=True)
class Side:
    """The side table of a step, and when its rows are known.

    Attributes:
        table: the table.
        day: its column of dates.
        delay: days from that date until the row is known.
        weekly: whether the date is a Monday.
        others: strategies of the other columns.
    """

    table: str
    day: str
    others: dict[str, st.SearchStrategy[Any]]
    delay: int = 0
    weekly: bool = False

    def rows(self) -> st.SearchStrategy[list[dict[str, Any]]]:
        monday = AS_OF - timedelta(days=6)
        days = DAYS.map(
            lambda n: monday + timedelta(days=n // 7 * 7) if self.weekly else AS_OF + timedelta(days=n)
        )
        row = st.fixed_dictionaries({"user_id": st.sampled_from("ab"), self.day: days, **self.others})
        return st.lists(row, min_size=3, max_size=12)

    def known(self, row: dict[str, Any], day: date) -> bool:
        return bool(row[self.day] + timedelta(days=self.delay) <= day)


PRODUCTS = st.sampled_from(["iplayer", "sounds", "radio"])
CONTENTS = st.sampled_from(["x", "y", "z", None])
SIDES = {
    "features_segments": Side(
        "segments",
        "segment_date",
        {"segment_product": PRODUCTS, "segment": st.sampled_from(["A. Daily", "B. Weekly"])},
    ),
    "features_newsletter": Side("newsletter", "changed_date", {"opted_in": st.integers(0, 1)}),
    "features_mails": Side("mails", "mail_date", {"kind": st.sampled_from(["open", "click"])}),
    "features_follows": Side(
        "follows",
        "followed_date",
        {"product": PRODUCTS, "kind": st.sampled_from(["follow", "subscribe", "bookmark"])},
    ),
    "features_activations": Side(
        "activations", "week_start", {"product": PRODUCTS, "content_id": CONTENTS}, delay=6, weekly=True
    ),
    "features_favourite": Side(
        "user_item_week",
        "week_start",
        {"item_id": CONTENTS, "content_id": CONTENTS, "value": st.sampled_from([0, 1, 1, 2.5])},
        delay=6,
        weekly=True,
    ),
}
TITLES = [{"content_id": name, "genre": f"genre {name}", "master_brand": f"of {name}"} for name in "xy"]
FACTORS = [
    {"product": product, "content_id": name, "f0": 0.5, "f1": ord(name)}
    for product, name in (("iplayer", "x"), ("sounds", "x"), ("sounds", "z"))
]


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBWarehouse]:
    data = event_folder(tmp_path_factory.mktemp("side"), weekly_events(["a"], 1))  # not read here
    opened = DuckDBWarehouse(None, data, memory="500MB", threads=1)
    opened.execute("create schema run")
    for table, rows in {
        "eligible": [{"user_id": user, "as_of_date": day} for user, day in SNAPSHOTS],
        "title_state": [{"as_of_date": day, **title} for title in TITLES for day in DATES],
        "factors": FACTORS,
    }.items():
        fill(opened, table, rows)
    yield opened
    opened.close()


def fill(warehouse: DuckDBWarehouse, table: str, rows: list[dict[str, Any]]) -> None:
    types = CONTRACT[table]
    warehouse.execute(
        f"create or replace table run.{table} ({', '.join(f'{name} {kind}' for name, kind in types.items())})"
    )
    if rows:
        names = list(rows[0])
        marks = [f"({', '.join(f'${name}_{i}' for name in names)})" for i in range(len(rows))]
        warehouse.execute(
            f"insert into run.{table} ({', '.join(names)}) values {', '.join(marks)}",
            {f"{name}_{i}": value for i, row in enumerate(rows) for name, value in row.items()},
        )


@cache
def statement_of(step: str) -> Statement:
    plan = read_plan({"product": PRODUCT})
    text = load_step(f"features/{step}.sql", plan.names).text
    return render(text, plan.names, plan.parameters, "run", "duckdb")


def features(warehouse: DuckDBWarehouse, step: str, rows: list[dict[str, Any]]) -> pa.Table:
    fill(warehouse, SIDES[step].table, rows)
    return warehouse.fetch(statement_of(step).sql, statement_of(step).parameters)


def by_snapshot(table: pa.Table) -> dict[tuple[str, date], dict[str, Any]]:
    rows = table.to_pylist()
    snapshots = {(row["user_id"], row["as_of_date"]): row for row in rows}
    assert len(snapshots) == len(rows), "a snapshot has several rows"
    return snapshots


@pytest.mark.parametrize("step", SIDES)
@settings(max_examples=30)
@given(data=st.data())
def test_later_rows_and_the_order_of_rows_change_nothing(
    warehouse: DuckDBWarehouse, step: str, data: st.DataObject
) -> None:
    side = SIDES[step]
    rows = data.draw(side.rows())
    everything = by_snapshot(features(warehouse, step, rows))
    for day in DATES:
        known = [row for row in rows if side.known(row, day)]
        random.Random(1).shuffle(known)
        then = by_snapshot(features(warehouse, step, known))
        assert {key: row for key, row in everything.items() if key[1] == day} == {
            key: row for key, row in then.items() if key[1] == day
        }


@pytest.mark.parametrize("step", SIDES)
def test_rows_of_the_last_day_count(warehouse: DuckDBWarehouse, step: str) -> None:
    """Otherwise the test above could pass for the wrong reason."""
    side = SIDES[step]
    texts = {"segment_product": "iplayer", "segment": "A. Daily", "product": "iplayer", "content_id": "x"}
    kind = "open" if side.table == "mails" else "follow"
    ordinary = {**texts, "kind": kind, "opted_in": 1, "item_id": "x", "value": 1}
    row = {"user_id": "a", **{column: ordinary[column] for column in side.others}}
    last = AS_OF - timedelta(days=side.delay)
    without = by_snapshot(features(warehouse, step, [])).get(("a", AS_OF))
    with_it = by_snapshot(features(warehouse, step, [{**row, side.day: last}]))[("a", AS_OF)]
    too_late = last + timedelta(days=7 if side.weekly else 1)
    later = by_snapshot(features(warehouse, step, [{**row, side.day: too_late}])).get(("a", AS_OF))
    assert with_it != without == later


def test_all_steps_that_read_side_tables_are_tested_here() -> None:
    plan = read_plan({"product": PRODUCT})
    side_tables = {"segments", "activations", "newsletter", "mails", "follows"}
    steps = {
        name
        for name in catalogue(plan.product, Availability()).steps
        if load_step(f"features/{name}.sql", plan.names).needs & side_tables
    }
    assert steps <= SIDES.keys()
