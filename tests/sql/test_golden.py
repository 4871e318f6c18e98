"""Golden cases of SQL files: a few rows in, and the rows that must come out.

A case is ``tests/sql/<path of the SQL file>/<case>.toml``. Its tables are written as text, one row a line,
cells separated by ``|``; ``-`` is null and ``''`` the empty text. Expected rows were worked out by hand. Columns
that are not listed are null in the input and not compared in the output.
"""

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from churn.config.settings import Product, Settings
from churn.dataset.plan import DatasetPlan, Tables
from churn.features.activity_facts import ActivityFacts
from churn.features.aggregates import lifetime
from churn.features.aggregates.tables import VersionedTables
from churn.features.aggregates.weekly import aggregate_tables
from churn.features.catalogue import WEEKDAYS, catalogue
from churn.sources.availability import Availability
from churn.warehouse.base import Warehouse
from churn.warehouse.duckdb.client import DuckDBWarehouse
from churn.warehouse.redshift.client import RedshiftWarehouse
from churn.warehouse.templates import STEP_FOLDERS, Step, create, load_step, render, sql_root
from tests.support.data_folders import AS_OF, BBC, EVENTS, write_table
from tests.support.fixtures_aws import Redshift

HERE = Path(__file__).parent
CASES = sorted(path.relative_to(HERE).with_suffix("").as_posix() for path in HERE.rglob("*.toml"))
_ACTIVITY = {
    "user_id": "varchar",
    "product": "varchar",
    "activity_date": "date",
    "occurred_at": "timestamp",
    "value": "double precision",
    "page_views": "integer",
    "category": "varchar",
    "item_id": "varchar",
    "series_id": "varchar",
    "content_id": "varchar",
    "device": "varchar",
    "is_live": "smallint",
    "is_play": "smallint",
    "is_long_play": "smallint",
}
LIFE = {
    "user_id": "varchar",
    **dict.fromkeys(("week_start", "first_week", "first_date", "last_date", "back_week"), "date"),
    **dict.fromkeys(("active_weeks", "active_days", "events"), "bigint"),
    "value": "decimal(38, 4)",
    **dict.fromkeys(("longest_gap", "gaps", "steps", "sum_steps", "sum_squared_steps"), "bigint"),
}
# Columns of the tables between steps.
CONTRACT: Mapping[str, Mapping[str, str]] = {
    "activity": _ACTIVITY,
    "week_activity": {**_ACTIVITY, "week_start": "date", "day_bit": "integer"},
    "week_facts_kept": {
        "week_start": "date",
        "product": "varchar",
        "raw_rows": "bigint",
        "first_date": "date",
        "last_date": "date",
    },
    "week_users_kept": {
        "week_start": "date",
        "product": "varchar",
        "users": "bigint",
        "events": "bigint",
        "log_events": "decimal(38, 6)",
        **{f"users_{weekday}": "bigint" for weekday in WEEKDAYS},
    },
    "user_week_kept": {
        "product": "varchar",
        "user_id": "varchar",
        "week_start": "date",
        "events": "bigint",
        "days": "integer",
        "play_days": "integer",
        "page_views": "bigint",
        "value": "decimal(38, 4)",
        "first_date": "date",
        "last_date": "date",
    },
    "user_item_week_kept": {
        "product": "varchar",
        "user_id": "varchar",
        "week_start": "date",
        "item_id": "varchar",
        "series_id": "varchar",
        "content_id": "varchar",
        "events": "bigint",
        "value": "decimal(38, 4)",
        "days": "integer",
        "live_value": "decimal(38, 4)",
        "live_days": "integer",
        "demand_days": "integer",
        "long_plays": "bigint",
    },
    "content": {
        "series_id": "varchar",
        "season_id": "varchar",
        "item_id": "varchar",
        "published_date": "date",
        "genre": "varchar",
    },
    "titles": {
        "content_id": "varchar",
        "genre": "varchar",
        "master_brand": "varchar",
        "published_date": "date",
        "versions": "bigint",
    },
    "title_state": {
        "as_of_date": "date",
        "content_id": "varchar",
        "genre": "varchar",
        "master_brand": "varchar",
    },
    "formats": {
        "item_id": "varchar",
        "is_podcast": "smallint",
        "is_sounds_podcast": "smallint",
        "is_mix": "smallint",
    },
    "profile": {
        "user_id": "varchar",
        "usable": "boolean",
        "conflicting": "integer",
        "created_date": "date",
        "age": "integer",
        "gender": "varchar",
        "predicted_gender": "varchar",
        "predicted_age": "varchar",
        "location": "varchar",
        "personalisation": "varchar",
        "mail_verified": "varchar",
        "nation": "varchar",
        "region": "varchar",
        "acorn_type": "varchar",
        "acorn_group": "varchar",
        "acorn_category": "varchar",
    },
    "segments": {
        "user_id": "varchar",
        "segment_product": "varchar",
        "segment_date": "date",
        "segment": "varchar",
    },
    "follows": {
        "user_id": "varchar",
        "product": "varchar",
        "kind": "varchar",
        "followed_date": "date",
    },
    "newsletter": {
        "user_id": "varchar",
        "changed_date": "date",
        "opted_in": "smallint",
    },
    "mails": {
        "user_id": "varchar",
        "mail_date": "date",
        "kind": "varchar",
        "send_id": "varchar",
    },
    "activations": {
        "user_id": "varchar",
        "product": "varchar",
        "week_start": "date",
        "content_id": "varchar",
    },
    "factors": {
        "product": "varchar",
        "content_id": "varchar",
        **{f"f{factor}": "double precision" for factor in range(20)},
    },
    "user_life_kept": LIFE,
    "user_state_kept": LIFE,
    "eligible": {"user_id": "varchar", "as_of_date": "date"},
    "feature_rows": {"user_id": "varchar", "as_of_date": "date"},
    "snapshots": {
        "user_id": "varchar",
        "as_of_date": "date",
        "purpose": "varchar",
        "churned": "integer",
    },
    "user_week": {
        "user_id": "varchar",
        "week_start": "date",
        "events": "bigint",
        "days": "smallint",
        "active_days": "bigint",
        "value": "decimal(38, 4)",
        "page_views": "bigint",
        "play_value": "decimal(38, 4)",
        "play_days": "bigint",
        "first_date": "date",
        "last_date": "date",
    },
    "other_week": {
        "user_id": "varchar",
        "week_start": "date",
        "product": "varchar",
        "days": "integer",
        "events": "bigint",
        "value": "decimal(38, 4)",
        "last_date": "date",
    },
    "user_item_week": {
        "user_id": "varchar",
        "week_start": "date",
        "item_id": "varchar",
        "series_id": "varchar",
        "content_id": "varchar",
        "events": "bigint",
        "value": "decimal(38, 4)",
        "days": "smallint",
        "live_value": "decimal(38, 4)",
        "live_days": "smallint",
        "demand_days": "smallint",
        "long_plays": "bigint",
    },
    "genre_schedule": {
        "as_of_date": "date",
        "genre": "varchar",
        "releases_target": "bigint",
        "releases_weekly": "double precision",
        "releases_relative": "double precision",
    },
    "series_state": {
        "as_of_date": "date",
        "series_id": "varchar",
        "ended": "integer",
        "finale_last_week": "integer",
        "premiere_last_week": "integer",
        "due_lead": "integer",
        "due_target": "integer",
    },
}


