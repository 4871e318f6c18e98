"""After the commit: load a run into the warehouse and log it to MLflow; both are safe to repeat."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime

from fsspec.core import url_to_fs

from churn.config.settings import Settings
from churn.core.calendar import Windows
from churn.core.clock import is_to_come
from churn.core.datasets import LEARNER_SCORES, PUBLISHED, REASONS, SCORES
from churn.core.errors import RunError
from churn.core.io_errors import storage_errors
from churn.core.timing import StageTimer
from churn.jobs.weekly import digests
from churn.jobs.weekly.sweep import sweep_tables
from churn.lake.filesystem import local_copy
from churn.lake.lake import Run
from churn.lake.open import open_lake
from churn.outputs import tracking
from churn.outputs.tables import Published, publish_scores
from churn.warehouse.base import Warehouse
from churn.warehouse.open import open_warehouse

logger = logging.getLogger(__name__)


def publish(settings: Settings, warehouse: Warehouse, run: Run) -> Published:
    """Load a committed run's scores into the warehouse; safe to repeat."""
    manifest = run.manifest
    with ExitStack() as stack:
        published = {}
        wanted = [each.name for each in PUBLISHED if each is SCORES or settings.publish_reasons]
        for dataset in [*wanted, LEARNER_SCORES.name]:
            names = sorted(name for name in manifest.files if name.startswith(f"{dataset}/"))
            if not names and dataset not in wanted:
                continue
            folder = run.path(dataset)
            if not warehouse.reads_remote_files:
                folder = str(stack.enter_context(local_copy(folder)))
            published[dataset] = [f"{folder}/{name.partition('/')[2]}" for name in names]
        return publish_scores(
            warehouse,
            published[SCORES.name],
            product=manifest.product,
            target_week_start=manifest.target_week_start,
            run_id=manifest.run_id,
            started_at=manifest.started_at,
            rows=manifest.rows["scores"],
            id_column=settings.id_column,
            reason_paths=published.get(REASONS.name),
            learner_paths=published.get(LEARNER_SCORES.name, ()),
            scratch=open_lake(settings).scratch(manifest.product),
        )


def track(settings: Settings, run: Run) -> None:
    """Log a committed run's totals, figures and model to MLflow; nothing about a single user."""
    from churn.outputs.mlflow_model import describe_model  # here: it imports the kernel

    manifest = run.manifest
    with storage_errors("reading the model's card", run.path("model")):
        fs, path = url_to_fs(run.path("model", "model.json"))
        card = json.loads(fs.cat_file(path))["card"]  # not by Model, whose import takes a second
    with _committed(run):
        tracking.log_run(
            settings.tracking_uri,
            str(settings.out.resolve() / "mlflow"),
            product=manifest.product,
            run_id=manifest.run_id,
            as_of=manifest.as_of,
            params={
                **manifest.settings,
                **card["params"],
                "threshold": card["threshold"],
                "trees": card["trees"],
            },
            metrics={
                **manifest.metrics,
                **{f"rows_{name}": float(rows) for name, rows in manifest.rows.items()},
            },
            describe=describe_model,
            by_date={
                date.fromisoformat(day["as_of"]): {
                    "training_churn_rate": day["churn_rate"],
                    "training_rows": float(day["rows"]),
                }
                for day in card["dates"]
            },
            tags={"model_version": manifest.model_version, "code_version": manifest.code_version},
            artifacts=[run.path("model"), run.path("charts")],
        )


@contextmanager
def _committed(run: Run) -> Iterator[None]:
    """Add to errors of MLflow that the run itself is committed."""
    try:
        yield
    except RunError as error:
        manifest = run.manifest
        raise RunError(
            f"run {manifest.run_id} of {manifest.product} is committed, but not logged: {error}; "
            "run again to log it; nothing is computed again"
        ) from error


@dataclass(frozen=True)
class RunResult:
    """The result of a run: id, figures, seconds and paths.

    Attributes:
        product: the product's name.
        title: its name in reports.
        as_of: the as-of date.
        run_id: the run's id.
        users: users scored.
        metrics: ``mean_probability`` of the scored users, and the metrics of the holdout.
        seconds: wall seconds by part: ``prepare``, ``train``, ``score``, ``publish``.
        report: path of the HTML report.
        scores: path of the folder of score files.
        repeated: whether the run had been committed before and nothing was computed.
    """

    product: str
    title: str
    as_of: date
    run_id: str
    users: int
    metrics: Mapping[str, float]
    seconds: Mapping[str, float]
    report: str
    scores: str
    repeated: bool


def run_result(
    settings: Settings, run: Run, *, repeated: bool, stages: StageTimer | None = None
) -> RunResult:
    """Return the result of a committed run."""
    manifest = run.manifest
    parts: dict[str, float] = {}
    for name, seconds in (stages.seconds() if stages else manifest.seconds).items():
        part = name.partition(".")[0]
        parts[part] = parts.get(part, 0.0) + seconds
    return RunResult(
        product=manifest.product,
        title=settings.products[manifest.product].title,
        as_of=manifest.as_of,
        run_id=manifest.run_id,
        users=manifest.rows["scores"],
        metrics=manifest.metrics,
        seconds=parts,
        report=run.path("charts", "report.html"),
        scores=run.path("scores"),
        repeated=repeated,
    )


def committed(settings: Settings, name: str, windows: Windows) -> Run | None:
    """Return the committed run of a target week; None if there is none.

    Raises:
        RunError: the run says that it started at a time that is still to come. No later run could take its
            place: neither in the lake nor in the published tables.
    """
    run = open_lake(settings).committed(name, windows.target_week_start)
    if run is not None and is_to_come(run.manifest.started_at):
        raise RunError(
            f"run {run.manifest.run_id} of {name} says that it started at {run.manifest.started_at}, and now "
            f"is {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: one of the two clocks is wrong. If it is this one, "
            f"set it. If not, remove the run's folder {run.base}, and run again: the new run takes its place "
            "in the published tables too"
        )
    return run


def finish_existing(settings: Settings, name: str, windows: Windows) -> RunResult | None:
    """Return the result of the committed run of a target week; None if there is none.

    Publishes and logs the run if an earlier process could not after its commit.

    Raises:
        RunError: see ``committed``; or the run cannot be published or logged.
    """
    run = committed(settings, name, windows)
    if run is None:
        return None
    if run.manifest.settings.get("digest") != digests.settings_digest(settings, name):
        logger.warning(
            "settings of %s have changed since run %s of that week was made (%s): --force makes a new one",
            name,
            run.manifest.run_id,
            _settings_since(settings, run),
        )
    open_lake(settings).refresh_pointer(name)
    with closing(open_warehouse(settings)) as warehouse:
        sweep_tables(warehouse, name)
        publish(settings, warehouse, run)
    with _committed(run):
        logged = tracking.is_logged(settings.tracking_uri, product=name, run_id=run.manifest.run_id)
    if not logged:
        track(settings, run)
    return run_result(settings, run, repeated=True)


def _settings_since(settings: Settings, run: Run) -> str:
    """Return the names of the settings that changed since a run was made."""
    where = f"{run.base}/logs/{digests.SETTINGS}"
    with storage_errors("reading the settings of the run", where):
        if not run.fs.exists(where):
            return "it does not say which"
        before: dict[str, str] = json.loads(run.fs.cat_file(where))
    now = digests.settings_digests(settings, run.manifest.product)
    return ", ".join(digests.changed(before, now))
