"""From source tables to snapshots: what runs in the warehouse for one product and as-of date.

Weekly runs, back-tests and rendering all plan with ``plan`` and run the same steps, so that training,
scoring and judging share one definition of eligibility, label and features.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from churn.calendar import (
    LABEL_DELAY,
    OBSERVATION_WEEKS,
    OBSERVED_OFFSETS,
    WEEK,
    Windows,
    labelled_dates,
    last_complete_as_of,
    monday_of,
    sunday_on_or_before,
)
from churn.config import Product, Settings, identifier, slug
from churn.errors import SourceError, UsageError
from churn.features import DAYPARTS, WEEKDAYS, Catalogue, catalogue, share_columns
from churn.sources import ActivityFacts, Availability, check_tables
from churn.warehouse.base import Dialect, LostConnectionError, Warehouse
from churn.warehouse.render import (
    Statement,
    Step,
    create,
    for_reading,
    load_step,
    render,
    sql_root,
    steps_for,
)

logger = logging.getLogger(__name__)

# One date held out, one whose target week it overlaps, one to stop on and one to fit on.
MINIMUM_TRAINING_DATES = 4
# What an empty time often turns into, 1970-01-01 or 1900-01-01, is no activity.
_HISTORY_START = date(1970, 1, 2)


@dataclass(frozen=True)
class Plan:
    """Everything that the SQL of one product and as-of date depends on.

    Attributes:
        name: the product's name.
        product: its definition.
        windows: the windows of the as-of date.
        known_until: the last day of activity that may be read: the as-of date, except to learn outcomes.
        training_dates: past as-of dates, ascending.
        schema: where the steps' tables are made; one per run.
        facts: what is known of the product's activity.
        catalogue: the features.
        steps: the SQL steps, in an order that respects their dependencies.
    """

    name: str
    product: Product
    source: str
    windows: Windows
    known_until: date
    training_dates: tuple[date, ...]
    schema: str
    facts: ActivityFacts
    catalogue: Catalogue
    steps: tuple[Step, ...]

    @property
    def names(self) -> dict[str, Any]:
        """What the templates may use: validated names, flags and counts, never values."""
        return _names(self.product, self.facts.available, self.catalogue, len(self.training_dates))

    @property
    def parameters(self) -> dict[str, Any]:
        """Every value that a statement may bind."""
        product = self.product
        return {
            **_match_parameters(product),
            "as_of": self.windows.as_of,
            "known_until": self.known_until,
            "history_start": _HISTORY_START,
            "minimum_value": product.minimum_value,
            "minimum_account_age_days": product.minimum_account_age_days,
            **{f"training_date_{index}": day for index, day in enumerate(self.training_dates)},
            **{f"category_{slug(value)}": f";{value.replace('; ', ';')};" for value in product.categories},
            **{f"device_{slug(value)}": value for value in product.devices},
        }

    def outcomes(self, schema: str) -> "Plan":
        """Return the plan that learns what the scored users did: it reads on to the target week's end."""
        names = _names(self.product, self.facts.available, self.catalogue, training_dates=0)
        return replace(
            self,
            schema=identifier(schema),
            known_until=self.windows.target_week_end,
            training_dates=(),
            steps=steps_for(self.source, ["snapshots"], names),
        )


def _names(
    product: Product, available: Availability, features: Catalogue, training_dates: int
) -> dict[str, Any]:
    return {
        **_match_names(product),
        "has_category": available.category and bool(product.categories),
        "has_device": available.device and bool(product.devices),
        "has_time": available.time_of_day,
        "has_profile": available.profile,
        "has_minimum_value": product.minimum_value is not None,
        "categories": [slug(value) for value in product.categories] if available.category else [],
        "devices": [slug(value) for value in product.devices] if available.device else [],
        "dayparts": DAYPARTS,
        "weekdays": WEEKDAYS,
        "share_columns": share_columns(product, available),
        "observed_offsets": list(OBSERVED_OFFSETS),
        "training_dates": training_dates,
        "sampling": product.training.sampling,
        "feature_groups": list(features.steps),
        "feature_columns": [(f.step, f.name, f.type) for f in features.features],
    }


def _match_names(product: Product) -> dict[str, Any]:
    return {"matches": list(range(len(product.match)))}


def _match_parameters(product: Product) -> dict[str, Any]:
    return {f"match_{index}": value for index, value in enumerate(product.match)}


