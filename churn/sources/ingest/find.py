"""Find a log's files, and open them by their kind."""

import difflib
import glob
from pathlib import Path

from churn.core.errors import SourceError, UsageError
from churn.sources.ingest.csv_log import open_csv_log
from churn.sources.ingest.log import Log
from churn.sources.ingest.parquet_log import open_parquet_log

_PARQUET = (".parquet", ".pq")
_TEXT = (".csv", ".tsv", ".txt")
_CSV = (*_TEXT, *(name + packed for name in _TEXT for packed in (".gz", ".zst")))


def open_log(source: str) -> Log:
    """Find a log's files and read their column names and types.

    Raises:
        SourceError: there is no such file, a file cannot be read, or the files have different columns.
        UsageError: the files are neither Parquet nor CSV, or both.
    """
    paths = find_files(source, _PARQUET + _CSV)
    kinds = {_kind(path) for path in paths}
    if len(kinds) > 1:
        raise UsageError(
            f"{source} holds both Parquet and CSV files: name one kind, for example '{source}/*.parquet'"
        )
    return open_parquet_log(source, paths) if kinds == {"parquet"} else open_csv_log(source, paths)


def find_files(source: str, endings: tuple[str, ...]) -> list[Path]:
    """Return the files of a log: one file, those of a folder, or those that a glob matches.

    Args:
        source: a file, a folder or a glob.
        endings: how names end that count in a folder.

    Raises:
        SourceError: there is none.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        files = [
            file
            for file in sorted(path.rglob("*"))
            if file.is_file()
            and file.name.lower().endswith(endings)
            and not any(name.startswith((".", "_")) for name in file.relative_to(path).parts)
        ]
        if not files:
            raise SourceError(f"the folder {path} holds no Parquet or CSV files")
        return files
    if glob.has_magic(source):
        files = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())
        if not files:
            raise SourceError(f"no file matches {source}")
        return files
    similar: list[str] = []
    if path.parent.is_dir():
        similar = difflib.get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=3)
    hint = (
        f"; did you mean {' or '.join(similar)}?"
        if similar
        else "; a file, a folder, a glob, grocery or cdnow is wanted"
    )
    raise SourceError(f"there is no file {source}{hint}")


def _kind(path: Path) -> str:
    name = path.name.lower()
    if name.endswith(_PARQUET):
        return "parquet"
    if name.endswith(_CSV):
        return "csv"
    raise UsageError(
        f"{path} is neither Parquet ({', '.join(_PARQUET)}) nor CSV ({', '.join(_CSV)}) by its name"
    )
