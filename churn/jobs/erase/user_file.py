"""The file of user ids to erase. An id is taken as it stands in the file, with every blank.

The ending of the name says how the file holds ids:

- ``.csv``: quoted as in RFC 4180, so that an id may hold a comma or a line break. One column, or a header
  with the column ``user_id``.
- ``.jsonl``, ``.ndjson``, ``.json``: one JSON text or object a line; an object has the key ``user_id``.
- ``.parquet``: one column, or a column ``user_id``.
- anything else: text, one id a line.
"""

import csv
import io
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from churn.core.datasets import USER_ID
from churn.core.errors import UsageError

_LONGEST_FIELD = 2**31 - 1  # of a CSV file; Python's own limit is 131,072 letters


def read_users(path: Path, id_column: str = USER_ID) -> list[str]:
    r"""Read a file of user ids; blank ids are passed over. See the module for the formats.

    Args:
        path: the file.
        id_column: another name that the column of ids may have.

    Raises:
        UsageError: the file cannot be read, is not of the format that its name says, or holds no id. The
            message names the line, and never an id.

    Example:
        >>> Path("users.jsonl").write_text('"u1"\n{"user_id": "two\\nlines"}')
        >>> read_users(Path("users.jsonl"))
        ['u1', 'two\nlines']
    """
    read = _FORMATS.get(path.suffix.lower(), _text)
    try:
        users = [user for user in read(path, (USER_ID, id_column)) if user.strip()]
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror or error}): give a file of user ids"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8: save it as UTF-8") from error
    if not users:
        raise UsageError(f"{path} holds no user id: give a file with one a line")
    return users


def _decoded(path: Path) -> str:
    return path.read_bytes().decode("utf-8-sig")


def _text(path: Path, _: Collection[str]) -> Iterator[str]:
    # A lone carriage return may be part of an id: str.splitlines would make two ids of it.
    return (line.removesuffix("\r") for line in _decoded(path).split("\n"))


def _csv(path: Path, columns: Collection[str]) -> Iterator[str]:
    text = _decoded(path)
    limit = csv.field_size_limit(_LONGEST_FIELD)
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error as error:
        raise UsageError(
            f"{path} is no CSV file ({error}): quote ids that hold quotes, commas or line breaks"
        ) from error
    finally:
        csv.field_size_limit(limit)
    header = [name.strip() for name in rows[0]] if rows else []
    at = next((header.index(name) for name in columns if name in header), None)
    if at is None and len(header) > 1:
        raise UsageError(
            f"{path} has several columns, and none is called {USER_ID}: name the column of the ids so"
        )
    for number, row in enumerate(rows[0 if at is None else 1 :], start=1 if at is None else 2):
        if len(row) != len(header):
            raise UsageError(
                f"{path}, row {number}: {len(row)} fields, but the first row has {len(header)}: mend the row"
            )
        yield row[at or 0]


def _json_lines(path: Path, columns: Collection[str]) -> Iterator[str]:
    for number, line in enumerate(_decoded(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value: Any = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, Mapping):
            value = next((value[name] for name in columns if name in value), None)
        if isinstance(value, int) and not isinstance(value, bool):
            value = f"{value}"
        if not isinstance(value, str):
            raise UsageError(
                f'{path}, line {number}: neither a JSON text such as "u1" nor an object with the key '
                f"{USER_ID}: write one a line"
            )
        yield value


def _parquet(path: Path, columns: Collection[str]) -> Iterator[str]:
    try:
        with pq.ParquetFile(path) as file:
            names: Sequence[str] = file.schema_arrow.names
            name = next(
                (name for name in (*columns, *(names if len(names) == 1 else ())) if name in names), None
            )
            if name is None:
                raise UsageError(f"{path} has no column {USER_ID}: name the column of the ids so")
            ids = file.read(columns=[name])[name].cast(pa.string())
    except pa.ArrowException as error:
        raise UsageError(f"{path} is no Parquet file with a column of texts: write it anew") from error
    return (user for user in ids.to_pylist() if user is not None)


_FORMATS: Mapping[str, Callable[[Path, Collection[str]], Iterator[str]]] = {
    ".csv": _csv,
    ".json": _json_lines,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".parquet": _parquet,
}
