"""What every conversation with AWS has in common: the region, and its errors in sentences."""

import os
from typing import Any

from churn.errors import ConfigError


def region_of(settings: str | None) -> str | None:
    """Return the settings' region, or AWS_REGION where boto would find none; None: what boto finds.

    AWS' own tools and containers say AWS_REGION; boto looks at AWS_DEFAULT_REGION alone, which goes first
    here so that all of a process agrees.
    """
    if settings or os.environ.get("AWS_DEFAULT_REGION"):
        return settings
    return os.environ.get("AWS_REGION") or None


def not_installed(library: str, user: str) -> ConfigError:
    """Return the error for a library of the extra ``aws`` that is not installed, which ``user`` needs."""
    return ConfigError(
        f"{user} needs {library}, which is not installed: install churn with its extra `aws` (in a checkout: "
        "`.venv/bin/pip install --no-deps --require-hashes -r requirements-aws.lock`)"
    )


def aws_errors() -> tuple[type[Exception], ...]:
    """Return what AWS' library raises."""
    import botocore.exceptions  # only here, as it is slow to import

    return botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError


def told(error: Exception, what: str, region: str, settings: str) -> str:
    """Say whether AWS refused, was not reached, or was not asked as nobody said who asks, or where.

    Args:
        error: one of ``aws_errors``.
        what: what it was asked to let this process do, such as ``read the secret``.
        region: the setting that names the region.
        settings: the settings that else may be wrong, in words.
    """
    import botocore.exceptions as aws

    why = reason(error)
    if isinstance(error, aws.NoRegionError):
        return (
            f"AWS was not asked to {what}, as no region is known: set {region}, AWS_REGION or "
            "AWS_DEFAULT_REGION"
        )
    if isinstance(error, aws.ConnectionError | aws.HTTPClientError):
        return (
            f"AWS was not reached to {what} ({why}): check the network (route, proxy or VPC endpoint to "
            "AWS) and the region"
        )
    nobody = (
        aws.NoCredentialsError, aws.PartialCredentialsError, aws.CredentialRetrievalError,
        aws.ProfileNotFound, aws.TokenRetrievalError, aws.UnauthorizedSSOTokenError, aws.SSOTokenLoadError,
    )  # fmt: skip
    if isinstance(error, nobody):
        return (
            f"AWS was not asked to {what}, as this process has no credentials for it ({why}): give it a "
            "role, a profile (AWS_PROFILE) or the block prefect.aws_credentials"
        )
    return (
        f"AWS did not let this process {what} ({why}): check the role or profile that it runs with, and "
        f"{settings}"
    )


def reason(error: BaseException) -> str:
    """Return an AWS error's code, or its kind, without what AWS says of accounts and roles."""
    response: dict[str, Any] = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code") or type(error).__name__)
