"""The warehouse that the settings name."""

from churn.config.settings import Settings
from churn.warehouse.base import Warehouse
from churn.warehouse.duckdb.client import DuckDBWarehouse


def open_warehouse(settings: Settings) -> Warehouse:
    """Open the warehouse that the settings name."""
    if settings.warehouse.kind == "redshift":
        from churn.warehouse.redshift.client import RedshiftWarehouse  # SQLAlchemy takes long to import

        return RedshiftWarehouse(settings.warehouse)
    return DuckDBWarehouse(settings.out / "warehouse.duckdb", settings.data, memory=settings.sql_memory)
