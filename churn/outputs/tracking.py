"""MLflow: what is logged about a run, and which model version is champion.

Each product has one experiment and one registered model, both named ``churn-<product>``. A committed run is
logged with its parameters, figures, model folder, charts and logs. Nothing about users, the machine or the
person who ran it is logged: no rows, no environment, no user or script names. (MLflow's fluent interface adds
those, so it is not used.)

Importing mlflow takes seconds, so it is imported when first needed.
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from churn.core.errors import RunError, UsageError
from churn.core.io_errors import storage_errors
from churn.lake.filesystem import local_copy
from churn.lake.manifest import check_names
from churn.outputs.mlflow_client import connect, mlflow_errors, one_at_a_time, sqlite_file

CHAMPION = "champion"
MODEL_FOLDER = "model"

# Takes the model's folder and MLflow's id of the run; returns texts by file name.
Describe = Callable[[Path, str], Mapping[str, str]]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoggedRun:
    """Where a run was logged: MLflow's id of it, and the model version (such as ``"3"``) that it made."""

    mlflow_run_id: str
    model_name: str
    model_version: str


@dataclass(frozen=True)
class Champion:
    """The model version in use for a product.

    Attributes:
        model_name: the registered model, ``churn-<product>``.
        run_id: the run (the lake's id) that trained it.
        as_of: the as-of date it was trained for.
        source: URI of its folder.
    """

    model_name: str
    model_version: str
    run_id: str
    as_of: date
    source: str


def initialise(tracking_uri: str) -> None:
    """Import mlflow and check its store: create a missing SQLite file, or ask the server.

    Takes some 3 s the first time, then 0.1 s. It is safe in a thread beside other work (start it after the
    other heavy imports) and in several processes.

    Raises:
        RunError: MLflow cannot be used; the message says what to do.
    """
    with mlflow_errors(tracking_uri, "look for experiments"):
        client = connect(tracking_uri)
        if sqlite_file(tracking_uri) is None:
            client.search_experiments(max_results=1)


def log_run(
    tracking_uri: str,
    artifact_root: str,
    *,
    product: str,
    run_id: str,
    as_of: date,
    params: Mapping[str, object],
    metrics: Mapping[str, float],
    tags: Mapping[str, str],
    artifacts: Sequence[str | Path],
    by_date: Mapping[date, Mapping[str, float]] | None = None,
    describe: Describe | None = None,
) -> LoggedRun:
    """Log a run, register its model, and move the champion to the newest as-of date.

    Logging the same run again updates its record.

    Args:
        tracking_uri: MLflow's tracking and registry URI, such as ``sqlite:////data/out/mlflow.db``.
        artifact_root: folder or URI under which a new experiment stores its artefacts.
        run_id: the run's id in the lake; ids sort by start time.
        params: training settings; they cannot change once logged.
        metrics: figures of the model; the latest logged value counts. Their step is the as-of date, in days
            since 1970.
        by_date: further figures by past date, each with its date as step.
        describe: returns the texts that make the model's folder one of MLflow's, such as
            ``mlflow_model.describe_model``.
        tags: further tags of the run; ``mlflow.`` is reserved.
        artifacts: files and folders to log under their own names (paths, or URLs of folders); one of them is
            the folder ``model``.

    Raises:
        UsageError: an unsafe name, an MLflow tag, no model folder, or rows of users among the artefacts.
        RunError: MLflow or the disk refused; the next call continues where this one stopped.
    """
    check_names(product, run_id)
    if reserved := sorted(tag for tag in tags if tag.startswith("mlflow.")):
        raise UsageError(f"tags {reserved} are reserved by MLflow: remove or rename them")
    name = _name(product)
    identity = {"product": product, "run_id": run_id, "as_of": as_of.isoformat()}
    with ExitStack() as stack:
        with storage_errors("reading the artefacts to log", f"run {run_id} of {product}"):
            paths = [stack.enter_context(_local(artifact)) for artifact in artifacts]
        _check_artifacts(paths)
        stack.enter_context(mlflow_errors(tracking_uri, f"log run {run_id} of {product}"))
        client = connect(tracking_uri)
        with one_at_a_time(tracking_uri):
            experiment = experiment_of(client, tracking_uri, product, artifact_root)
            run = _run(client, experiment, run_id, identity)
            _log(
                client,
                run,
                params,
                {as_of: metrics, **(by_date or {})},
                {**tags, **identity},
                paths,
                describe,
            )
            version = _model_version(client, name, run, identity)
            _move_champion(client, name)
    return LoggedRun(run.info.run_id, name, str(version.version))


