"""Clients of AWS services, their region, and their errors in sentences."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from churn.core.errors import ChurnError, ConfigError, RunError


def region_of(settings: str | None) -> str | None:
    """Return the region of the settings, or AWS_REGION; None leaves the choice to boto.

    boto reads AWS_DEFAULT_REGION only, while AWS' containers set AWS_REGION. AWS_DEFAULT_REGION wins here
    too, so that all parts of a process use one region.
    """
    if settings or os.environ.get("AWS_DEFAULT_REGION"):
        return settings
    return os.environ.get("AWS_REGION") or None


def missing_library_error(library: str, user: str) -> ConfigError:
    """Return the error for a missing library of the extra ``aws`` that ``user`` needs."""
    return ConfigError(
        f"{user} needs {library}, which is not installed: install churn with its extra `aws` (in a checkout: "
        "`.venv/bin/pip install --no-deps --require-hashes -r requirements-aws.lock`)"
    )


def make_client(service: str, region: str | None, user: str, **config: Any) -> Any:
    """Return a client of an AWS service.

    Args:
        service: boto's name of the service.
        region: the region of the settings, or None.
        user: what needs the client, for the error.
        config: arguments of botocore's ``Config``.

    Raises:
        ConfigError: AWS' library is not installed.
    """
    try:
        import boto3  # here, because it is slow to import
        import botocore.config

        aws_errors()  # `explained` needs it: fail now if it cannot be imported
    except ImportError as error:
        raise missing_library_error(error.name or "boto3", user) from error
    return boto3.client(service, region_name=region_of(region), config=botocore.config.Config(**config))


def aws_errors() -> tuple[type[Exception], ...]:
    """Return the base classes of boto's errors."""
    import botocore.exceptions

    return botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError


@contextmanager
def explained(what: str, region: str, settings: str) -> Iterator[None]:
    """Turn an error of AWS' library into a RunError without account names and secrets.

    Args:
        what: what this process asks of AWS, such as ``read the secret``.
        region: the setting that names the region.
        settings: other settings that may be wrong, in words.

    Raises:
        RunError: AWS refused or did not answer, or there is no region or no credentials.
    """
    try:
        yield
    except ChurnError:
        raise  # first, because aws_errors() fails if the library is missing
    except aws_errors() as error:
        raise RunError(_sentence(error, what, region, settings)) from None


def _sentence(error: Exception, what: str, region: str, settings: str) -> str:
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
    credential_errors = (
        aws.NoCredentialsError, aws.PartialCredentialsError, aws.CredentialRetrievalError,
        aws.ProfileNotFound, aws.TokenRetrievalError, aws.UnauthorizedSSOTokenError, aws.SSOTokenLoadError,
    )  # fmt: skip
    if isinstance(error, credential_errors):
        return (
            f"AWS was not asked to {what}, as this process has no credentials for it ({why}): give it a "
            "role, a profile (AWS_PROFILE) or the block prefect.aws_credentials"
        )
    return (
        f"AWS did not let this process {what} ({why}): check the role or profile that it runs with, and "
        f"{settings}"
    )


def reason(error: BaseException) -> str:
    """Return the code of an AWS error, or its type: AWS' own text may name accounts and roles."""
    response: dict[str, Any] = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code") or type(error).__name__)
