"""The warehouse schemas of runs: their names, those left over, and how they go."""

import re

from churn.core.names import identifier
from churn.warehouse.base import Warehouse


def drop_schema(warehouse: Warehouse, schema: str) -> None:
    """Remove a run's schema with everything in it."""
    warehouse.execute(f"drop schema if exists {identifier(schema)} cascade")


def run_schema(product: str, run_id: str) -> str:
    """Return the name of the schema that a run makes its tables in."""
    return f"run_{product}_{run_id.replace('-', '_')}"


def leftover_schemas(warehouse: Warehouse, product: str | None = None) -> list[str]:
    """Return the schemas of runs: what those that died have left behind, and what a living one works with.

    The run id tells ``run_food_<id>`` from ``run_food_fresh_<id>``, which is of another product.

    Args:
        product: whose; None = of whichever product, also one that the settings do not know any more.
    """
    named = "[a-z0-9_]+" if product is None else re.escape(product)
    ours = re.compile(rf"run_{named}_\d{{8}}t\d{{6}}z_[0-9a-f]+")
    found = warehouse.fetch("select distinct schema_name from information_schema.schemata")
    return sorted(name for name in found["schema_name"].to_pylist() if ours.fullmatch(name))
