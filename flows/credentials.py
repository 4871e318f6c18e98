"""Credentials from Prefect's blocks, for as long as a command or a flow run takes.

A block's values go into this process's environment, where the store, boto3, workers and the warehouse look
for them, and are removed at the end. They appear in no setting, parameter, state, log or error.
"""

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from churn.config.prefect import PrefectSettings
from churn.config.settings import Settings
from churn.core.errors import ConfigError, RunError
from churn.core.redaction import mask_url
from flows.server.start import start_server

if TYPE_CHECKING:
    from prefect.blocks.core import Block
    from prefect_aws import AwsCredentials

_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
# All variables that identify this process to AWS: a block replaces every one of them.
_IDENTITY = frozenset(
    {
        *_KEYS, "AWS_SECURITY_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE",
        "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE",
    }
)  # fmt: skip


class _InUse:
    """The blocks in use by this process, and by how many nested commands and flow runs."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.times = 0
        self.names = PrefectSettings()
        self.before: dict[str, str | None] = {}


_in_use = _InUse()


def blocks_in_use(settings: Settings) -> PrefectSettings:
    """Return the blocks that are named and needed; an embedded warehouse needs no login."""
    if settings.warehouse.embedded:
        return settings.prefect.model_copy(update={"redshift_login": None})
    return settings.prefect


@contextmanager
def credentials(settings: Settings) -> Iterator[None]:
    """Use the identity of the blocks that the settings name, inside the ``with`` block.

    A flow inside a command with the same blocks reuses the command's credentials: a role is assumed once.

    Raises:
        ConfigError: a block is missing, of another type or incomplete, or the server refused. The message
            shows nothing of the block's content.
        RunError: this process uses other blocks already.
    """
    names = blocks_in_use(settings)
    if names == PrefectSettings():
        yield
        return
    with _in_use.lock:
        if not _in_use.times:
            _enter(names)
        elif _in_use.names != names:
            raise RunError(
                "this process has the credentials of other blocks in use: run this in a process of its own"
            )
        _in_use.times += 1
    try:
        yield
    finally:
        with _in_use.lock:
            _in_use.times -= 1
            if not _in_use.times:
                _set(_in_use.before)
                _in_use.before = {}


def _enter(names: PrefectSettings) -> None:
    wanted: dict[str, str | None] = {}
    if names.aws_credentials is not None:
        wanted |= _aws_variables(names.aws_credentials)
    if names.redshift_login is not None:
        wanted |= _login_variables(names.redshift_login)
    _in_use.names, _in_use.before = names, {name: os.environ.get(name) for name in wanted}
    _set(wanted)


def _set(wanted: Mapping[str, str | None]) -> None:
    """Set variables, remove those that are None, and drop sessions with the earlier identity."""
    for name, value in wanted.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    if "boto3" in sys.modules:
        import boto3

        boto3.DEFAULT_SESSION = None
    if "s3fs" in sys.modules:
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()


def _aws_variables(name: str) -> dict[str, str | None]:
    """Return the variables of an ``AwsCredentials`` block."""
    what = f"the block {name!r} (prefect.aws_credentials)"
    try:
        from prefect_aws import AwsCredentials
    except ImportError as error:
        raise ConfigError(
            f"{what} needs prefect-aws, which is not installed: install churn with its extra `aws`"
        ) from error
    block = _load(AwsCredentials, name, what)
    wanted: dict[str, str | None] = dict.fromkeys(_IDENTITY)
    if block.region_name:
        wanted |= {"AWS_REGION": block.region_name, "AWS_DEFAULT_REGION": block.region_name}
    secret = block.aws_secret_access_key and block.aws_secret_access_key.get_secret_value()
    keys = (block.aws_access_key_id, secret, block.aws_session_token)
    if block.assume_role_arn:
        keys = _role_keys(block, what)
    elif block.profile_name and not any(keys):  # AWS' own chain renews a profile's keys
        return wanted | {"AWS_PROFILE": block.profile_name}
    if not (keys[0] and keys[1]):
        raise ConfigError(f"{what} holds no role, no profile and no whole pair of keys: save it with one")
    return wanted | dict(zip(_KEYS, keys, strict=True))


def _role_keys(block: "AwsCredentials", what: str) -> tuple[str | None, str | None, str | None]:
    """Assume the block's role; return temporary keys."""
    try:
        keys = block.get_boto3_session().get_credentials().get_frozen_credentials()
    except Exception as error:  # its message may hold the keys
        raise ConfigError(
            f"AWS does not give the role of {what} to this process ({_error_code(error)}): check the block's "
            "keys, profile and role"
        ) from None
    return keys.access_key, keys.secret_key, keys.token


def _login_variables(name: str) -> dict[str, str | None]:
    """Return the variables of a ``Secret`` block that holds a user and a password."""
    from prefect.blocks.system import Secret

    from churn.config.warehouse import PASSWORD_VARIABLE, USER_VARIABLE

    what = f"the block {name!r} (prefect.redshift_login)"
    secret = _load(Secret, name, what).get()  # Prefect parses JSON
    login = {key: secret.get(key) for key in ("username", "password")} if isinstance(secret, dict) else {}
    if not login or not all(
        isinstance(value, str) and value and "\0" not in value for value in login.values()
    ):
        raise ConfigError(
            f'{what} must hold JSON such as {{"username": "...", "password": "..."}} (what it holds is not '
            "shown): save it again"
        )
    return {USER_VARIABLE: login["username"], PASSWORD_VARIABLE: login["password"]}


def _load(kind: "type[Block]", name: str, what: str) -> Any:
    """Load a block of one type.

    Raises:
        ConfigError: there is none, or the server refused. Prefect's own message is left out: it may quote the
            block.
    """
    import httpx
    from prefect.exceptions import PrefectHTTPStatusError

    start_server()
    try:
        return kind.load(name, _sync=True)
    except ValueError as error:
        missing = "Unable to find block document" in str(error)
        fault = f"has no block of that name and of type {kind.get_block_type_slug()!r}" if missing else None
    except PrefectHTTPStatusError as error:
        fault = f"refuses it (status {error.response.status_code}): check PREFECT_API_KEY and its rights"
    except httpx.InvalidURL:
        fault = "has no address that can be used: check PREFECT_API_URL, and write signs such as / as %2F"
    except (httpx.TransportError, RuntimeError, OSError) as error:
        unreachable = isinstance(error, httpx.TransportError | OSError) or "API" in str(error)
        fault = "does not answer: check PREFECT_API_URL" if unreachable else None
    raise ConfigError(
        f"{what} cannot be used: {server()} {fault}"
        if fault
        else f"{what} is not a whole block of type {kind.get_block_type_slug()!r}: save it again"
    ) from None


def server() -> str:
    """Return the name of Prefect's server for messages: its address without user and password."""
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    if not url:
        return "the Prefect server of this machine"
    return f"the Prefect server at {mask_url(str(url))}"


def _error_code(error: Exception) -> str:
    response = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return str(code or type(error).__name__)
