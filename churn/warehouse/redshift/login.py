"""Logins to Redshift from AWS: by IAM or Secrets Manager."""

import json
from dataclasses import dataclass, field
from typing import Any

from churn.config.warehouse import WarehouseSettings
from churn.core.aws import explained, make_client
from churn.core.errors import RunError

_PASSWORD_SECONDS = 900  # the shortest that AWS allows; it is used at once
_MOST_TRIES = 6


@dataclass(frozen=True)
class Login:
    """A database user; the password is not in its repr."""

    user: str
    password: str = field(repr=False)


def aws_login(settings: WarehouseSettings) -> Login:
    """Return a user and password from AWS: new ones by ``iam``, the stored ones by ``secret``.

    Raises:
        RunError: AWS refused or was not reached, or the secret is malformed; nothing of it is shown.
    """
    what = "read the secret" if settings.auth == "secret" else "get database credentials"
    with explained(what, "warehouse.region", "the warehouse's settings"):
        return _from_secret(settings) if settings.auth == "secret" else _from_iam(settings)


def _client(service: str, settings: WarehouseSettings) -> Any:
    return make_client(
        service,
        settings.region,
        f"warehouse.auth '{settings.auth}'",
        retries={"total_max_attempts": min(_MOST_TRIES, settings.retries + 1), "mode": "standard"},
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.connect_timeout,
    )


def _from_iam(settings: WarehouseSettings) -> Login:
    if settings.workgroup:
        answer = _client("redshift-serverless", settings).get_credentials(
            workgroupName=settings.workgroup, dbName=settings.database, durationSeconds=_PASSWORD_SECONDS
        )
        return Login(answer["dbUser"], answer["dbPassword"])
    answer = _client("redshift", settings).get_cluster_credentials(
        ClusterIdentifier=settings.cluster_identifier,
        DbName=settings.database,
        DbUser=settings.db_user,
        DurationSeconds=_PASSWORD_SECONDS,
        AutoCreate=False,
    )
    return Login(answer["DbUser"], answer["DbPassword"])


def _from_secret(settings: WarehouseSettings) -> Login:
    text = _client("secretsmanager", settings).get_secret_value(SecretId=settings.secret).get("SecretString")
    try:
        secret = json.loads(text or "")
        return Login(str(secret["username"]), str(secret["password"]))
    except (ValueError, KeyError, TypeError):
        raise RunError(
            "the warehouse's secret must be JSON with a username and a password, as Secrets Manager makes it "
            "for Redshift"
        ) from None
