"""Open MLflow without telemetry or log noise, on a SQLite file that a kill cannot damage.

MLflow and SQLAlchemy are slow to import: most commands need neither.
"""

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from churn.core import redaction
from churn.core.errors import RunError
from churn.core.files import file_lock, flush
from churn.core.io_errors import as_run_error

# Set even if the environment says otherwise. MLflow reads DO_NOT_TRACK as "true" only, not as 1.
_FORCED = {"MLFLOW_DISABLE_TELEMETRY": "true"}
_DEFAULTS = {
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
    # An unreachable server is reported within seconds; by default MLflow retries for four minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


def connect(tracking_uri: str) -> Any:
    """Return an MlflowClient; create the SQLite store if it is missing and silence MLflow's log lines.

    Raises:
        RunError: the URI cannot be parsed.
    """
    if "://" in tracking_uri and redaction.parse_url(tracking_uri) is None:
        raise RunError(
            f"mlflow_tracking_uri {redaction.mask_url(tracking_uri)} is not a valid URI: write scheme://user:password"
            "@host:port/database with a number as port, and escape / and @ in user and password (%2F, %40)"
        )
    _import_mlflow()
    from mlflow.tracking import MlflowClient

    if (file := sqlite_file(tracking_uri)) is not None:
        _make_database(tracking_uri, file)
    return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def _import_mlflow() -> None:
    os.environ.update(_FORCED)
    for key, value in _DEFAULTS.items():
        os.environ.setdefault(key, value)
    import mlflow  # noqa: F401  # fails here if it is not installed

    if "MLFLOW_LOGGING_LEVEL" not in os.environ:
        # Errors are also raised and become a RunError; these lines would repeat them.
        for name in ("mlflow", "alembic", "urllib3.connectionpool"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def sqlite_file(tracking_uri: str) -> Path | None:
    """Return the file of a SQLite tracking URI; None for a server, another database or an in-memory one."""
    url = redaction.parse_url(tracking_uri)
    if url is None or url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return None
    return Path(str(url.database)).absolute()


def _make_database(tracking_uri: str, file: Path) -> None:
    """Create MLflow's SQLite file under a temporary name, then rename it.

    MLflow would create it in place: a kill in the middle leaves a file that it cannot open again. It would
    also wait for the disk after each of some 400 statements (6 s instead of 1).
    """
    if file.exists():
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True, timeout=20)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master")
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy import Engine, event
    from sqlalchemy.engine import make_url

    file.parent.mkdir(parents=True, exist_ok=True)
    with file_lock(str(_lock(file))):
        if file.exists():
            return
        unfinished = file.with_name(f".{file.name}.new")
        for leftover in (unfinished, unfinished.with_name(f"{unfinished.name}-journal")):
            leftover.unlink(missing_ok=True)
        uri = make_url(tracking_uri).set(database=str(unfinished)).render_as_string(hide_password=False)

        def skip_disk_sync(connection: Any, _: object) -> None:
            if isinstance(connection, sqlite3.Connection) and _is_open(connection, unfinished):
                connection.execute("PRAGMA synchronous = OFF")

        event.listen(Engine, "connect", skip_disk_sync)
        try:
            # The store also creates a default experiment, which is never used.
            SqlAlchemyStore(uri, str(file.parent / "mlartifacts")).engine.dispose()
        finally:
            event.remove(Engine, "connect", skip_disk_sync)
        flush(str(unfinished))
        os.replace(unfinished, file)
        flush(str(file.parent))


def _is_open(connection: sqlite3.Connection, file: Path) -> bool:
    names = [row[2] for row in connection.execute("PRAGMA database_list")]
    return any(name and os.path.realpath(name) == os.path.realpath(file) for name in names)


def _lock(file: Path) -> Path:
    return file.with_name(f".{file.name}.lock")


@contextmanager
def one_at_a_time(tracking_uri: str) -> Iterator[None]:
    """Lock a SQLite file so that one process logs to it at a time; a server needs no lock."""
    file = sqlite_file(tracking_uri)
    with nullcontext() if file is None else file_lock(str(_lock(file))):
        yield


@contextmanager
def mlflow_errors(tracking_uri: str, doing: str) -> Iterator[None]:
    """Turn errors of MLflow, its database and the disk into a RunError without secrets."""
    _import_mlflow()
    from alembic.util.exc import CommandError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    file = sqlite_file(tracking_uri)
    advice = (
        "check that the server answers and that its credentials are right"
        if file is None
        else "check that the file is whole and may be written, or move it away for a new one"
    )
    # The address may hold a password, and error messages may quote the address.
    where, secrets = redaction.mask_url(tracking_uri), redaction.secrets_of(tracking_uri)
    try:
        yield
        return
    except (MlflowException, SQLAlchemyError, CommandError, sqlite3.Error) as error:
        unreachable = _unreachable_reason(error) if file is None else ""
        text = unreachable or str(error).strip() or repr(error)
        reason = redaction.mask_secrets(text.splitlines()[0], secrets)
        failed = RunError(f"could not {doing} in MLflow at {where}: {reason.rstrip('.')}; {advice}")
        cause: BaseException = error
    except OSError as error:
        refused = as_run_error(error, f"could not {doing} in MLflow: writing", where)
        failed, cause = RunError(redaction.mask_secrets(str(refused), secrets)), error
    raise failed from (None if secrets else cause)


def _unreachable_reason(error: BaseException) -> str:
    """Return why a server cannot be reached; empty if the error has another cause.

    MLflow's error wraps those of three libraries; the innermost is the cause.
    """
    while error.__context__ is not None:
        error = error.__context__
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    return f"it cannot be reached ({error.strerror or error})" if isinstance(error, OSError) else ""
