"""What ``tests.benchmarks.features`` compares with: each step scans the raw activity, as in the pipeline before this one.

For each product and each step the raw activity's view is joined with the snapshots over the observation windows of all
as-of dates; nothing is kept, and steps and products share nothing. ``naive/*.sql`` are the steps, in DuckDB's SQL. Only the
first step is kinder than that: who was active in which week is found once, and snapshots, weeks and trend are made from it.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from churn.config.settings import Product, Settings
from churn.core.calendar import OBSERVATION_WEEKS, OBSERVED_OFFSETS, WEEK, labelled_dates
from churn.core.names import slug
from churn.features import cohorts
from churn.features.catalogue import DAYPARTS, WEEKDAYS
from churn.warehouse.base import Warehouse
from churn.warehouse.templates import create, load_step

VIEWS = ("activity", "content", "titles", "formats", "profile", "factors")
FIRST_STEP = ("target_weeks", "snapshots", "weeks", "trend")
STEPS = (
    "affinity",
    "last_week",
    "devices",
    "favourite",
    "items",
    "series",
    "time_and_day",
    "lifetime",
    "other",
)
LISTENING = "listening"  # Sounds only
KEYS = ("user_id", "as_of_date")


@cache
def _environment() -> Environment:
    folder = FileSystemLoader(Path(__file__).parent / "naive")
    return Environment(
        loader=folder, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )


def schema_of(name: str) -> str:
    """Where a product's tables are made."""
    return f"naive_{name}"


def steps_of(product: Product) -> tuple[str, ...]:
    """The steps that a product has, in order."""
    return (*FIRST_STEP, *STEPS, *([LISTENING] if product.listening else []))


def _values(settings: Settings, name: str, first: date, as_of: date) -> Mapping[str, Any]:
    product = settings.product(name)
    dates = labelled_dates(product.windows(as_of), first, product.training.most_dates)
    start = min([*dates, as_of]) - OBSERVATION_WEEKS * WEEK + timedelta(days=1)
    [match] = product.match
    drawn = cohorts.assign_slots(tuple(dates), product.training.most_dates)
    return {
        "schema": schema_of(name),
        "product": match,
        "training_dates": [f"date '{day}'" for day in dates],
        "first_day": f"date '{start}'",
        "last_day": f"date '{as_of}'",
        "slots": cohorts.slots(product.training.most_dates),
        "cohorts": list(drawn.values()) if product.training.sampling == "cohort" else [],
        "minimum_value": product.minimum_value or 0,
        "minimum_account_age_days": product.minimum_account_age_days,
        "offsets": list(OBSERVED_OFFSETS),
        "categories": {slug(value): value for value in product.categories},
        "devices": {slug(value): value for value in product.devices},
        "dayparts": DAYPARTS,
        "weekdays": WEEKDAYS,
        "factors": product.factors,
    }


def build(warehouse: Warehouse, settings: Settings, name: str, first: date, as_of: date) -> int:
    """Make one product's features of an as-of date and of the past ones; return its snapshots.

    Args:
        first: first day of activity.
    """
    values, schema = _values(settings, name, first, as_of), schema_of(name)
    warehouse.execute(f"create schema {schema}")
    names = {"has_predictions": True}
    for view in VIEWS:
        step = load_step(f"sources/bbc/{view}.sql", names)
        warehouse.execute(create(step, names, {}, schema, warehouse.dialect).sql)
    warehouse.execute("set global integer_division = false")
    steps = steps_of(settings.product(name))
    for each in steps:
        warehouse.execute(
            f"create table {schema}.{each} as {_environment().get_template(f'{each}.sql').render(values)}"
        )
    joins = [
        f"left join {schema}.{each} using (user_id, as_of_date)"
        for each in steps
        if each not in FIRST_STEP[:2]
    ]
    return warehouse.execute(
        f"create table {schema}.feature_set as select * from {schema}.snapshots {' '.join(joins)}"
    )


def compare(warehouse: Warehouse, ours: str, database: str, schema: str) -> dict[str, int]:
    """Return in how many snapshots each column that both have differs.

    Args:
        ours: the table of our features.
        database: the attached database with the naive ones.
        schema: the product's there.

    Raises:
        AssertionError: they have not the same snapshots.
    """
    theirs = f"{database}.{schema}.feature_set"
    columns, other = (_columns(warehouse, table) for table in (ours, theirs))
    both = [name for name in other if name in columns and name not in KEYS]
    found = warehouse.fetch(
        f"select count(*) as rows_, {', '.join(f'{_differs(name, columns[name])} as {name}' for name in both)}"
        f" from {ours} as ours inner join {theirs} as naive using (user_id, as_of_date)"
    ).to_pylist()[0]
    rows = found.pop("rows_")
    sizes = [
        warehouse.fetch(f"select count(*) as n from {table}")["n"][0].as_py() for table in (ours, theirs)
    ]
    assert sizes == [rows, rows], f"not the same snapshots: {sizes}, of which both have {rows}"
    return {name: int(count) for name, count in found.items()}


def _columns(warehouse: Warehouse, table: str) -> dict[str, str]:
    found = warehouse.fetch(f"describe {table}")
    return dict(zip(found["column_name"].to_pylist(), found["column_type"].to_pylist(), strict=True))


def _differs(name: str, kind: str) -> str:
    mine, other = f"ours.{name}", f"naive.{name}"
    if kind not in ("DOUBLE", "FLOAT"):
        return f"count(*) filter ({mine} is distinct from {other})"
    return (
        f"count(*) filter (({mine} is null) <> ({other} is null)"
        f" or abs({mine} - {other}) > 1e-9 * greatest(abs({mine}), abs({other})))"
    )
