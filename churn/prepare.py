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

from churn import kept
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
from churn.features import WEEKDAYS, Catalogue, catalogue, share_columns
from churn.kept import Definition
from churn.sources import ActivityFacts, Availability, check_tables, readable
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
        kept: the weekly aggregates that the steps read.
        steps: the SQL steps, in an order that respects their dependencies.
        warnings: sentences about the source for the reader of the report.
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
    kept: Definition
    steps: tuple[Step, ...]
    warnings: tuple[str, ...] = ()

    @property
    def names(self) -> dict[str, Any]:
        """What the templates may use: validated names, flags and counts, never values."""
        return _names(self.product, self.facts.available, self.catalogue, self.kept, len(self.training_dates))

    @property
    def parameters(self) -> dict[str, Any]:
        """Every value that a statement may bind."""
        product = self.product
        return {
            **self.kept.values,  # categories and devices by name
            **_match_parameters(product),
            "as_of": self.windows.as_of,
            "known_until": self.known_until,
            "minimum_value": product.minimum_value,
            "minimum_account_age_days": product.minimum_account_age_days,
            **{f"training_date_{index}": day for index, day in enumerate(self.training_dates)},
        }

    def outcomes(self, schema: str) -> "Plan":
        """Return the plan that learns what the scored users did: it reads on to the target week's end.

        The function ``outcomes`` also makes the kept aggregates reach so far.
        """
        names = _names(self.product, self.facts.available, self.catalogue, self.kept, training_dates=0)
        return replace(
            self,
            schema=identifier(schema),
            known_until=self.windows.target_week_end,
            training_dates=(),
            steps=steps_for(self.source, ["snapshots"], names),
        )


def _names(
    product: Product, available: Availability, features: Catalogue, kept: Definition, training_dates: int
) -> dict[str, Any]:
    return {
        **_match_names(product),
        "kept": kept.table,
        "has_category": available.category and bool(product.categories),
        "has_device": available.device and bool(product.devices),
        "has_time": available.time_of_day,
        "has_page_views": available.page_views,
        "has_profile": available.profile,
        "has_predictions": available.predictions,
        "has_minimum_value": product.minimum_value is not None,
        "categories": [slug(value) for value in product.categories] if available.category else [],
        "devices": [slug(value) for value in product.devices] if available.device else [],
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
    rebuild_weeks: int = 0,
) -> Plan:
    """Check the sources and plan the SQL of one product and as-of date.

    Makes the run's schema with the source views in it, and brings the kept weekly aggregates forward: of the
    activity, the weeks are read that they do not have yet.

    Args:
        schema: where the run's tables are made; it must not be in use.
        today: the day on which this is run; activity later than this is refused.
        rebuild_weeks: aggregate so many of the latest weeks again.

    Raises:
        UsageError: unknown product, or ``as_of`` is not a Sunday or is not over yet.
        SourceError: tables, columns or types are wrong; rows break the contract; the product is empty; the
            history is too short.
    """
    product = settings.product(name)
    windows = Windows(as_of)
    today = today or date.today()
    _check_over(as_of, today)
    sources = check_tables(warehouse, settings.source)
    warehouse.execute(f"create schema if not exists {identifier(schema)}")
    names = {"has_predictions": sources.available.predictions}
    for view in sources.views:
        step = load_step(f"sources/{settings.source}/{view}.sql", names)
        run_statement(warehouse, create(step, names, {}, schema, warehouse.dialect))
    brought = kept.bring_forward(warehouse, settings, schema, as_of, today=today, rebuild_weeks=rebuild_weeks)
    definition = kept.define(settings)
    facts = _facts(
        warehouse, settings, name, windows, schema, today, sources.available, outside=brought.outside > 0
    )
    dates = labelled_dates(as_of, facts.first_date, product.training.max_dates)
    _check_history(name, windows, facts)
    made = _plan(settings.source, name, product, windows, dates, schema, facts, definition)
    return replace(made, warnings=brought.warnings)


def plan_without_data(settings: Settings, name: str, as_of: date) -> Plan:
    """Plan as if every optional source were there and the history were long: for rendering."""
    product = settings.product(name)
    windows = Windows(as_of)
    weeks = OBSERVATION_WEEKS + product.training.max_dates + 2
    available = readable(settings.source, {}).available
    if settings.source == "events":  # which holds no such columns
        available = replace(available, series=False, live=False, page_views=False)
    facts = ActivityFacts(0, windows.as_of - weeks * WEEK + timedelta(days=1), windows.as_of, available)
    dates = labelled_dates(as_of, facts.first_date, product.training.max_dates)
    return _plan(
        settings.source, name, product, windows, dates, f"churn_{name}", facts, kept.define(settings)
    )


def _plan(
    source: str,
    name: str,
    product: Product,
    windows: Windows,
    dates: Sequence[date],
    schema: str,
    facts: ActivityFacts,
    definition: Definition,
) -> Plan:
    features = catalogue(product, facts.available)
    names = _names(product, facts.available, features, definition, len(dates))
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
        kept=definition,
        steps=steps_for(source, ["feature_set"], names),
    )


def _check_over(as_of: date, today: date) -> None:
    if as_of >= today:
        raise UsageError(
            f"the as-of date {as_of} is not over yet (today is {today}), and features end on it; "
            f"the latest as-of date is {last_complete_as_of(today)}"
        )


