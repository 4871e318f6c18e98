"""Columns that folder names give, such as ``product=tv/``."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

_NULL = "__HIVE_DEFAULT_PARTITION__"


def folder_columns(path: Path) -> Mapping[str, str | None]:
    """Return the columns that the names of a file's folders give, with their values as text.

    Example:
        >>> folder_columns(Path("log/product=tv/day=2026-06-21/a.csv"))
        {'product': 'tv', 'day': '2026-06-21'}
    """
    pairs = (part.split("=", 1) for part in path.absolute().parent.parts if "=" in part.strip("="))
    return {unquote(name): None if value == _NULL else unquote(value) for name, value in pairs if name}
