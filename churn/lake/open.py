"""The lake that the settings name."""

from churn.config.settings import Settings
from churn.core.errors import ConfigError
from churn.lake.filesystem import is_local
from churn.lake.lake import Lake


def open_lake(settings: Settings) -> Lake:
    """Return the lake that the settings name."""
    return Lake(settings.store.lake or str(settings.out / "lake"), settings.store)


def check_lake(settings: Settings) -> None:
    """Refuse a lake that the warehouse cannot reach.

    Raises:
        ConfigError: Redshift unloads to S3 only.
    """
    lake = open_lake(settings)
    if not settings.warehouse.embedded and is_local(lake.fs):
        raise ConfigError(
            f"Redshift unloads to S3, and the lake is the local folder {lake.root}: set store.lake to an "
            "address such as s3://bucket/prefix"
        )
