"""The plan of one product and as-of date: what its SQL depends on, and the steps in order.

Training, scoring, back-tests and rendering all plan here, so they share one definition of eligibility, label
and features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from churn.config.settings import Product, Settings
from churn.config.training import USUAL_DATES
from churn.core.calendar import (
    OBSERVATION_WEEKS,
    OBSERVED_OFFSETS,
    WEEK,
    Windows,
    day_offsets,
    labelled_dates,
)
from churn.core.errors import ConfigError, RunError
from churn.core.names import identifier, slug
from churn.features import cohorts, store
from churn.features.activity_facts import ActivityFacts
from churn.features.aggregates import ledger, lifetime, weekly
from churn.features.aggregates.tables import VersionedTables
from churn.features.catalogue import SEGMENT_PRODUCTS, WEEKDAYS, Catalogue, catalogue, share_columns
from churn.features.product_filter import match_names, match_parameters
from churn.sources.availability import Availability, resolve_views
from churn.warehouse.base import Dialect
from churn.warehouse.templates import (
    Step,
    columns_of,
    create_table,
    load_step,
    own_step,
    render_for_humans,
    steps_for,
)


@dataclass(frozen=True)
class Tables:
    """The tables that are kept from run to run; their names hold digests of their definitions.

    Attributes:
        aggregates: weekly aggregates of all products.
        lifetime: users' lifetime totals with the product, by week.
        rows: the product's feature rows.
        dates: as-of date whose rows the run makes -> which users it has (``cohorts.encode_slots``), and the
            version of the weeks that its rows are made from.
    """

    aggregates: VersionedTables
    lifetime: VersionedTables
    rows: VersionedTables
    dates: Mapping[date, tuple[str, str]]

    def name(self, name: str) -> str:
        """Return the qualified name of a table that the steps read."""
        tables = self.lifetime if name in (lifetime.LIFETIME, lifetime.LATEST) else self.aggregates
        return tables.table(name)


@dataclass(frozen=True)
class DatasetPlan:
    """Everything that the SQL of one product and as-of date depends on.

    Attributes:
        name: the product's name.
        product: its definition.
        windows: the windows of the as-of date.
        known_until: the last day of activity to read: the as-of date, or the target's end for labels.
        training_dates: past as-of dates, ascending.
        new_dates: training dates without stored feature rows, which this run makes besides those of its date.
        schema: where the steps' tables are made; one per run.
        facts: what is known of the product's activity.
        catalogue: the features.
        tables: the tables that are kept from run to run.
        steps: the SQL steps; each comes after those that it reads.
        left_out: past as-of dates that are not trained on, since activity is missing that their labels need.
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
    left_out: tuple[date, ...] = ()
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
            self.left_out,
            len(self.new_dates),
        )

    @property
    def users(self) -> dict[date, str]:
        """Which users are trained on at each training date, as ``cohorts.encode_slots`` writes it."""
        limit = self.product.training.most_dates
        slots = _slots_by_date(self.product, self.training_dates, self.left_out)
        return {
            day: cohorts.encode_slots(slots[day], limit) if slots else cohorts.EVERYBODY
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

    def labels(self, schema: str) -> "DatasetPlan":
        """Return the plan that labels the scored users, from activity up to the target's end.

        ``labels.plan_labels`` also aggregates these weeks.
        """
        later = replace(
            self,
            schema=identifier(schema),
            known_until=self.windows.target_end,
            training_dates=(),
            left_out=(),
            new_dates=(),
        )
        steps = steps_for(self.source, ["snapshots"], later.names)
        label = next(step for step in steps if step.name == "snapshots")
        views = tuple(step for step in steps if step.name in label.needs and step.kind == "view")
        return replace(later, steps=(*views, label))


def _values(product: Product, tables: Tables) -> dict[str, Any]:
    """Return all values that statements may bind except dates."""
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
    left_out: Sequence[date],
    new_dates: int,
) -> dict[str, Any]:
    slots = _slots_by_date(product, training_dates, left_out)
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
        "has_minimum_account_age": product.minimum_account_age_days > 0,
        "categories": [slug(value) for value in product.categories] if available.category else [],
        "devices": [slug(value) for value in product.devices] if available.device else [],
        "weekdays": WEEKDAYS,
        "factors": list(range(product.factors)) if available.factors else [],
        "follow_kinds": product.follows,
        "segment_products": list(SEGMENT_PRODUCTS),
        "share_columns": share_columns(product, available),
        "value_type": tables.aggregates.names["value_type"],
        **day_offsets(product.lead_weeks, product.target_weeks),
        "observed_offsets": list(OBSERVED_OFFSETS),
        "training_dates": len(training_dates),
        "new_dates": new_dates,
        "slots": cohorts.slots(product.training.most_dates),
        "cohorts": [slots[day] for day in training_dates] if slots else [],
        "feature_groups": list(features.steps),
        "feature_columns": [(f.step, f.name, f.type) for f in features.features],
        "own_steps": {own.step: own.sql for own in product.own_features},
    }


def _slots_by_date(
    product: Product, dates: Sequence[date], left_out: Sequence[date]
) -> Mapping[date, tuple[int, ...]]:
    """Return the slots of users at each training date; empty if every date has all users.

    Dates that are left out keep their slots, so that the other dates' stored rows stay useful.
    """
    if product.training.sampling == "all":
        return {}
    return cohorts.assign_slots(tuple(sorted({*dates, *left_out})), product.training.most_dates)


