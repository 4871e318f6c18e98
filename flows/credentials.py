"""Credentials from Prefect's blocks, for as long as a command or a flow run takes.

What a block holds is put into the environment of this process, where all that speaks to AWS or Redshift looks
for it (the store, boto3, workers, the warehouse), and taken out again. It stands in no setting, parameter,
state, log or error.
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

if TYPE_CHECKING:
    from prefect.blocks.core import Block
    from prefect_aws import AwsCredentials

_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
# Every way in which the environment says who this process is to AWS: a block stands for all of it.
_IDENTITY = frozenset(
    {
        *_KEYS, "AWS_SECURITY_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE",
        "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE",
    }
)  # fmt: skip


class _InUse:
    """Which blocks this process has in use, and by how many flow runs and commands within each other."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.times = 0
        self.names = PrefectSettings()
        self.before: dict[str, str | None] = {}


_in_use = _InUse()


def of_use(settings: Settings) -> PrefectSettings:
    """Return the blocks that are named and needed: no login where the warehouse is the embedded one."""
    if settings.warehouse.embedded:
        return settings.prefect.model_copy(update={"redshift_login": None})
    return settings.prefect


@contextmanager
def credentials(settings: Settings) -> Iterator[None]:
    """Let this process be who the blocks that the settings name say, until the end of the ``with`` block.

    A flow that runs inside a command with the same blocks uses what the command has taken from them, so that
    a role is not assumed twice over.

    Raises:
        ConfigError: a block, its type, the server or what the block holds is not as it must be; no part of it
            is shown.
        RunError: this process has other blocks in use.
    """
    names = of_use(settings)
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
        wanted |= _of_aws(names.aws_credentials)
    if names.redshift_login is not None:
        wanted |= _of_login(names.redshift_login)
    _in_use.names, _in_use.before = names, {name: os.environ.get(name) for name in wanted}
    _set(wanted)


def _set(wanted: Mapping[str, str | None]) -> None:
    """Set variables, remove those that are None, and let nobody go on as who they were before."""
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


def _of_aws(name: str) -> dict[str, str | None]:
    """Return the variables that an ``AwsCredentials`` block stands for."""
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
        keys = _of_role(block, what)
    elif block.profile_name and not any(keys):  # AWS' own chain renews what a profile leads to
        return wanted | {"AWS_PROFILE": block.profile_name}
    if not (keys[0] and keys[1]):
        raise ConfigError(f"{what} holds no role, no profile and no whole pair of keys: save it with one")
    return wanted | dict(zip(_KEYS, keys, strict=True))


def _of_role(block: "AwsCredentials", what: str) -> tuple[str | None, str | None, str | None]:
    """Let AWS make keys of the block's role, which last as long as the block asks for."""
    try:
        made = block.get_boto3_session().get_credentials().get_frozen_credentials()
    except Exception as error:  # its words may hold the keys
        raise ConfigError(
            f"AWS does not give the role of {what} to this process ({_kind(error)}): check the block's keys, "
            "profile and role"
        ) from None
    return made.access_key, made.secret_key, made.token


def _of_login(name: str) -> dict[str, str | None]:
    """Return the variables that a ``Secret`` block with a user and a password stands for."""
    from prefect.blocks.system import Secret

    from churn.config.warehouse import PASSWORD_VARIABLE, USER_VARIABLE

    what = f"the block {name!r} (prefect.redshift_login)"
    held = _load(Secret, name, what).get()  # JSON in a text is read already
    login = {key: held.get(key) for key in ("username", "password")} if isinstance(held, dict) else {}
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
        ConfigError: there is none, or the server does not hand it out; what Prefect says is left out, as it
            may quote the block.
    """
    import httpx
    from prefect.exceptions import PrefectHTTPStatusError

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
    """Return what Prefect's server is called in messages: its address, without a user and password in it."""
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    if not url:
        return "the Prefect server of this machine"
    return f"the Prefect server at {mask_url(str(url))}"


def _kind(error: Exception) -> str:
    response = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return str(code or type(error).__name__)