def cells(text: str) -> tuple[list[str], list[list[str | None]]]:
    """Return the column names and rows of a table that is written as text."""
    lines = [[cell.strip() for cell in line.split("|")] for line in text.strip().splitlines()]
    names, *rows = lines
    assert all(len(row) == len(names) for row in rows), "a row has too many or too few cells"
    special = {"-": None, "''": ""}
    return names, [[special.get(cell, cell) for cell in row] for row in rows]


def read_plan(case: Mapping[str, Any]) -> DatasetPlan:
    product = Product.model_validate({"title": "x", **case.get("product", {})})
    available = Availability(**case.get("available", {}))
    as_of = case.get("as_of", AS_OF)
    settings = Settings(
        data=HERE,
        out=HERE,
        source="events",
        products={"x": product},
        value_decimals=case.get("value_decimals", 4),
    )
    return DatasetPlan(
        name="x",
        product=product,
        source="events",
        windows=product.windows(as_of),
        known_until=case.get("known_until", as_of),
        training_dates=tuple(case.get("training_dates", [])),
        new_dates=tuple(case.get("new_dates", [])),
        schema="run",
        facts=ActivityFacts(0, as_of, as_of, available),
        catalogue=catalogue(product, available),
        tables=kept_tables(aggregate_tables(settings), product),
        steps=(),
    )