def plan(
    warehouse: Warehouse,
    settings: Settings,
    name: str,
    as_of: date,
    schema: str,
    *,
    today: date | None = None,
) -> Plan:
    """Check the sources and plan the SQL of one product and as-of date.

    Makes the run's schema with the source views in it, and reads the activity once for its facts.

    Args:
        schema: where the run's tables are made; it must not be in use.
        today: the day on which this is run; activity later than this is refused.

    Raises:
        UsageError: unknown product, or ``as_of`` is not a Sunday or is not over yet.
        SourceError: tables, columns or types are wrong; rows break the contract; the product is empty; the
            history is too short.
    """
    product = settings.product(name)
    windows = Windows(as_of)
    today = today or date.today()
    if as_of >= today:
        raise UsageError(
            f"the as-of date {as_of} is not over yet (today is {today}), and features end on it; "
            f"the latest as-of date is {last_complete_as_of(today)}"
        )
    profile, content = check_tables(warehouse, settings.source)
    warehouse.execute(f"create schema if not exists {identifier(schema)}")
    views = [
        view for view, there in (("activity", True), ("profile", profile), ("content", content)) if there
    ]
    for view in views:
        step = load_step(f"sources/{settings.source}/{view}.sql", {})
        run_statement(warehouse, create(step, {}, {}, schema, warehouse.dialect))
    facts = _facts(warehouse, settings, name, windows, schema, today)
    facts = replace(facts, available=replace(facts.available, profile=profile, content=content))
    dates = labelled_dates(as_of, facts.first_date, product.training.max_dates)
    _check_history(name, windows, facts)
    return _plan(settings.source, name, product, windows, dates, schema, facts)


def plan_without_data(settings: Settings, name: str, as_of: date) -> Plan:
    """Plan as if every optional source were there and the history were long: for rendering."""
    product = settings.product(name)
    windows = Windows(as_of)
    weeks = OBSERVATION_WEEKS + product.training.max_dates + 2
    complete = settings.source == "bbc"
    available = Availability(profile=complete, content=complete, series=complete)
    facts = ActivityFacts(0, windows.as_of - weeks * WEEK + timedelta(days=1), windows.as_of, available)
    dates = labelled_dates(as_of, facts.first_date, product.training.max_dates)
    return _plan(settings.source, name, product, windows, dates, f"churn_{name}", facts)


def _plan(
    source: str,
    name: str,
    product: Product,
    windows: Windows,
    dates: Sequence[date],
    schema: str,
    facts: ActivityFacts,
) -> Plan:
    features = catalogue(product, facts.available)
    return Plan(
        name=identifier(name),
        product=product,
        source=source,
        windows=windows,
        known_until=windows.as_of,
        training_dates=tuple(dates),
        schema=identifier(schema),
        facts=facts,
        catalogue=features,
        steps=steps_for(source, ["feature_set"], _names(product, facts.available, features, len(dates))),
    )


def _facts(
    warehouse: Warehouse, settings: Settings, name: str, windows: Windows, schema: str, today: date
) -> ActivityFacts:
    product = settings.products[name]
    text = (sql_root() / "checks" / "activity.sql").read_text("utf-8")
    values = {
        **_match_parameters(product),
        "known_until": windows.as_of,
        "history_start": _HISTORY_START,
        "today": today,
    }
    statement = render(text, _match_names(product), values, schema, warehouse.dialect)
    row = warehouse.fetch(statement.sql, statement.parameters).to_pylist()[0]
    if not row["product_rows"]:
        raise SourceError(_empty_product(warehouse, settings, name, windows, schema))
    faults = [
        f"{row[column]:,} rows {what}"
        for column, what in (
            ("null_users", "have no user id (null or blank): remove them, or give them one"),
            ("null_dates", "have no date: remove them"),
            ("negative_values", "have a negative value: durations and amounts are 0 or more"),
            ("huge_values", "have a value that is no number, or above 10^13: mend or remove them"),
            ("ancient_rows", f"are dated before {_HISTORY_START}, as empty times are: mend or remove them"),
            (
                "future_rows",
                f"are dated after today ({today}), up to {row['latest_date']}: mend the clock or the log",
            ),
        )
        if row[column]
    ]
    if faults:
        listed = "\n".join(f"  - {fault}" for fault in faults)
        raise SourceError(f"the activity of product {name!r} breaks the source contract:\n{listed}")
    available = Availability(
        category=row["categories"] > 0,
        device=row["devices"] > 0,
        item=row["items"] > 0,
        series=row["series"] > 0,
        time_of_day=row["rows_with_time"] > 0,
        other_products=row["other_rows"] > 0,
    )
    return ActivityFacts(int(row["product_rows"]), row["first_date"], row["last_date"], available)


