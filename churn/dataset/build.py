"""From source tables to snapshots: what runs in the warehouse for one product and as-of date."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import date

from churn.config.settings import Settings
from churn.core.calendar import WEEK, labelled_dates
from churn.core.names import identifier
from churn.core.timing import StageTimer
from churn.dataset.plan import DatasetPlan, build_plan, with_steps
from churn.features import store
from churn.features.activity_facts import check_history, check_week_is_over, profile_activity
from churn.features.aggregates import ledger, lifetime, weekly
from churn.features.cohorts import EVERYBODY
from churn.sources.availability import check_tables
from churn.warehouse.base import LostConnectionError, Warehouse
from churn.warehouse.templates import Statement, Step, create, load_step

logger = logging.getLogger(__name__)


def plan_dataset(
    warehouse: Warehouse,
    settings: Settings,
    name: str,
    as_of: date,
    schema: str,
    *,
    today: date | None = None,
    rebuild_weeks: int = 0,
    stages: StageTimer | None = None,
) -> DatasetPlan:
    """Check the sources and plan the SQL of one product and as-of date.

    Makes the run's schema with the source views in it, and brings the kept weekly aggregates forward: of the
    activity, the weeks are read that they do not have yet.

    Args:
        schema: where the run's tables are made; it must not be in use.
        today: the day on which this is run; activity later than this is refused.
        rebuild_weeks: aggregate so many of the latest weeks again.
        stages: where it is told how long this takes.

    Raises:
        UsageError: unknown product, or ``as_of`` is not a Sunday or is not over yet.
        SourceError: tables, columns or types are wrong; rows break the contract; the product is empty; the
            history is too short.
    """
    product = settings.product(name)
    windows = product.windows(as_of)
    today = today or date.today()
    check_week_is_over(as_of, today)
    stages = stages or StageTimer(name)
    with stages.stage("check sources", "prepare"):
        sources = check_tables(warehouse, settings.source)
        warehouse.execute(f"create schema if not exists {identifier(schema)}")
        names = {"has_predictions": sources.available.predictions}
        for view in sources.views:
            step = load_step(f"sources/{settings.source}/{view}.sql", names)
            run_statement(warehouse, create(step, names, {}, schema, warehouse.dialect))
    with stages.stage("aggregate weeks", "prepare") as count:
        brought = weekly.update_aggregates(
            warehouse, settings, schema, as_of, today=today, rebuild_weeks=rebuild_weeks
        )
        count.rows = brought.raw_rows
    with stages.stage("check activity", "prepare") as count:
        facts = profile_activity(
            warehouse, settings, name, windows, schema, today, sources.available, outside=brought.outside > 0
        )
        check_history(name, windows, facts)
        count.rows = facts.rows
    dates = labelled_dates(windows, facts.first_date, product.training.max_dates)
    made = build_plan(
        settings.source, name, product, windows, dates, schema, facts, weekly.aggregate_tables(settings)
    )
    with stages.stage("user lives", "prepare"):
        # Of all weeks, as a run of a later date may be about to read those that this one makes again.
        builds = ledger.week_versions(warehouse, made.tables.aggregates)
        lifetime.update_lifetime(warehouse, made.tables.lifetime, builds)
    known = {week: build for week, build in builds.items() if week <= as_of}
    return replace(_with_what_is_kept(warehouse, made, known), warnings=brought.warnings)


def _with_what_is_kept(warehouse: Warehouse, made: DatasetPlan, builds: Mapping[date, str]) -> DatasetPlan:
    """Leave the dates to their kept feature rows that have them.

    The rows of the run's own date are always made anew: they show what can be known today.
    """
    as_of = made.windows.as_of
    there = store.reusable_dates(warehouse, made.tables.rows, builds, made.users)
    new_dates = tuple(day for day in made.training_dates if day not in there)
    dates = {day: (made.users[day], store.source_version(builds, day)) for day in new_dates}
    dates[as_of] = (EVERYBODY, store.source_version(builds, as_of))
    return with_steps(replace(made, new_dates=new_dates, tables=replace(made.tables, dates=dates)))


def run_statement(warehouse: Warehouse, statement: Statement) -> int:
    """Run one statement; return its rows."""
    return warehouse.execute(statement.sql, statement.parameters)


def run_step(warehouse: Warehouse, plan: DatasetPlan, step: Step) -> int:
    """Make one step's table; return its rows (0 for a view). Views that exist already are kept.

    A table whose commit was not answered before the connection broke is looked for, not made again.
    """
    table = f"{plan.schema}.{step.name}"
    if step.kind == "view":
        if not warehouse.columns(table):
            run_statement(
                warehouse, create(step, plan.names, plan.parameters, plan.schema, warehouse.dialect)
            )
        return 0 if step.path.startswith("sources/") else _count(warehouse, table)
    if step.name == store.ROWS:
        return store.save_rows(
            warehouse,
            plan.tables.rows,
            step,
            plan.names,
            plan.parameters,
            plan.schema,
            plan.tables.dates,
            oldest=plan.windows.as_of - plan.windows.label_delay - plan.product.training.max_dates * WEEK,
            features=plan.catalogue.features,
        )
    statement = create(step, plan.names, plan.parameters, plan.schema, warehouse.dialect)
    try:
        return run_statement(warehouse, statement)
    except LostConnectionError as lost:
        if lost.unchanged or not warehouse.columns(table):
            raise
        logger.warning("%s; %s is there, so it was", lost, table)
        return _count(warehouse, table)


def _count(warehouse: Warehouse, table: str) -> int:
    return int(warehouse.fetch(f"select count(*) as found from {table}")["found"][0].as_py())


def run_steps(warehouse: Warehouse, plan: DatasetPlan) -> dict[str, int]:
    """Make every step's table in order; return rows by step."""
    return {step.name: run_step(warehouse, plan, step) for step in plan.steps}
