"""What the SQL of one product and as-of date depends on, and the steps that come of it.

Training, scoring, judging and rendering all plan here, so that they share one definition of eligibility,
label and features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from churn.config.settings import Product, Settings
from churn.core.calendar import (
    OBSERVATION_WEEKS,
    OBSERVED_OFFSETS,
    WEEK,
    Windows,
    day_offsets,
    labelled_dates,
)
from churn.core.names import identifier, slug
from churn.features import cohorts, store
from churn.features.activity_facts import ActivityFacts
from churn.features.aggregates import ledger, lifetime, weekly
from churn.features.aggregates.tables import VersionedTables
from churn.features.catalogue import SEGMENT_PRODUCTS, WEEKDAYS, Catalogue, catalogue, share_columns
from churn.features.product_filter import match_names, match_parameters
from churn.sources.availability import Availability, resolve_views
from churn.warehouse.base import Dialect
from churn.warehouse.templates import Step, create_table, load_step, render_for_humans, steps_for


@dataclass(frozen=True)
class Tables:
    """What is kept from run to run: tables whose names hold digests of their definitions.

    Attributes:
        aggregates: weekly aggregates of all products.
        lives: users' lives with the product, week by week.
        rows: the product's feature rows.
        dates: of the as-of dates whose rows the run makes, which users are there (``cohorts.mask``), and what
            tells whether they can be used again.
    """

    aggregates: VersionedTables
    lifetime: VersionedTables
    rows: VersionedTables
    dates: Mapping[date, tuple[str, str]]

    def name(self, name: str) -> str:
        """Return the qualified name of a table that the steps read."""
        return (self.lifetime if name in (lifetime.LIFETIME, lifetime.LATEST) else self.aggregates).table(
            name
        )


@dataclass(frozen=True)
class DatasetPlan:
    """Everything that the SQL of one product and as-of date depends on.

    Attributes:
        name: the product's name.
        product: its definition.
        windows: the windows of the as-of date.
        known_until: the last day of activity that may be read: the as-of date, except to learn outcomes.
        training_dates: past as-of dates, ascending.
        new_dates: those of them whose feature rows this run makes, beside those of its own date.
        schema: where the steps' tables are made; one per run.
        facts: what is known of the product's activity.
        catalogue: the features.
        tables: what is kept from run to run, and read or written by the steps.
        steps: the SQL steps, in an order that respects their dependencies.
        warnings: sentences about the source for the reader of the report.
    """

    name: str
    product: Product
    source: str
    windows: Windows
    known_until: date
    training_dates: tuple[date, ...]
    new_dates: tuple[date, ...]
    schema: str
    facts: ActivityFacts
    catalogue: Catalogue
    tables: Tables
    steps: tuple[Step, ...]
    warnings: tuple[str, ...] = ()

    @property
    def names(self) -> dict[str, Any]:
        """What the templates may use: validated names, flags and counts, never values."""
        return _names(
            self.product,
            self.facts.available,
            self.catalogue,
            self.tables,
            self.training_dates,
            len(self.new_dates),
        )

    @property
    def users(self) -> dict[date, str]:
        """Which users are trained on at each training date, as ``cohorts.mask`` tells it."""
        limit = self.product.training.max_dates
        found = _drawn(self.product, self.training_dates)
        return {
            day: cohorts.encode_slots(found[day], limit) if found else cohorts.EVERYBODY
            for day in self.training_dates
        }

    @property
    def parameters(self) -> dict[str, Any]:
        """Every value that a statement may bind."""
        return {
            **_values(self.product, self.tables),
            "as_of": self.windows.as_of,
            "known_until": self.known_until,
            "first_new_date": min((*self.new_dates, self.windows.as_of)),
            **{f"training_date_{index}": day for index, day in enumerate(self.training_dates)},
            **{f"new_date_{index}": day for index, day in enumerate(self.new_dates)},
        }

    def outcomes(self, schema: str) -> "DatasetPlan":
        """Return the plan that learns what the scored users did: it reads on to the target's end.

        The function ``outcomes`` also makes the kept aggregates reach so far. The feature rows are those that
        the users were scored by.
        """
        later = replace(
            self,
            schema=identifier(schema),
            known_until=self.windows.target_end,
            training_dates=(),
            new_dates=(),
        )
        steps = steps_for(self.source, ["snapshots"], later.names)
        label = next(step for step in steps if step.name == "snapshots")
        views = tuple(step for step in steps if step.name in label.needs and step.kind == "view")
        return replace(later, steps=(*views, label))


def _values(product: Product, tables: Tables) -> dict[str, Any]:
    """Return what statements may bind, but for dates."""
    return {
        **tables.aggregates.values,
        **match_parameters(product),
        "minimum_value": product.minimum_value,
        "minimum_account_age_days": product.minimum_account_age_days,
    }


def _names(
    product: Product,
    available: Availability,
    features: Catalogue,
    tables: Tables,
    training_dates: Sequence[date],
    new_dates: int,
) -> dict[str, Any]:
    found = _drawn(product, training_dates)
    return {
        **match_names(product),
        "kept": tables.name,
        "has_category": available.category and bool(product.categories),
        "has_device": available.device and bool(product.devices),
        "has_time": available.time_of_day,
        "has_page_views": available.page_views,
        "has_profile": available.profile,
        "has_titles": available.titles,
        "has_predictions": available.predictions,
        "has_minimum_value": product.minimum_value is not None,
        "categories": [slug(value) for value in product.categories] if available.category else [],
        "devices": [slug(value) for value in product.devices] if available.device else [],
        "weekdays": WEEKDAYS,
        "factors": list(range(product.factors)) if available.factors else [],
        "follow_kinds": product.follows,
        "segment_products": list(SEGMENT_PRODUCTS),
        "share_columns": share_columns(product, available),
        **day_offsets(product.lead_weeks, product.target_weeks),
        "observed_offsets": list(OBSERVED_OFFSETS),
        "training_dates": len(training_dates),
        "new_dates": new_dates,
        "slots": cohorts.slots(product.training.max_dates),
        "cohorts": [found[day] for day in training_dates] if found else [],
        "feature_groups": list(features.steps),
        "feature_columns": [(f.step, f.name, f.type) for f in features.features],
    }


def _drawn(product: Product, dates: Sequence[date]) -> Mapping[date, tuple[int, ...]]:
    """Return the slots of users that each training date has; none where each has everybody."""
    if product.training.sampling == "all":
        return {}
    return cohorts.assign_slots(tuple(dates), product.training.max_dates)


def build_plan(
    source: str,
    name: str,
    product: Product,
    windows: Windows,
    dates: Sequence[date],
    schema: str,
    facts: ActivityFacts,
    definition: VersionedTables,
) -> DatasetPlan:
    """Plan as if no feature rows were kept."""
    features = catalogue(product, facts.available)
    tables = define_tables(source, name, product, facts.available, definition)
    made = DatasetPlan(
        name=identifier(name),
        product=product,
        source=source,
        windows=windows,
        known_until=windows.as_of,
        training_dates=tuple(dates),
        new_dates=tuple(dates),
        schema=identifier(schema),
        facts=facts,
        catalogue=features,
        tables=tables,
        steps=(),
    )
    return with_steps(made)


def with_steps(made: DatasetPlan) -> DatasetPlan:
    """Return the plan with the steps that its dates and sources need, in an order that they can be run in."""
    return replace(made, steps=steps_for(made.source, ["feature_set"], made.names))


def define_tables(
    source: str, name: str, product: Product, available: Availability, aggregates: VersionedTables
) -> Tables:
    """Return what is kept for a product, of which no date is made yet.

    Args:
        available: what can be read: a source that comes or goes changes the features.
        aggregates: the weekly aggregates, of all products.
    """
    lived = lifetime.lifetime_tables(aggregates, product)
    tables = Tables(aggregates, lived, aggregates, {})
    names = _names(product, available, catalogue(product, available), tables, training_dates=(), new_dates=1)
    steps = steps_for(source, ["feature_rows"], names)
    rows = store.feature_row_tables(aggregates.schema, name, steps, names, _values(product, tables))
    return replace(tables, rows=rows)


def plan_without_data(settings: Settings, name: str, as_of: date) -> DatasetPlan:
    """Plan as if every optional source were there and the history were long: for rendering."""
    product = settings.product(name)
    windows = product.windows(as_of)
    history = OBSERVATION_WEEKS * WEEK + product.training.max_dates * WEEK + windows.label_delay
    available = resolve_views(settings.source, {}).available
    if settings.source == "events":  # which holds no such columns
        available = replace(available, series=False, live=False, page_views=False)
    facts = ActivityFacts(0, windows.as_of - history + timedelta(days=1), windows.as_of, available)
    dates = labelled_dates(windows, facts.first_date, product.training.max_dates)
    return build_plan(
        settings.source,
        name,
        product,
        windows,
        dates,
        f"churn_{name}",
        facts,
        weekly.aggregate_tables(settings),
    )


def rendered_steps(plan: DatasetPlan, dialect: Dialect) -> dict[str, str]:
    """Return each step's SQL in ``dialect`` with its values written in, to be read by a person.

    The steps that make what is kept come first, here in the run's own schema and from all activity.
    """
    plan = _in_own_schema(plan)
    aggregates, lived = plan.tables.aggregates, plan.tables.lifetime
    activity = load_step(f"sources/{plan.source}/activity.sql", {})
    values = {**aggregates.values, "first_day": ledger.HISTORY_START, "last_day": plan.known_until}
    made = {"activity": render_for_humans(activity, {}, {}, plan.schema, dialect)}
    for step in weekly.steps(aggregates):
        name = step.name if step.name == "week_activity" else aggregates.name(step.name)
        made[name] = render_for_humans(
            replace(step, name=name), aggregates.names, values, plan.schema, dialect
        )
    life, state = lifetime.steps(lived)
    empty = create_table(lived.table(lifetime.LATEST), lifetime.COLUMNS, dialect)
    made[lived.name(lifetime.LATEST)] = (
        f"-- {state.header.splitlines()[0]} Before the first week: none.\n{empty};\n"
    )
    life = replace(life, name=lived.name(lifetime.LIFETIME))
    values = {**lived.values, "first_week": ledger.HISTORY_START, "last_week": plan.known_until}
    made[life.name] = render_for_humans(life, lived.names, values, plan.schema, dialect)
    return made | {
        step.name: render_for_humans(step, plan.names, plan.parameters, plan.schema, dialect)
        for step in plan.steps
    }


def _in_own_schema(plan: DatasetPlan) -> DatasetPlan:
    """Return the plan with everything that is kept made in its own schema, and from nothing."""
    aggregates = replace(plan.tables.aggregates, schema=plan.schema)
    lived = lifetime.lifetime_tables(aggregates, plan.product)
    tables = Tables(aggregates, lived, replace(plan.tables.rows, schema=plan.schema), {})
    return with_steps(replace(plan, tables=tables, new_dates=plan.training_dates))
