"""Read one user's rows of a run.

``readers`` reads many users with pyarrow's datasets. These and ``to_numpy`` import pandas, which takes longer
than everything else that `churn explain` does. Row groups that cannot hold the user are not read.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem

_AT_ONCE = 8  # files; on S3 most of the time is waiting

Row = dict[str, Any]


def find_user(
    fs: AbstractFileSystem, folder: str, user: str, columns: Sequence[str]
) -> tuple[str, Row] | None:
    """Return the name of the file in a folder that has a user, and the user's row; None if there is none.

    Args:
        fs: where the folder is.
        folder: a run's dataset with one row a user, such as ``.../scores``.
        user: the user id.
        columns: which columns to read; those that a file lacks are left out.

    Raises:
        FileNotFoundError: the folder has no Parquet file.
        OSError: a file cannot be read.
        pa.ArrowException: a file is damaged.
    """
    # Not `glob`: the folder's own name may have its signs.
    files = sorted(path for path in fs.ls(folder, detail=False) if path.endswith(".parquet"))
    if not files:
        raise FileNotFoundError(f"{folder} has no Parquet file")
    with ThreadPoolExecutor(min(_AT_ONCE, len(files))) as pool:
        found = pool.map(lambda file: user_rows(fs, file, user, columns), files)
        for file, rows in zip(files, found, strict=True):
            if rows:
                pool.shutdown(wait=False, cancel_futures=True)
                return PurePosixPath(file).name, rows[0]
    return None


def user_rows(
    fs: AbstractFileSystem, file: str, user: str, columns: Sequence[str] | None = None
) -> list[Row]:
    """Return a user's rows of one file, in its order.

    Args:
        fs: where the file is.
        file: its path.
        user: the user id.
        columns: which columns to read, as far as the file has them; None = all.

    Raises:
        OSError: the file cannot be read.
        pa.ArrowException: the file is damaged.
    """
    rows: list[Row] = []
    with fs.open(file, "rb") as opened:
        parquet = pq.ParquetFile(opened)
        chosen = [name for name in parquet.schema_arrow.names if columns is None or name in columns]
        for group in _possible_groups(parquet, user):
            positions = positions_of(parquet.read_row_group(group, columns=["user_id"]), user)
            if len(positions):
                table = parquet.read_row_group(group, columns=chosen)
                rows += [row for position in positions for row in table.slice(position, 1).to_pylist()]
    return rows


def positions_of(table: pa.Table, user: str) -> list[int]:
    """Return the positions of a user's rows in a table with ``user_id``."""
    return [place for place, known in enumerate(table["user_id"].to_pylist()) if known == user]


def _possible_groups(parquet: pq.ParquetFile, user: str) -> Iterator[int]:
    """Yield the row groups whose smallest and largest id do not exclude the user."""
    place = parquet.schema_arrow.names.index("user_id")
    for group in range(parquet.num_row_groups):
        known = parquet.metadata.row_group(group).column(place).statistics
        if known is None or not known.has_min_max or known.min <= user <= known.max:
            yield group