def kept_tables(aggregates: VersionedTables, product: Product) -> Tables:
    """Kept tables with fixed names, so that a case can give them: ``user_week_kept``."""
    aggregates = replace(aggregates, schema="run", digest="kept")
    totals = replace(lifetime.lifetime_tables(aggregates, product), digest="kept")
    return Tables(aggregates, totals, aggregates, {})


def fill(warehouse: Warehouse, table: str, text: str, plan: DatasetPlan) -> None:
    """Make a table of the run's schema with a case's rows."""
    features = plan.catalogue
    names, rows = cells(text)
    types = dict(CONTRACT.get(table, {"user_id": "varchar", "as_of_date": "date"}))
    if table in ("user_week_kept", "user_week", "other_week"):
        types |= {f"value_{name}": "decimal(38, 4)" for name in plan.names["share_columns"]}
        types |= {f"days_device_{name}": "integer" for name in plan.names["devices"]}
        types |= {f"value_device_{name}": "decimal(38, 4)" for name in plan.names["devices"]}
        types |= {"play_value": "decimal(38, 4)"}
    columns = [feature.name for feature in features.features if table in (feature.step, "feature_rows")]
    for name in (*columns, *names):
        types.setdefault(name, "decimal(38, 4)" if name.startswith("value_") else "double precision")
    load(warehouse, f"run.{table}", types, [dict(zip(names, row, strict=True)) for row in rows])


def load(
    warehouse: Warehouse, table: str, types: Mapping[str, str], rows: Sequence[Mapping[str, str | None]]
) -> None:
    """Make a table from rows of texts."""
    warehouse.execute(f"create table {table} ({', '.join(f'{name} {kind}' for name, kind in types.items())})")
    for row in rows:
        values = {name: cell for name, cell in row.items() if cell is not None}
        marks = [
            f"cast({mark(warehouse, name)} as {types[name]})" if name in values else "null" for name in row
        ]
        warehouse.execute(f"insert into {table} ({', '.join(row)}) values ({', '.join(marks)})", values)


def mark(warehouse: Warehouse, name: str) -> str:
    """Return how a warehouse's dialect writes a bound parameter."""
    return f"${name}" if warehouse.dialect == "duckdb" else f"%({name})s"


_SQL_TYPES = {
    pa.string(): "varchar",
    pa.date32(): "date",
    pa.int32(): "integer",
    pa.float64(): "double precision",
    pa.timestamp("us"): "timestamp",
}


def raw_table(table: str, text: str) -> pa.Table:
    """Return rows of a source table with the types of the source contract."""
    schema = EVENTS if table == "events.activity" else BBC[table]
    names, rows = cells(text)
    texts = pa.table({name: pa.array([row[i] for row in rows], pa.string()) for i, name in enumerate(names)})
    with duckdb.connect() as con:  # reads dates, times and numbers from text
        con.register("texts", texts)
        listed = [
            f"cast({name if name in names else 'null'} as {_SQL_TYPES[schema.field(name).type]}) as {name}"
            for name in schema.names
        ]
        return con.sql(f"select {', '.join(listed)} from texts").to_arrow_table().cast(schema)


def same(cell: str | None, value: Any) -> bool:
    """Return whether a value equals a cell."""
    if cell is None or value is None:
        return cell is None and value is None
    if isinstance(value, bool):
        return cell == str(value).lower()
    if isinstance(value, int | float | Decimal):
        return float(value) == pytest.approx(float(cell), rel=1e-6, abs=1e-9)
    if isinstance(value, date):
        return cell == value.isoformat() or cell == str(value)
    return bool(cell == value)


Opener = Callable[[Mapping[str, str]], AbstractContextManager[Warehouse]]


@pytest.fixture
def on_duckdb(tmp_path: Path) -> Opener:
    """DuckDB on files of raw tables."""

    @contextmanager
    def opened(raw: Mapping[str, str]) -> Iterator[Warehouse]:
        for table, text in (raw or {"events.activity": "user_id"}).items():
            write_table(tmp_path, table, raw_table(table, text))
        warehouse = DuckDBWarehouse(None, tmp_path, memory="500MB", threads=1)
        try:
            yield warehouse
        finally:
            warehouse.close()

    return opened


