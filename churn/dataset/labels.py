"""The labels of scored users, once the target is over: the same SQL step that labels training rows."""

from collections.abc import Mapping
from datetime import date

from churn.config.settings import Settings
from churn.core.names import identifier
from churn.dataset.plan import DatasetPlan
from churn.features import store
from churn.features.aggregates import weekly
from churn.warehouse.base import Warehouse


def plan_labels(
    warehouse: Warehouse, settings: Settings, plan: DatasetPlan, schema: str, *, today: date | None = None
) -> DatasetPlan:
    """Return the plan that labels the users whom another plan scored.

    Creates the schema and aggregates the weeks up to the end of the target.

    Args:
        plan: the plan that scored them; its schema exists.
        schema: where the tables are made; it must not exist.
        today: the day on which this is run.
    """
    end = plan.windows.target_end
    warehouse.execute(f"create schema {identifier(schema)}")
    weekly.update_aggregates(warehouse, settings, plan.schema, end, today=today or max(end, date.today()))
    store.create_view(warehouse, plan.tables.rows, schema)
    return plan.labels(schema)


def read_labels(warehouse: Warehouse, plan: DatasetPlan) -> Mapping[str, int]:
    """Return user id -> churned (1, 0) for the users of a plan made by ``plan_labels``."""
    labels = warehouse.fetch(
        f"select user_id, churned from {plan.schema}.snapshots"
        " where purpose = 'score' and churned is not null"
    )
    return dict(zip(labels["user_id"].to_pylist(), labels["churned"].to_pylist(), strict=True))
