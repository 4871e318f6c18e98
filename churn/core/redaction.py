"""Passwords kept out of messages."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

_HIDDEN = "***"
# Up to the last "@": a password may hold a slash or an "@". In an S3 or file path, "@" marks no user.
_USER = re.compile(r"\b(?!s3:|file:)(\w[\w+.-]*://)[^\s/]\S*@", re.I)
_NAMED = re.compile(
    r"""((?:password|passwd|pwd)["']?\s*[=:]\s*|(?:secret|token)=)("[^"]*"|'[^']*'|\S+)""", re.I
)
_SHORTEST = 4  # letters of a part of a password to mask: shorter parts occur in ordinary words


def parse_url(address: str) -> "URL | None":
    """Return the parts of an address; None if it cannot be parsed."""
    from sqlalchemy.engine import make_url  # here, because it is slow to import and most commands need no URL
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(address)
    except (ArgumentError, ValueError):
        return None


def mask_secrets(text: str, secrets: Iterable[str] = ()) -> str:
    """Return text with known secrets, and whatever looks like a password, replaced by ``***``.

    Args:
        text: a message.
        secrets: known secrets, such as those of ``secrets_of``.
    """
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, _HIDDEN)
    return _NAMED.sub(rf"\g<1>{_HIDDEN}", _USER.sub(rf"\g<1>{_HIDDEN}@", text))


def mask_url(address: str) -> str:
    """Return an address without user, password and query, for messages."""
    scheme, parts, _ = address.partition("://")
    url = parse_url(address)
    if url is None:
        return f"{scheme}://{_HIDDEN}" if parts else mask_secrets(address)
    if url.get_backend_name() == "sqlite":
        return f"{scheme}:///{url.database or ''}"
    if "?" in f"{url.username}{url.password}":
        return f"{scheme}://{_HIDDEN}"  # the password's end is ambiguous
    host = f"[{url.host}]" if ":" in (url.host or "") else url.host or ""
    port = f":{url.port}" if url.port is not None else ""
    path = f"/{url.database}" if url.database is not None else ""
    # Text before an "@" is the rest of a user or password that holds an "@".
    return f"{scheme}://{f'{host}{port}{path}'.rpartition('@')[2]}"


def secrets_of(address: str) -> frozenset[str]:
    """Return the secrets in an address: its password and the values of its query."""
    rest = address.partition("://")[2]
    url, query = parse_url(address), list[str]()
    if url is None:
        user = rest
    elif url.get_backend_name() != "sqlite" and "@" in f"{url.host}{url.database}":
        user = rest.rpartition("@")[0]
    else:
        user = "" if url.username is None else rest.partition("@")[0]
    for value in url.query.values() if url is not None else ():
        query += [value] if isinstance(value, str) else value
    name, _, password = user.partition(":")
    password = password or name  # a token may stand alone
    parts = (*re.split(r"[@/?:]", password), *query)
    return frozenset(
        {password, unquote(password), *(part for part in parts if len(part) >= _SHORTEST)} - {""}
    )