def is_logged(tracking_uri: str, *, product: str, run_id: str) -> bool:
    """Return whether a run was logged completely, up to its registered model.

    Raises:
        UsageError: an unsafe name.
        RunError: MLflow cannot be read; the message says what to do.
    """
    check_names(product, run_id)
    if _is_new(tracking_uri):
        return False
    if _registered_in_file(tracking_uri, _name(product), run_id):
        return True
    with mlflow_errors(tracking_uri, f"look for run {run_id} of {product}"):
        client = connect(tracking_uri)
        return any(version.tags["run_id"] == run_id for version in _versions(client, _name(product)))


def _registered_in_file(tracking_uri: str, model: str, run_id: str) -> bool:
    """Return whether MLflow's SQLite file says so itself; a file that cannot be read that way does not.

    The answer takes no time. To ask MLflow takes a second, most of which is spent on importing it.
    """
    file = sqlite_file(tracking_uri)
    if file is None:
        return False
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=20)) as database:
            found = database.execute(
                "SELECT 1 FROM model_versions JOIN model_version_tags USING (name, version) "
                "WHERE name = ? AND key = 'run_id' AND value = ? AND current_stage <> 'Deleted_Internal'",
                [model, run_id],
            )
            return found.fetchone() is not None
    except sqlite3.Error:  # another layout, or no database: MLflow says what is wrong
        return False


def champion(tracking_uri: str, product: str) -> Champion | None:
    """Return the model version in use for a product; None if none was registered.

    Raises:
        RunError: MLflow cannot be read; the message says what to do.
    """
    check_names(product)
    if _is_new(tracking_uri):
        return None
    with mlflow_errors(tracking_uri, f"read the champion of {product}"):
        client = connect(tracking_uri)
        version = _champion_version(client, _name(product))
    if version is None:
        return None
    if not {"as_of", "run_id"} <= version.tags.keys():
        raise RunError(
            f"version {version.version} of {version.name} was not registered by a run (it has no as_of tag): "
            f"move the alias {CHAMPION} to a version that was"
        )
    run_id, as_of = version.tags["run_id"], date.fromisoformat(version.tags["as_of"])
    return Champion(version.name, str(version.version), run_id, as_of, version.source)


def _is_new(tracking_uri: str) -> bool:
    file = sqlite_file(tracking_uri)
    return file is not None and not file.exists()


def _name(product: str) -> str:
    return f"churn-{product}"


def _local(artifact: str | Path) -> AbstractContextManager[Path]:
    """Return an artefact as a local path, which MLflow needs."""
    return local_copy(str(artifact)) if "://" in str(artifact) else nullcontext(Path(artifact))


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000


def _check_artifacts(paths: Sequence[Path]) -> None:
    if [path.name for path in paths if path.is_dir()].count(MODEL_FOLDER) != 1:
        raise UsageError(f"no artefact is the model's folder: add the folder named {MODEL_FOLDER!r}")
    for path in paths:
        if not path.exists():
            raise UsageError(f"artefact {path} does not exist: log files that the run has committed")
        inner = path.rglob("*.parquet") if path.is_dir() else [path][: path.suffix == ".parquet"]
        if rows := next(iter(inner), None):
            raise UsageError(
                f"artefact {rows} holds rows of users, which must stay in the lake: do not log it"
            )


def experiment_of(client: Any, tracking_uri: str, product: str, artifact_root: str) -> str:
    """Return the id of a product's experiment; create it if it is missing.

    Raises:
        RunError: it was deleted.
    """
    name = _name(product)
    root = artifact_root if "://" in artifact_root else Path(artifact_root).absolute().as_uri()
    location = f"{root.rstrip('/')}/{name}"
    experiment = client.get_experiment_by_name(name)
    if experiment is not None and experiment.lifecycle_stage == "deleted":
        raise RunError(f"experiment {name} was deleted in MLflow: restore it, or purge it with `mlflow gc`")
    moved = experiment is not None and experiment.artifact_location != location
    if moved and sqlite_file(tracking_uri) is not None:
        # The output folder was moved together with its database. MLflow cannot move an experiment and would
        # write to the old place. Renamed, the old records stay readable.
        client.rename_experiment(experiment.experiment_id, f"{name}-until-{_milliseconds()}")
        _logger.warning("experiment %s kept its artefacts in %s: renamed", name, experiment.artifact_location)
        experiment = None
    if experiment is None:
        with _ignore_existing():
            return str(client.create_experiment(name, artifact_location=location))
        experiment = client.get_experiment_by_name(name)
    return str(experiment.experiment_id)


