"""The warehouse that the settings name: the one place that chooses an engine."""

from pathlib import Path

from churn.config.settings import Settings
from churn.warehouse.base import Warehouse
from churn.warehouse.duckdb.client import DuckDBWarehouse


def open_warehouse(settings: Settings) -> Warehouse:
    """Open the warehouse that the settings name."""
    if settings.warehouse.kind == "redshift":
        from churn.warehouse.redshift.client import RedshiftWarehouse  # SQLAlchemy takes long to import

        return RedshiftWarehouse(settings.warehouse)
    return DuckDBWarehouse.shared(_file(settings), settings.data, memory=settings.sql_memory)


def open_in_memory(settings: Settings) -> Warehouse:
    """Open an embedded warehouse that sees the source tables and leaves nothing behind."""
    return DuckDBWarehouse(None, settings.data, memory=settings.sql_memory)


def location(settings: Settings) -> str:
    """Return where the warehouse is: a file or a host."""
    return f"{_file(settings) if settings.warehouse.embedded else settings.warehouse.host}"


def missing_file(settings: Settings) -> Path | None:
    """Return the embedded warehouse's file if it does not exist: opening the warehouse would make it."""
    file = _file(settings)
    return file if settings.warehouse.embedded and not file.exists() else None


def _file(settings: Settings) -> Path:
    return settings.out / "warehouse.duckdb"
