"""MLflow: what is logged about a run, and which model version is champion.

One experiment and one registered model a product, both named ``churn-<product>``. A run is logged from what
was committed: parameters, figures, the model's folder, charts and logs. Nothing about a user, the machine or
the person who ran it goes there: no rows, no environment, no user or script names (MLflow's fluent interface
adds those, so it is not used).

Importing mlflow takes seconds; it is imported when first needed, so that importing this module is quick.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
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

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoggedRun:
    """Where a run was logged.

    Attributes:
        mlflow_run_id: MLflow's own id of the run.
        model_name: the registered model, ``churn-<product>``.
        model_version: its version that holds this run's model, such as ``"3"``.
    """

    mlflow_run_id: str
    model_name: str
    model_version: str


@dataclass(frozen=True)
class Champion:
    """The model version in use for a product.

    Attributes:
        model_name: the registered model, ``churn-<product>``.
        model_version: its version.
        run_id: the run (the lake's id) that trained it.
        as_of: the as-of date it was trained for.
        source: where its folder lies, as a URI.
    """

    model_name: str
    model_version: str
    run_id: str
    as_of: date
    source: str


def initialise(tracking_uri: str) -> None:
    """Import mlflow; make its SQLite file where that does not exist, or see that a server answers.

    Takes some 3 s the first time, and 0.1 s once the file exists and mlflow is imported. It may run in a
    thread beside other work (start it when the other heavy imports are done), and in several processes.

    Raises:
        RunError: MLflow cannot be used there; the message says what to do.
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
) -> LoggedRun:
    """Log a run, register its model, and move the champion to the newest as-of date.

    Logging the same run again continues or renews its record and makes no second one.

    Args:
        tracking_uri: MLflow's tracking URI, such as ``sqlite:////data/out/mlflow.db``; registry too.
        artifact_root: folder or URI below which a new experiment keeps its artefacts.
        product: the product's name.
        run_id: the run's id in the lake; sorts by start.
        as_of: the run's as-of date.
        params: settings of the training; a run's parameters cannot change afterwards.
        metrics: figures of the model; a later logging wins.
        tags: more words about the run; not MLflow's own (``mlflow.``).
        artifacts: files and folders to log under their own names, one of them the folder ``model``; paths, or
            addresses of folders.

    Raises:
        UsageError: an unsafe name, an MLflow tag, no model folder, or rows of users among the artefacts.
        RunError: MLflow or the disk refused; what was logged until then is continued by the next call.
    """
    check_names(product, run_id)
    if reserved := sorted(tag for tag in tags if tag.startswith("mlflow.")):
        raise UsageError(f"tags {reserved} are MLflow's own: leave them out, or name them otherwise")
    name = _name(product)
    facts = {"product": product, "run_id": run_id, "as_of": as_of.isoformat()}
    with ExitStack() as stack:
        with storage_errors("reading what is to be logged", f"run {run_id} of {product}"):
            paths = [stack.enter_context(_local(artifact)) for artifact in artifacts]
        _check_artifacts(paths)
        stack.enter_context(mlflow_errors(tracking_uri, f"log run {run_id} of {product}"))
        client = connect(tracking_uri)
        with one_at_a_time(tracking_uri):
            experiment = _experiment(client, tracking_uri, name, artifact_root)
            run = _run(client, experiment, run_id, facts)
            _log(client, run, params, metrics, {**tags, **facts}, paths)
            version = _model_version(client, name, run, facts)
            _move_champion(client, name)
    return LoggedRun(run.info.run_id, name, str(version.version))


def is_logged(tracking_uri: str, *, product: str, run_id: str) -> bool:
    """Tell whether a run was logged to its end: its record is there, and its model is registered.

    Raises:
        UsageError: an unsafe name.
        RunError: MLflow cannot be read; the message says what to do.
    """
    check_names(product, run_id)
    file = sqlite_file(tracking_uri)
    if file is not None and not file.exists():
        return False
    with mlflow_errors(tracking_uri, f"look for run {run_id} of {product}"):
        client = connect(tracking_uri)
        return any(version.tags["run_id"] == run_id for version in _versions(client, _name(product)))


def champion(tracking_uri: str, product: str) -> Champion | None:
    """Return the model version in use for a product; None where none was ever registered.

    Raises:
        RunError: MLflow cannot be read; the message says what to do.
    """
    check_names(product)
    file = sqlite_file(tracking_uri)
    if file is not None and not file.exists():
        return None
    with mlflow_errors(tracking_uri, f"read the champion of {product}"):
        client = connect(tracking_uri)
        version = _champion_version(client, _name(product))
    if version is None:
        return None
    if not {"as_of", "run_id"} <= version.tags.keys():
        raise RunError(
            f"version {version.version} of {version.name} was not registered by a run (it has no as_of tag): "
            f"move the alias {CHAMPION} to one that was"
        )
    return Champion(
        model_name=version.name,
        model_version=str(version.version),
        run_id=version.tags["run_id"],
        as_of=date.fromisoformat(version.tags["as_of"]),
        source=version.source,
    )