@contextmanager
def _ignore_existing() -> Iterator[None]:
    """Ignore MLflow's error that the object exists already: another process created it."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _run(client: Any, experiment: str, run_id: str, tags: Mapping[str, str]) -> Any:
    """Return MLflow's record of a run; create it if it is missing."""
    runs = client.search_runs([experiment], filter_string=f"tags.run_id = '{run_id}'", max_results=1)
    return runs[0] if runs else client.create_run(experiment, tags=dict(tags), run_name=run_id)


def _log(
    client: Any,
    run: Any,
    params: Mapping[str, object],
    metrics: Mapping[date, Mapping[str, float]],
    tags: Mapping[str, str],
    paths: Sequence[Path],
    describe: Describe | None,
) -> None:
    """Log parameters, metrics, tags and files to MLflow's record of a run, and close it."""
    from mlflow.entities import Metric, Param, RunTag

    for key, value in params.items():
        logged = run.data.params.get(key)
        if logged is not None and logged != str(value):
            raise UsageError(
                f"parameter {key} of run {run.info.run_name} was logged as {logged!r} and is now "
                f"{str(value)!r}: logged parameters cannot change, so start a new run"
            )
    now = _milliseconds()
    client.log_batch(
        run.info.run_id,
        metrics=[
            Metric(key, float(value), now, (day - date(1970, 1, 1)).days)
            for day, figures in metrics.items()
            for key, value in figures.items()
        ],
        params=[Param(key, str(value)) for key, value in params.items()],
        tags=[RunTag(key, value) for key, value in tags.items()],
    )
    for path in paths:
        if path.is_dir():
            client.log_artifacts(run.info.run_id, str(path), artifact_path=path.name)
            if describe is not None and path.name == MODEL_FOLDER:
                for name, text in describe(path, run.info.run_id).items():
                    client.log_text(run.info.run_id, text, f"{MODEL_FOLDER}/{name}")
        else:
            client.log_artifact(run.info.run_id, str(path))
    client.set_terminated(run.info.run_id, status="FINISHED")


def _model_version(client: Any, name: str, run: Any, tags: Mapping[str, str]) -> Any:
    """Return the registered version of a run's model; create it if it is missing."""
    with _ignore_existing():
        client.create_registered_model(name)
    for version in _versions(client, name):
        if version.run_id == run.info.run_id:
            return version
    source = f"{run.info.artifact_uri}/{MODEL_FOLDER}"
    return client.create_model_version(
        name, source, run_id=run.info.run_id, tags=dict(tags), await_creation_for=0
    )


def _versions(client: Any, name: str) -> list[Any]:
    """Return the versions that ``log_run`` registered, newest as-of date last."""
    versions = client.search_model_versions(f"name = '{name}'")
    registered = [version for version in versions if {"as_of", "run_id"} <= version.tags.keys()]
    return sorted(registered, key=lambda version: (version.tags["as_of"], version.tags["run_id"]))


def _champion_version(client: Any, name: str) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        number = client.get_registered_model(name).aliases.get(CHAMPION)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    return None if number is None else client.get_model_version(name, str(number))


def _move_champion(client: Any, name: str) -> None:
    """Give the alias to the newest version.

    MLflow has no compare-and-set, so the alias is read again after it is set. When two runs are logged at
    once, the last one to write leaves the right alias.
    """
    for _ in range(10):
        newest = _versions(client, name)[-1]
        current = _champion_version(client, name)
        if current is not None and str(current.version) == str(newest.version):
            return
        client.set_registered_model_alias(name, CHAMPION, str(newest.version))
    raise RunError(f"alias {CHAMPION} of {name} keeps being moved by another process: log the run again")
