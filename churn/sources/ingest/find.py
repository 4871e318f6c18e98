"""Find a log's files, and open them by their kind."""

import difflib
import glob
from collections.abc import Callable
from pathlib import Path

from churn.core.errors import SourceError, UsageError
from churn.sources.ingest.csv_log import open_csv_log
from churn.sources.ingest.json_lines import open_json
from churn.sources.ingest.log import Log
from churn.sources.ingest.parquet_log import open_parquet_log

_PARQUET = (".parquet", ".pq")
_TEXT = (".csv", ".tsv", ".txt")
_CSV = (*_TEXT, *(name + packed for name in _TEXT for packed in (".gz", ".zst")))
_JSON = tuple(
    name + packed for name in (".jsonl", ".ndjson", ".json") for packed in ("", ".gz", ".zst", ".br", ".zip")
)


def open_log(source: str) -> Log:
    """Find a log's files and read their column names and types.

    Raises:
        SourceError: there is no such file, a file cannot be read, or the files have different columns.
        UsageError: the files are of no known kind, or of several.
    """
    paths = log_files(source)
    kinds = {_kind(path) for path in paths}
    if len(kinds) > 1:
        raise UsageError(
            f"{source} holds files of several kinds ({', '.join(sorted(kinds))}): name one kind, for example "
            f"'{source}/*.parquet'"
        )
    return open_kind(kinds.pop(), source, paths)


def log_files(source: str) -> list[Path]:
    """Return the files of a log that is known by the ends of their names."""
    return find_files(source, _PARQUET + _CSV + _JSON)


def open_kind(kind: str, source: str, paths: list[Path]) -> Log:
    """Open files of one kind: parquet, csv or json."""
    openers: dict[str, Callable[[str, list[Path]], Log]] = {
        "parquet": open_parquet_log,
        "csv": open_csv_log,
        "json": open_json,
    }
    return openers[kind](source, paths)


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
            raise SourceError(f"the folder {path} holds no Parquet, CSV or JSON lines files")
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
    if name.endswith(_JSON):
        return "json"
    raise UsageError(
        f"{path} is neither Parquet ({', '.join(_PARQUET)}), CSV ({', '.join(_CSV)}) nor JSON lines "
        "(.jsonl, .ndjson, .json, also with .gz, .zst, .br or .zip) by its name"
    )
