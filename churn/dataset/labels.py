"""What scored users did: the label's own SQL step, read on to the target's end."""

from collections.abc import Mapping
from datetime import date

from churn.config.settings import Settings
from churn.core.names import identifier
from churn.dataset.plan import DatasetPlan
from churn.features import store
from churn.features.aggregates import weekly
from churn.warehouse.base import Warehouse


def plan_labels(
    warehouse: Warehouse, settings: Settings, made: DatasetPlan, schema: str, *, today: date | None = None
) -> DatasetPlan:
    """Return the plan that learns what scored users did; it reads on to the target's end.

    Makes its schema, and brings the kept weekly aggregates forward.

    Args:
        made: the plan that they were scored by; its schema is there.
        schema: where the tables are made; it must not be in use.
        today: the day on which this is run.
    """
    end = made.windows.target_end
    warehouse.execute(f"create schema {identifier(schema)}")
    weekly.update_aggregates(warehouse, settings, made.schema, end, today=today or max(end, date.today()))
    store.create_view(warehouse, made.tables.rows, schema)
    return made.outcomes(schema)


def read_labels(warehouse: Warehouse, plan: DatasetPlan) -> Mapping[str, int]:
    """Return user id -> churned (1, 0) for the users of a plan made by ``plan_labels``."""
    found = warehouse.fetch(
        f"select user_id, churned from {plan.schema}.snapshots"
        " where purpose = 'score' and churned is not null"
    )
    return dict(zip(found["user_id"].to_pylist(), found["churned"].to_pylist(), strict=True))
