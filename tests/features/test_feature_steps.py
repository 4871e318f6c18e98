"""The catalogue and the SQL steps have the same columns, whatever sources exist."""

from datetime import date
from pathlib import Path

import pytest
import sqlglot
from jinja2 import Environment, meta

from churn.config.load import builtin_products
from churn.config.settings import Product, Settings
from churn.core.calendar import Windows
from churn.dataset.plan import DatasetPlan, define_tables
from churn.features.activity_facts import ActivityFacts
from churn.features.aggregates.weekly import aggregate_tables
from churn.features.catalogue import catalogue
from churn.sources.availability import ABSENT, Availability
from churn.warehouse.templates import load_step, render, sql_root

AS_OF = date(2024, 6, 30)
FLAGS = list(ABSENT)
PRODUCTS = {
    **{name: Product(**definition) for name, definition in builtin_products().items()},
    "bare": Product(title="bare"),
}
CASES = [
    *((name, ()) for name in PRODUCTS),
    ("iplayer", tuple(FLAGS)),
    *(("sounds", (flag,)) for flag in FLAGS),
]


def make_plan(product: Product, absent: tuple[str, ...]) -> DatasetPlan:
    available = Availability(**dict.fromkeys(absent, False))
    settings = Settings(data=Path("data"), out=Path("out"), products={"x": product})
    return DatasetPlan(
        name="x",
        product=product,
        source="bbc",
        windows=Windows(AS_OF),
        known_until=AS_OF,
        training_dates=(),
        new_dates=(),
        schema="run",
        facts=ActivityFacts(0, AS_OF, AS_OF, available),
        catalogue=catalogue(product, available),
        tables=define_tables("bbc", "x", product, available, aggregate_tables(settings)),
        steps=(),
    )


_SEEN: dict[tuple[str, str], list[str]] = {}


def selected(plan: DatasetPlan, step: str) -> list[str]:
    """Return the columns of a step's query in order; a query with the same names is parsed once."""
    text = load_step(f"features/{step}.sql", plan.names).text
    used = meta.find_undeclared_variables(Environment(autoescape=True).parse(text)) - {"ref"}
    key = step, repr({name: plan.names[name] for name in sorted(used)})
    if key not in _SEEN:
        statement = render(text, plan.names, plan.parameters, "run", "redshift")
        _SEEN[key] = sqlglot.parse_one(statement.sql, read="redshift").named_selects
    return _SEEN[key]


@pytest.mark.parametrize(
    ("name", "absent"), CASES, ids=[f"{name} without {len(a)} {a[0] if a else ''}" for name, a in CASES]
)
def test_a_step_makes_exactly_the_columns_of_the_catalogue(name: str, absent: tuple[str, ...]) -> None:
    plan = make_plan(PRODUCTS[name], absent)
    for step in plan.catalogue.steps:
        wanted = [feature.name for feature in plan.catalogue.features if feature.step == step]
        columns = selected(plan, step)
        assert columns[:2] == ["user_id", "as_of_date"]
        assert sorted(columns[2:]) == sorted(wanted), step


def test_every_step_that_makes_features_is_in_the_catalogue() -> None:
    files = {path.stem for path in (sql_root() / "features").glob("features_*.sql")}
    used = {step for product in PRODUCTS.values() for step in catalogue(product, Availability()).steps}
    assert files == used
