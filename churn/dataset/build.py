"""Plans and runs the SQL of one product and as-of date: from source tables to snapshots."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import date

from churn.config.settings import Settings
from churn.core import notices
from churn.core.calendar import WEEK, labelled_dates
from churn.core.names import identifier
from churn.core.timing import StageTimer
from churn.dataset.conflicts import check_conflicts
from churn.dataset.incomplete import (
    check_dates_left,
    check_last_week,
    incomplete_warnings,
    spoilt_dates,
)
from churn.dataset.plan import DatasetPlan, build_plan, with_steps
from churn.dataset.training_dates import choose_max_dates
from churn.features import store
from churn.features.activity_facts import check_history, check_week_is_over, profile_activity
from churn.features.aggregates import ledger, lifetime, weekly
from churn.features.cohorts import EVERYBODY
from churn.features.completeness import find_incomplete_weeks
from churn.sources.availability import check_tables
from churn.sources.contract import KEYED_TABLES
from churn.warehouse.base import LostConnectionError, Warehouse
from churn.warehouse.templates import Step, create, load_step

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

    Creates the run's schema with the source views, and aggregates the weeks of activity that are new. The
    plan's warnings are logged.

    Args:
        schema: where the run's tables are made; no other run may use it.
        today: the day on which this is run; activity after the day that follows it is refused.
        rebuild_weeks: how many of the latest weeks to aggregate again.
        stages: records how long each part takes.

    Raises:
        UsageError: unknown product, or ``as_of`` is not a Sunday or is not over yet.
        SourceError: tables, columns or types are wrong; rows break the contract or contradict each other; the
            product is empty; the history is too short, or too much of it is missing.
        IncompleteWeekError: the last observed week is nearly empty.
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
            statement = create(step, names, {}, schema, warehouse.dialect)
            warehouse.execute(statement.sql, statement.parameters)
    with stages.stage("aggregate weeks", "prepare") as count:
        update = weekly.update_aggregates(
            warehouse, settings, schema, as_of, today=today, rebuild_weeks=rebuild_weeks
        )
        count.rows = update.raw_rows
    warnings = notices.warn(name, update.warnings)
    with stages.stage("check activity", "prepare") as count:
        facts = profile_activity(
            warehouse, settings, name, windows, schema, today, sources.available, outside=update.outside > 0
        )
        check_history(name, windows, facts)
        count.rows = facts.rows
        aggregates = weekly.aggregate_tables(settings)
        incomplete = find_incomplete_weeks(warehouse, aggregates, product, as_of)
        check_last_week(name, windows, incomplete)
    most = choose_max_dates(warehouse, settings, name, windows)
    dates = labelled_dates(windows, facts.first_date, most)
    start = product.windows(dates[0]).observation_start
    incomplete = {week: low for week, low in incomplete.items() if week >= start}
    left_out = spoilt_dates(product, dates, incomplete)
    check_dates_left(name, windows, most, len(dates) - len(left_out), left_out, incomplete)
    warnings += notices.warn(name, incomplete_warnings(name, windows, incomplete, left_out))
    plan = build_plan(
        settings.source, name, product, windows, dates, schema, facts, aggregates, left_out=left_out
    )
    with stages.stage("user lives", "prepare"):
        # All weeks, not only those up to as_of: a run of a later date may be about to read them.
        versions = ledger.week_versions(warehouse, plan.tables.aggregates)
        lifetime.update_lifetime(warehouse, plan.tables.lifetime, versions)
    conflicts: tuple[str, ...] = ()
    if KEYED_TABLES[plan.source]:
        with stages.stage("compare rows", "prepare"):
            conflicts = check_conflicts(warehouse, settings, plan, sources.views, stages)
    known = {week: version for week, version in versions.items() if week <= as_of}
    warnings += notices.warn(name, conflicts)
    return replace(_reuse_stored_rows(warehouse, plan, known), warnings=warnings)


def _reuse_stored_rows(warehouse: Warehouse, plan: DatasetPlan, versions: Mapping[date, str]) -> DatasetPlan:
    """Return the plan without the past dates whose feature rows are stored.

    The rows of the run's own date are always made anew: they show what is known today.
    """
    as_of = plan.windows.as_of
    stored = store.reusable_dates(warehouse, plan.tables.rows, versions, plan.users)
    new_dates = tuple(day for day in plan.training_dates if day not in stored)
    dates = {day: (plan.users[day], store.source_version(versions, day)) for day in new_dates}
    dates[as_of] = (EVERYBODY, store.source_version(versions, as_of))
    return with_steps(replace(plan, new_dates=new_dates, tables=replace(plan.tables, dates=dates)))


def run_step(warehouse: Warehouse, plan: DatasetPlan, step: Step) -> int:
    """Make one step's table or view; return its rows (0 for a source view).

    A view that exists stays. If the connection breaks before a commit is answered, a table that exists is
    taken as made.
    """
    table = f"{plan.schema}.{step.name}"
    if step.name == store.ROWS:
        return store.save_rows(
            warehouse,
            plan.tables.rows,
            step,
            plan.names,
            plan.parameters,
            plan.schema,
            plan.tables.dates,
            oldest=plan.windows.as_of - plan.windows.label_delay - plan.product.training.most_dates * WEEK,
            features=plan.catalogue.features,
        )
    if step.kind == "table" or not warehouse.columns(table):
        statement = create(step, plan.names, plan.parameters, plan.schema, warehouse.dialect)
        try:
            rows = warehouse.execute(statement.sql, statement.parameters)
        except LostConnectionError as lost:
            if step.kind == "view" or lost.unchanged or not warehouse.columns(table):
                raise
            logger.warning("%s; %s exists, so it was committed", lost, table)
            return _count(warehouse, table)
    if step.kind == "table":
        return rows
    return 0 if step.path.startswith("sources/") else _count(warehouse, table)


def _count(warehouse: Warehouse, table: str) -> int:
    return int(warehouse.fetch(f"select count(*) as n from {table}")["n"][0].as_py())


def run_steps(warehouse: Warehouse, plan: DatasetPlan) -> dict[str, int]:
    """Make every step's table in order; return rows by step."""
    return {step.name: run_step(warehouse, plan, step) for step in plan.steps}