def _empty_product(warehouse: Warehouse, settings: Settings, name: str, windows: Windows, schema: str) -> str:
    text = (sql_root() / "checks" / "products.sql").read_text("utf-8")
    statement = render(text, {}, {}, schema, warehouse.dialect)
    found = warehouse.fetch(statement.sql, statement.parameters).to_pylist()
    listed = ", ".join(f"{row['product']} ({row['events']:,} events)" for row in found) or "none"
    wanted = ", ".join(settings.products[name].match) or "any"
    return (
        f"product {name!r} has no activity up to {windows.as_of}: it matches {wanted}, "
        f"and the products in the data are {listed}. Mend `match` in its definition, or choose a later date"
    )


def _check_history(name: str, windows: Windows, facts: ActivityFacts) -> None:
    if facts.last_date < windows.last_week_start:
        latest = sunday_on_or_before(facts.last_date)
        raise SourceError(
            f"product {name!r} has no activity in the week that ends on {windows.as_of}: its activity ends "
            f"on {facts.last_date}, so the latest as-of date is {latest}"
        )
    dates = labelled_dates(windows.as_of, facts.first_date, MINIMUM_TRAINING_DATES)
    if len(dates) < MINIMUM_TRAINING_DATES:
        first_week = monday_of(facts.first_date + timedelta(days=6))
        needed = OBSERVATION_WEEKS + LABEL_DELAY // WEEK + MINIMUM_TRAINING_DATES - 1
        have = max(0, (windows.as_of - first_week).days // 7 + 1)
        earliest = first_week + needed * WEEK - timedelta(days=1)
        raise SourceError(
            f"product {name!r} has {have} full weeks of history on {windows.as_of} (activity starts on "
            f"{facts.first_date}), but {needed} are needed: 13 to observe, 2 until the label is known, and "
            f"{MINIMUM_TRAINING_DATES - 1} more for {MINIMUM_TRAINING_DATES} as-of dates to train and judge "
            f"on. The earliest as-of date is {earliest}"
        )


def run_statement(warehouse: Warehouse, statement: Statement) -> int:
    """Run one statement; return its rows."""
    return warehouse.execute(statement.sql, statement.parameters)


def run_step(warehouse: Warehouse, plan: Plan, step: Step) -> int:
    """Make one step's table; return its rows (0 for a view). Views that exist already are kept.

    A table whose commit was not answered before the connection broke is looked for, not made again.
    """
    if step.kind == "view":
        if not warehouse.columns(f"{plan.schema}.{step.name}"):
            run_statement(
                warehouse, create(step, plan.names, plan.parameters, plan.schema, warehouse.dialect)
            )
        return 0
    statement = create(step, plan.names, plan.parameters, plan.schema, warehouse.dialect)
    try:
        return run_statement(warehouse, statement)
    except LostConnectionError as lost:
        table = f"{plan.schema}.{step.name}"
        if lost.unchanged or not warehouse.columns(table):
            raise
        logger.warning("%s; %s is there, so it was", lost, table)
        return int(warehouse.fetch(f"select count(*) as found from {table}")["found"][0].as_py())


def run_steps(warehouse: Warehouse, plan: Plan) -> dict[str, int]:
    """Make every step's table in order; return rows by step."""
    return {step.name: run_step(warehouse, plan, step) for step in plan.steps}


def read_steps(plan: Plan, dialect: Dialect) -> dict[str, str]:
    """Return each step's SQL in ``dialect`` with its values written in, to be read by a person."""
    return {
        step.name: for_reading(step, plan.names, plan.parameters, plan.schema, dialect) for step in plan.steps
    }


def drop(warehouse: Warehouse, schema: str) -> None:
    """Remove a run's schema with everything in it."""
    warehouse.execute(f"drop schema if exists {identifier(schema)} cascade")


def leftover_schemas(warehouse: Warehouse, prefix: str) -> list[str]:
    """Return the schemas named ``prefix`` and a run id: what runs that died have left behind.

    The run id tells ``run_food_<id>`` from ``run_food_fresh_<id>``, which is of another product.
    """
    ours = re.compile(re.escape(prefix) + r"\d{8}t\d{6}z_[0-9a-f]+")
    found = warehouse.fetch("select distinct schema_name from information_schema.schemata")
    return sorted(name for name in found["schema_name"].to_pylist() if ours.fullmatch(name))


def outcome_table(warehouse: Warehouse, plan: Plan) -> Mapping[str, int]:
    """Return user id -> churned (1, 0) for the users scored by a plan made with ``Plan.outcomes``."""
    found = warehouse.fetch(
        f"select user_id, churned from {plan.schema}.snapshots"
        " where purpose = 'score' and churned is not null"
    )
    return dict(zip(found["user_id"].to_pylist(), found["churned"].to_pylist(), strict=True))
