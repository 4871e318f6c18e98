"""What every conversation with AWS has in common: its client, the region, and its errors in sentences."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from churn.core.errors import ChurnError, ConfigError, RunError


def region_of(settings: str | None) -> str | None:
    """Return the settings' region, or AWS_REGION where boto would find none; None: what boto finds.

    AWS' own tools and containers say AWS_REGION; boto looks at AWS_DEFAULT_REGION alone, which goes first
    here so that all of a process agrees.
    """
    if settings or os.environ.get("AWS_DEFAULT_REGION"):
        return settings
    return os.environ.get("AWS_REGION") or None


def missing_library_error(library: str, user: str) -> ConfigError:
    """Return the error for a library of the extra ``aws`` that is not installed, which ``user`` needs."""
    return ConfigError(
        f"{user} needs {library}, which is not installed: install churn with its extra `aws` (in a checkout: "
        "`.venv/bin/pip install --no-deps --require-hashes -r requirements-aws.lock`)"
    )


def make_client(service: str, region: str | None, user: str, **config: Any) -> Any:
    """Return a client of an AWS service.

    Args:
        service: its name to AWS' library.
        region: the settings' region, if they name one.
        user: what needs the library, in words.
        config: how it asks, as botocore's ``Config`` takes it.

    Raises:
        ConfigError: AWS' library is not installed.
    """
    try:
        import boto3  # only here, as it is slow to import
        import botocore.config

        aws_errors()  # explaining an error must not fail for want of them
    except ImportError as error:
        raise missing_library_error(error.name or "boto3", user) from error
    return boto3.client(service, region_name=region_of(region), config=botocore.config.Config(**config))


def aws_errors() -> tuple[type[Exception], ...]:
    """Return what AWS' library raises."""
    import botocore.exceptions  # only here, as it is slow to import

    return botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError


@contextmanager
def explained(what: str, region: str, settings: str) -> Iterator[None]:
    """Explain an error of AWS' library, without what AWS says of accounts and secrets.

    Args:
        what: what AWS is asked to let this process do, such as ``read the secret``.
        region: the setting that names the region.
        settings: the settings that else may be wrong, in words.

    Raises:
        RunError: AWS refused, was not reached, or was not asked as nobody said who asks, or where.
    """
    try:
        yield
    except ChurnError:
        raise  # it says what is wrong, which may be that AWS' library is not there
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