def check_reach(warehouse: Warehouse, settings: Settings, windows: Windows) -> None:
    """Refuse an as-of date in whose last week the data hold nothing: quick, before anything is begun.

    Raises:
        UsageError: the as-of date is not over yet.
        SourceError: the tables are wrong, or end too early; the message names the latest as-of date.
    """
    _check_over(windows.as_of, date.today())
    check_tables(warehouse, settings.source)
    text = (sql_root() / "sources" / settings.source / "activity.sql").read_text("utf-8")
    query = f"select max(activity_date) as last_date from (\n{text}) as activity"
    statement = render(query, {}, {}, "unused", warehouse.dialect)
    last: date | None = warehouse.fetch(statement.sql, statement.parameters)["last_date"][0].as_py()
    if last is not None and last < windows.last_week_start:
        raise SourceError(
            f"the data end on {last}, and have nothing in the week that ends on the as-of date "
            f"{windows.as_of}: add --as-of {sunday_on_or_before(last)}, the latest that they reach"
        )


def _facts(
    warehouse: Warehouse,
    settings: Settings,
    name: str,
    windows: Windows,
    schema: str,
    today: date,
    available: Availability,
    *,
    outside: bool,
) -> ActivityFacts:
    """Return what is known of a product's activity; ``outside``: some rows of some product are of no week."""
    product = settings.products[name]
    values = {
        **_match_parameters(product),
        "known_until": windows.as_of,
        "history_start": kept.HISTORY_START,
        "today": today,
    }

    def one_row(file: str) -> dict[str, Any]:
        text = (sql_root() / file).read_text("utf-8")
        names = {**_match_names(product), "kept": kept.define(settings).table}
        statement = render(text, names, values, schema, warehouse.dialect)
        found: dict[str, Any] = warehouse.fetch(statement.sql, statement.parameters).to_pylist()[0]
        return found

    row = one_row("checks/activity.sql")
    if outside:
        row |= one_row("kept/outside.sql")
    if not row["product_rows"]:
        raise SourceError(_empty_product(warehouse, settings, name, windows, schema))
    faults = [
        f"{row[column]:,} rows {what}"
        for column, what in (
            ("null_users", "have no user id (null or blank): remove them, or give them one"),
            ("null_dates", "have no date: remove them"),
            ("negative_values", "have a negative value: durations and amounts are 0 or more"),
            ("huge_values", "have a value that is no number, or above 10^13: mend or remove them"),
            (
                "ancient_rows",
                f"are dated before {kept.HISTORY_START}, as empty times are: mend or remove them",
            ),
            (
                "future_rows",
                f"are dated after today ({today}), up to {row.get('latest_date')}: mend the clock or the log",
            ),
        )
        if row.get(column)
    ]
    if faults:
        listed = "\n".join(f"  - {fault}" for fault in faults)
        kept.forget_faulty(warehouse, settings)
        raise SourceError(f"the activity of product {name!r} breaks the source contract:\n{listed}")
    available = replace(
        available,
        category=row["categories"] > 0,
        device=row["devices"] > 0,
        item=row["items"] > 0,
        series=row["series"] > 0,
        time_of_day=row["rows_with_time"] > 0,
        live=row["rows_with_live"] > 0,
        page_views=row["rows_with_page_views"] > 0,
    )
    return ActivityFacts(int(row["product_rows"]), row["first_date"], row["last_date"], available)


def _empty_product(warehouse: Warehouse, settings: Settings, name: str, windows: Windows, schema: str) -> str:
    text = (sql_root() / "checks" / "products.sql").read_text("utf-8")
    statement = render(text, {"kept": kept.define(settings).table}, {}, schema, warehouse.dialect)
    found = warehouse.fetch(statement.sql, statement.parameters).to_pylist()
    listed = ", ".join(f"{row['product']} ({int(row['events']):,} events)" for row in found) or "none"
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
    """Return each step's SQL in ``dialect`` with its values written in, to be read by a person.

    The steps that make the weekly aggregates come first, here in the run's own schema and from all activity.
    """
    plan = replace(plan, kept=replace(plan.kept, schema=plan.schema))
    aggregates = plan.kept
    activity = load_step(f"sources/{plan.source}/activity.sql", {})
    values = {**aggregates.values, "first_day": kept.HISTORY_START, "last_day": plan.known_until}
    made = {"activity": for_reading(activity, {}, {}, plan.schema, dialect)}
    for step in aggregates.steps():
        name = step.name if step.name == "week_activity" else aggregates.name(step.name)
        made[name] = for_reading(replace(step, name=name), aggregates.names, values, plan.schema, dialect)
    return made | {
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


def outcomes(
    warehouse: Warehouse, settings: Settings, made: Plan, schema: str, *, today: date | None = None
) -> Plan:
    """Return the plan that learns what scored users did; it reads on to the target week's end.

    Makes its schema, and brings the kept weekly aggregates forward.

    Args:
        made: the plan that they were scored by; its schema is there.
        schema: where the tables are made; it must not be in use.
        today: the day on which this is run.
    """
    end = made.windows.target_week_end
    warehouse.execute(f"create schema {identifier(schema)}")
    kept.bring_forward(warehouse, settings, made.schema, end, today=today or max(end, date.today()))
    return made.outcomes(schema)


def outcome_table(warehouse: Warehouse, plan: Plan) -> Mapping[str, int]:
    """Return user id -> churned (1, 0) for the users of a plan made by ``outcomes``."""
    found = warehouse.fetch(
        f"select user_id, churned from {plan.schema}.snapshots"
        " where purpose = 'score' and churned is not null"
    )
    return dict(zip(found["user_id"].to_pylist(), found["churned"].to_pylist(), strict=True))
