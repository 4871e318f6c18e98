"""Remove what dead runs left in the warehouse."""

import re
from datetime import UTC, datetime

from churn.dataset.run_schemas import drop_schema, leftover_schemas
from churn.lake.staging import STALE_SECONDS
from churn.warehouse.base import Warehouse


def sweep_tables(warehouse: Warehouse, name: str) -> None:
    """Remove the tables of the product's dead runs."""
    for schema in leftover_schemas(warehouse, name):
        if is_dead(warehouse, schema):
            drop_schema(warehouse, schema)


def is_dead(warehouse: Warehouse, schema: str) -> bool:
    """Return whether a run's schema is abandoned, ignoring this process's own run.

    Only one process at a time can open the embedded warehouse. In a shared warehouse, a run that started less
    than 48 hours ago may still be alive.
    """
    if warehouse.exclusive:
        return True
    started = re.search(r"_(\d{8}t\d{6})z_[0-9a-f]+$", schema)
    if started is None:
        return False
    age = datetime.now(UTC) - datetime.strptime(started[1], "%Y%m%dt%H%M%S").replace(tzinfo=UTC)
    return age.total_seconds() > STALE_SECONDS
