"""What is asked of AWS itself: who may log in to Redshift. The only module here that knows boto3."""

import json
from dataclasses import dataclass, field
from typing import Any

from churn.aws import aws_errors, not_installed, region_of, told
from churn.config_warehouse import WarehouseSettings
from churn.errors import RunError

_PASSWORD_SECONDS = 900  # the shortest that AWS makes; it is used at once
_MOST_TRIES = 6


@dataclass(frozen=True)
class Login:
    """A database user. The password is never shown."""

    user: str
    password: str = field(repr=False)


def aws_login(settings: WarehouseSettings) -> Login:
    """Ask AWS for a user and a password: by ``iam`` made for this once, by ``secret`` as it is kept.

    Raises:
        ConfigError: AWS' library is not installed.
        RunError: AWS refused or was not reached, or the secret is not what it should be; nothing of the
            secret is shown.
    """
    try:
        import boto3  # noqa: F401  # whether they are there; slow to import, not needed where all is local
        import botocore.exceptions  # noqa: F401
    except ImportError as error:
        raise not_installed(error.name or "boto3", f"warehouse.auth '{settings.auth}'") from error

    try:
        if settings.auth == "secret":
            return _from_secret(settings)
        return _from_iam(settings)
    except aws_errors() as error:
        what = "read the secret" if settings.auth == "secret" else "get database credentials"
        raise RunError(told(error, what, "warehouse.region", "the warehouse's settings")) from None


def _client(service: str, settings: WarehouseSettings) -> Any:
    import boto3
    import botocore.config

    tries = {"total_max_attempts": min(_MOST_TRIES, settings.retries + 1), "mode": "standard"}
    config = botocore.config.Config(
        retries=tries, connect_timeout=settings.connect_timeout, read_timeout=settings.connect_timeout
    )
    return boto3.client(service, region_name=region_of(settings.region), config=config)


def _from_iam(settings: WarehouseSettings) -> Login:
    if settings.workgroup:
        found = _client("redshift-serverless", settings).get_credentials(
            workgroupName=settings.workgroup, dbName=settings.database, durationSeconds=_PASSWORD_SECONDS
        )
        return Login(found["dbUser"], found["dbPassword"])
    found = _client("redshift", settings).get_cluster_credentials(
        ClusterIdentifier=settings.cluster_identifier,
        DbName=settings.database,
        DbUser=settings.db_user,
        DurationSeconds=_PASSWORD_SECONDS,
        AutoCreate=False,
    )
    return Login(found["DbUser"], found["DbPassword"])


def _from_secret(settings: WarehouseSettings) -> Login:
    text = _client("secretsmanager", settings).get_secret_value(SecretId=settings.secret).get("SecretString")
    try:
        kept = json.loads(text or "")
        return Login(str(kept["username"]), str(kept["password"]))
    except (ValueError, KeyError, TypeError):
        raise RunError(
            "the warehouse's secret must be JSON with a username and a password, as Secrets Manager makes it "
            "for Redshift"
        ) from None