def build_plan(
    source: str,
    name: str,
    product: Product,
    windows: Windows,
    dates: Sequence[date],
    schema: str,
    facts: ActivityFacts,
    aggregates: VersionedTables,
    left_out: Sequence[date] = (),
) -> DatasetPlan:
    """Return the plan of a run that finds no stored feature rows.

    Args:
        dates: past as-of dates of consecutive weeks, ascending.
        left_out: those of them that nothing is learnt from.
    """
    training_dates = tuple(day for day in dates if day not in left_out)
    features = catalogue(product, facts.available)
    tables = define_tables(source, name, product, facts.available, aggregates)
    plan = DatasetPlan(
        name=identifier(name),
        product=product,
        source=source,
        windows=windows,
        known_until=windows.as_of,
        training_dates=training_dates,
        left_out=tuple(left_out),
        new_dates=training_dates,
        schema=identifier(schema),
        facts=facts,
        catalogue=features,
        tables=tables,
        steps=(),
    )
    return with_steps(plan)


def with_steps(plan: DatasetPlan) -> DatasetPlan:
    """Return the plan with the steps that its dates and sources need, in order."""
    return replace(plan, steps=steps_for(plan.source, ["feature_set"], plan.names))


def define_tables(
    source: str, name: str, product: Product, available: Availability, aggregates: VersionedTables
) -> Tables:
    """Return the kept tables of a product, without dates.

    Args:
        available: the sources that exist: each adds features.
        aggregates: the weekly aggregates of all products.
    """
    # `rows` is filled in below: its digest is made from the steps, which read the other two.
    tables = Tables(aggregates, lifetime.lifetime_tables(aggregates, product), aggregates, {})
    names = _names(product, available, catalogue(product, available), tables, (), (), new_dates=1)
    _check_own_features(product, names, {**_values(product, tables), **dict.fromkeys(_DATES)})
    steps = steps_for(source, ["feature_rows"], names)
    # Steps may ask whether there are past dates to make, not how many.
    both = (names, {**names, "new_dates": 0})
    rows = store.feature_row_tables(aggregates.schema, name, steps, both, _values(product, tables))
    return replace(tables, rows=rows)


_DATES = ("as_of", "known_until", "first_new_date")  # that steps may bind, besides those with a number


def _check_own_features(product: Product, names: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Check that each SQL file of the data folder makes the columns that its catalogue entries name.

    Raises:
        ConfigError: a column has no entry, an entry has no column, or a file is no query.
    """
    faults = []
    for own in product.own_features:
        sql, toml = f"features/{own.name}.sql", f"features/{own.name}.toml"
        try:
            columns = set(columns_of(own_step(own.step, own.sql, names), names, values))
        except RunError as error:
            faults.append(f"{sql}: {error}")
            continue
        made, described = columns - {"user_id", "as_of_date"}, own.columns.keys()
        missing = ({"user_id", "as_of_date"} | described) - columns
        faults += [f"{sql} makes no column {name}: name it in the query" for name in sorted(missing)]
        faults += [f"{toml} has no [columns.{name}], which {sql} makes" for name in sorted(made - described)]
    if faults:
        listed = "\n".join(f"  - {fault}" for fault in faults)
        raise ConfigError(f"features of the data folder are wrong:\n{listed}")


def plan_without_data(settings: Settings, name: str, as_of: date) -> DatasetPlan:
    """Return a plan with every optional source and a long history, to render its SQL."""
    product = settings.product(name)
    windows = product.windows(as_of)
    most = product.training.max_dates or USUAL_DATES
    history = OBSERVATION_WEEKS * WEEK + most * WEEK + windows.label_delay
    available = resolve_views(settings.source, {}).available
    if settings.source == "events":  # it has no such columns
        available = replace(available, series=False, live=False, page_views=False)
    facts = ActivityFacts(0, windows.as_of - history + timedelta(days=1), windows.as_of, available)
    dates = labelled_dates(windows, facts.first_date, most)
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
    """Return each step's SQL in ``dialect`` with its values written in, for people to read.

    The steps of the kept tables come first, here in the run's own schema and from all activity.
    """
    plan = _in_own_schema(plan)
    aggregates, totals = plan.tables.aggregates, plan.tables.lifetime
    activity = load_step(f"sources/{plan.source}/activity.sql", {})
    values = {**aggregates.values, "first_day": ledger.HISTORY_START, "last_day": plan.known_until}
    texts = {"activity": render_for_humans(activity, {}, {}, plan.schema, dialect)}
    for step in weekly.steps(aggregates):
        name = step.name if step.name == "week_activity" else aggregates.name(step.name)
        texts[name] = render_for_humans(
            replace(step, name=name), aggregates.in_templates, values, plan.schema, dialect
        )
    by_week, latest = lifetime.steps(totals)
    empty = create_table(totals.table(lifetime.LATEST), lifetime.columns(totals.names), dialect)
    texts[totals.name(lifetime.LATEST)] = (
        f"-- {latest.header.splitlines()[0]} Empty before the first week.\n{empty};\n"
    )
    by_week = replace(by_week, name=totals.name(lifetime.LIFETIME))
    values = {**totals.values, "first_week": ledger.HISTORY_START, "last_week": plan.known_until}
    texts[by_week.name] = render_for_humans(by_week, totals.names, values, plan.schema, dialect)
    return texts | {
        step.name: render_for_humans(step, plan.names, plan.parameters, plan.schema, dialect)
        for step in plan.steps
    }


def _in_own_schema(plan: DatasetPlan) -> DatasetPlan:
    """Return the plan with the kept tables in its own schema, and no feature rows stored."""
    aggregates = replace(plan.tables.aggregates, schema=plan.schema)
    totals = lifetime.lifetime_tables(aggregates, plan.product)
    tables = Tables(aggregates, totals, replace(plan.tables.rows, schema=plan.schema), {})
    return with_steps(replace(plan, tables=tables, new_dates=plan.training_dates))
