"""What is asked of AWS itself: who may log in to Redshift. The only module here that knows boto3."""

import json
from dataclasses import dataclass, field
from typing import Any

from churn.config_warehouse import WarehouseSettings
from churn.errors import ConfigError, RunError
from churn.region import region_of

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
        import boto3  # noqa: F401  # whether it is there; slow to import, and not needed where all is local
        import botocore.exceptions
    except ImportError as error:
        raise not_installed(error.name or "boto3", f"warehouse.auth '{settings.auth}'") from error

    try:
        if settings.auth == "secret":
            return _from_secret(settings)
        return _from_iam(settings)
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        what = "read the secret" if settings.auth == "secret" else "get database credentials"
        raise RunError(_told(error, what)) from None


def not_installed(library: str, user: str) -> ConfigError:
    """Return the error for a library of the extra ``aws`` that is not installed, which ``user`` needs."""
    return ConfigError(
        f"{user} needs {library}, which is not installed: install churn with its extra `aws` (in a checkout: "
        "`.venv/bin/pip install --no-deps --require-hashes -r requirements-aws.lock`)"
    )


def _told(error: Exception, what: str) -> str:
    """Say whether AWS refused, was not reached, or was not asked as nobody said who asks."""
    import botocore.exceptions as aws

    reason = _reason(error)
    if isinstance(error, aws.ConnectionError | aws.HTTPClientError):
        return (
            f"AWS was not reached to {what} ({reason}): check the network (route, proxy or VPC endpoint to "
            "AWS) and the region"
        )
    if isinstance(error, aws.NoRegionError):
        return (
            f"AWS was not asked to {what}, as no region is known: set warehouse.region, AWS_REGION or "
            "AWS_DEFAULT_REGION"
        )
    nobody = (
        aws.NoCredentialsError, aws.PartialCredentialsError, aws.CredentialRetrievalError,
        aws.ProfileNotFound, aws.TokenRetrievalError, aws.UnauthorizedSSOTokenError, aws.SSOTokenLoadError,
    )  # fmt: skip
    if isinstance(error, nobody):
        return (
            f"AWS was not asked to {what}, as this process has no credentials for it ({reason}): give it a "
            "role, a profile (AWS_PROFILE) or the block prefect.aws_credentials"
        )
    return (
        f"AWS did not let this process {what} ({reason}): check the role or profile that it runs with, and "
        "the warehouse's settings"
    )


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


def _reason(error: Exception) -> str:
    """The error's code, without what AWS says of accounts and roles."""
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code") or type(error).__name__)
