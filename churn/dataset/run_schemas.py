"""The warehouse schemas of runs: names, leftovers, removal."""

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
    """Return the schemas of all runs that are in the warehouse, of dead and of living ones.

    Args:
        product: whose runs; None = of every product, also of one that the settings no longer have.
    """
    products = "[a-z0-9_]+" if product is None else re.escape(product)
    # The run id keeps run_food_<id> apart from run_food_fresh_<id>, which is of another product.
    of_a_run = re.compile(rf"run_{products}_\d{{8}}t\d{{6}}z_[0-9a-f]+")
    schemas = warehouse.fetch("select distinct schema_name from information_schema.schemata")
    return sorted(name for name in schemas["schema_name"].to_pylist() if of_a_run.fullmatch(name))