def _name(product: str) -> str:
    return f"churn-{product}"


def _local(artifact: str | Path) -> AbstractContextManager[Path]:
    """Return an artefact on this machine's disk, which MLflow needs."""
    return local_copy(str(artifact)) if "://" in str(artifact) else nullcontext(Path(artifact))


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000


def _check_artifacts(paths: Sequence[Path]) -> None:
    if [path.name for path in paths if path.is_dir()].count(MODEL_FOLDER) != 1:
        raise UsageError(
            f"one artefact must be the model's folder, named {MODEL_FOLDER!r}, and there is none"
        )
    for path in paths:
        if not path.exists():
            raise UsageError(f"artefact {path} does not exist: log what the run has committed")
        inner = path.rglob("*.parquet") if path.is_dir() else [path][: path.suffix == ".parquet"]
        if rows := next(iter(inner), None):
            raise UsageError(f"artefact {rows} holds rows of users, which stay in the lake: leave it out")


def _experiment(client: Any, tracking_uri: str, name: str, artifact_root: str) -> str:
    """Return the id of a product's experiment; make it where it is missing."""
    root = artifact_root if "://" in artifact_root else Path(artifact_root).absolute().as_uri()
    location = f"{root.rstrip('/')}/{name}"
    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage == "deleted":
        raise RunError(f"experiment {name} was deleted in MLflow: restore it, or purge it with `mlflow gc`")
    if found is not None and found.artifact_location != location and sqlite_file(tracking_uri) is not None:
        # The folder was moved with its database. MLflow cannot move an experiment, and would go on writing
        # to the old place: the old records stay readable under another name.
        client.rename_experiment(found.experiment_id, f"{name}-until-{_milliseconds()}")
        _logger.warning("experiment %s kept its artefacts in %s: renamed", name, found.artifact_location)
        found = None
    if found is None:
        with _already_there():
            return str(client.create_experiment(name, artifact_location=location))
        found = client.get_experiment_by_name(name)
    return str(found.experiment_id)


@contextmanager
def _already_there() -> Iterator[None]:
    """Pass over MLflow's answer that somebody else has just made the same thing."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _run(client: Any, experiment: str, run_id: str, facts: Mapping[str, str]) -> Any:
    """Return MLflow's record of a run; make it where it is missing."""
    found = client.search_runs([experiment], filter_string=f"tags.run_id = '{run_id}'", max_results=1)
    return found[0] if found else client.create_run(experiment, tags=dict(facts), run_name=run_id)


def _log(
    client: Any,
    run: Any,
    params: Mapping[str, object],
    metrics: Mapping[str, float],
    tags: Mapping[str, str],
    paths: Sequence[Path],
) -> None:
    """Log everything that belongs to MLflow's record of a run, and end it."""
    from mlflow.entities import Metric, Param, RunTag

    for key, value in params.items():
        logged = run.data.params.get(key)
        if logged is not None and logged != str(value):
            raise UsageError(
                f"parameter {key} of run {run.info.run_name} was logged as {logged!r} and is now "
                f"{str(value)!r}: a run's parameters do not change, so make a new run"
            )
    now = _milliseconds()
    client.log_batch(
        run.info.run_id,
        metrics=[Metric(key, float(value), now, 0) for key, value in metrics.items()],
        params=[Param(key, str(value)) for key, value in params.items()],
        tags=[RunTag(key, value) for key, value in tags.items()],
    )
    for path in paths:
        if path.is_dir():
            client.log_artifacts(run.info.run_id, str(path), artifact_path=path.name)
        else:
            client.log_artifact(run.info.run_id, str(path))
    client.set_terminated(run.info.run_id, status="FINISHED")


def _model_version(client: Any, name: str, run: Any, facts: Mapping[str, str]) -> Any:
    """Return the version of the registered model that holds a run's model; make it where it is missing."""
    with _already_there():
        client.create_registered_model(name)
    for version in _versions(client, name):
        if version.run_id == run.info.run_id:
            return version
    source = f"{run.info.artifact_uri}/{MODEL_FOLDER}"
    return client.create_model_version(
        name, source, run_id=run.info.run_id, tags=dict(facts), await_creation_for=0
    )


def _versions(client: Any, name: str) -> list[Any]:
    """Return the versions that ``log_run`` registered, newest as-of date last."""
    found = client.search_model_versions(f"name = '{name}'")
    ours = [version for version in found if {"as_of", "run_id"} <= version.tags.keys()]
    return sorted(ours, key=lambda version: (version.tags["as_of"], version.tags["run_id"]))


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

    MLflow cannot compare and set in one step. Whoever sets the alias looks again afterwards, so that of two
    that log at once on a server the one who came last leaves it right.
    """
    for _ in range(10):
        newest = _versions(client, name)[-1]
        current = _champion_version(client, name)
        if current is not None and str(current.version) == str(newest.version):
            return
        client.set_registered_model_alias(name, CHAMPION, str(newest.version))
    raise RunError(f"alias {CHAMPION} of {name} is moved by somebody else all the time: log the run again")
