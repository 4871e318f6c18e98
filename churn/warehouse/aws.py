"""What is asked of AWS itself: who may log in to Redshift. The only module here that knows boto3."""

import json
from dataclasses import dataclass, field
from typing import Any

from churn.config_warehouse import WarehouseSettings
from churn.errors import RunError

_PASSWORD_SECONDS = 900  # the shortest that AWS makes; it is used at once
_TRIES = {"max_attempts": 5, "mode": "standard"}


@dataclass(frozen=True)
class Login:
    """A database user. The password is never shown."""

    user: str
    password: str = field(repr=False)


def aws_login(settings: WarehouseSettings) -> Login:
    """Ask AWS for a user and a password: by ``iam`` made for this once, by ``secret`` as it is kept.

    Raises:
        RunError: AWS refused, or the secret is not what it should be; nothing of the secret is shown.
    """
    import botocore.exceptions  # only here, as it is slow to import and not needed where all is local

    try:
        if settings.auth == "secret":
            return _from_secret(settings)
        return _from_iam(settings)
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        what = "read the secret" if settings.auth == "secret" else "get database credentials"
        raise RunError(
            f"AWS did not let this process {what} ({_reason(error)}): check the role or profile that it runs "
            "with, and the warehouse's settings"
        ) from None


def _client(service: str, settings: WarehouseSettings) -> Any:
    import boto3
    import botocore.config

    config = botocore.config.Config(
        retries=_TRIES, connect_timeout=settings.connect_timeout, read_timeout=settings.connect_timeout
    )
    return boto3.client(service, region_name=settings.region, config=config)


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


def _reason(error: Exception) -> str:
    """The error's code, without what AWS says of accounts and roles."""
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code") or type(error).__name__)