@pytest.fixture
def on_redshift(redshift: Redshift) -> Opener:
    """The stand-in for Redshift with raw tables in it."""

    @contextmanager
    def opened(raw: Mapping[str, str]) -> Iterator[Warehouse]:
        warehouse = RedshiftWarehouse(redshift.settings())
        try:
            for table, text in raw.items():
                schema = EVENTS if table == "events.activity" else BBC[table]
                types = {field.name: _SQL_TYPES[field.type] for field in schema}
                names, rows = cells(text)
                redshift.look(f"create schema if not exists {table.partition('.')[0]}")
                load(warehouse, table, types, [dict(zip(names, row, strict=True)) for row in rows])
            yield warehouse
        finally:
            warehouse.close()

    return opened


def run_case(sql_file: str, case: Mapping[str, Any], opened: Opener) -> pa.Table:
    """Run one SQL file on a case's rows."""
    plan = read_plan(case)
    given: Mapping[str, str] = case["given"]
    raw = {table: text for table, text in given.items() if "." in table}
    with opened(raw) as warehouse:
        warehouse.execute("create schema run")
        for table, text in given.items():
            if table not in raw:
                fill(warehouse, table, text, plan)
        tables = plan.tables
        names = {**tables.aggregates.names, **plan.names, "kept": tables.name, **case.get("names", {})}
        step = load_step(sql_file, names)
        values = {**tables.aggregates.values, **plan.parameters, **case.get("parameters", {})}
        make_needed(step, given, names, values, warehouse)
        statement = render(step.text, names, values, "run", warehouse.dialect)
        return warehouse.fetch(statement.sql, statement.parameters)


def make_needed(
    step: Step,
    given: Mapping[str, str],
    names: Mapping[str, Any],
    values: Mapping[str, Any],
    warehouse: Warehouse,
) -> None:
    """Make the steps that a step reads and a case does not give."""
    for name in sorted(step.needs - given.keys()):
        for path in (f"{folder}/{name}.sql" for folder in STEP_FOLDERS):
            if (sql_root() / path).is_file():
                needed = load_step(path, names)
                make_needed(needed, given, names, values, warehouse)
                statement = create(needed, names, values, "run", warehouse.dialect)
                warehouse.execute(statement.sql, statement.parameters)


@pytest.mark.parametrize("warehouse", ["duckdb", "redshift"])
@pytest.mark.parametrize("name", CASES)
def test_golden(name: str, warehouse: str, request: pytest.FixtureRequest) -> None:
    opened: Opener = request.getfixturevalue(f"on_{warehouse}")
    case = tomllib.loads((HERE / f"{name}.toml").read_text("utf-8"))
    result = run_case(f"{name.rpartition('/')[0]}.sql", case, opened)
    names, expected = cells(case["expected"])
    assert set(names) <= set(result.column_names)
    assert not set(case.get("absent", [])) & set(result.column_names)
    grain = names[: case.get("grain", 2)]
    actual = [[row[column] for column in names] for row in result.select(names).to_pylist()]

    def key(row: list[Any]) -> list[str]:
        return [str(cell) for cell in row[: len(grain)]]

    actual.sort(key=key)
    expected.sort(key=key)
    assert [key(row) for row in actual] == [key(row) for row in expected], case["meaning"]
    wrong = [
        f"{dict(zip(grain, row, strict=False))}: {column} is {value!r}, not {cell!r}"
        for row, wanted in zip(actual, expected, strict=True)
        for column, value, cell in zip(names, row, wanted, strict=True)
        if not same(cell, value)
    ]
    assert not wrong, case["meaning"]


def test_each_step_has_a_golden_case() -> None:
    files = {path.relative_to(sql_root()).with_suffix("").as_posix() for path in sql_root().rglob("*.sql")}
    covered = {name.rpartition("/")[0] for name in CASES}
    assert covered <= files, "a case of a file that is not there"
    bare = {name for name in files - covered if not name.startswith("publish/")}  # tested with their users
    assert bare == {"duckdb/functions"}
