"""The weekly run of one product: what belongs to it, and its stages as plain functions.

The flow decides the order and the tasks call these functions; everything they share is a ``WeeklyRun``.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from churn import __version__, registry
from churn.calendar import Windows
from churn.checks import Passed, check_equal_rows, warn_features
from churn.config import Product, Settings
from churn.errors import RunError
from churn.fanout import Done, FanOut
from churn.lake import Lake, Manifest, Run, RunFolder, new_run_id
from churn.prepare import Plan, drop, leftover_schemas
from churn.publish import Published, publish_scores
from churn.report import write_report
from churn.report.data import ReportData, RunFacts
from churn.scoring import PartitionRow, PartitionTask, merge_rows, score_partition
from churn.stages import Stages
from churn.summary import read_scored, report_data, stages_of, true_log_loss
from churn.training import TrainingResult, train
from churn.unload import read_snapshots, rows_by
from churn.warehouse.base import Warehouse
from churn.warehouse.duckdb import DuckDBWarehouse

logger = logging.getLogger(__name__)

Files = Sequence[tuple[Path, int]]
_PROGRESS_SECONDS = 5.0


@dataclass(frozen=True)
class WeeklyRun:
    """One execution for a product and as-of date, while it is being made.

    Attributes:
        settings: the settings it runs with.
        name: the product's name.
        windows: the windows of its as-of date.
        run_id: unique, and sorted by start.
        started_at: when it started; every score carries it.
        warehouse: where its SQL runs.
        folder: its staging folder in the lake.
        stages: what took how long.
    """

    settings: Settings
    name: str
    windows: Windows
    run_id: str
    started_at: datetime
    warehouse: Warehouse
    folder: RunFolder
    stages: Stages

    @property
    def product(self) -> Product:
        """The product's definition."""
        return self.settings.products[self.name]

    @property
    def schema(self) -> str:
        """The warehouse schema of this run's tables."""
        return f"{_schema_prefix(self.name)}{self.run_id.replace('-', '_')}"

    @property
    def train_folder(self) -> Path:
        """Where training snapshots are unloaded; scratch, which the commit leaves out."""
        return Path(self.folder.path(".train"))


def _schema_prefix(name: str) -> str:
    return f"run_{name}_"


def lake_of(settings: Settings) -> Lake:
    """Return the lake that the settings name."""
    return Lake(str(settings.out / "lake"))


def open_warehouse(settings: Settings) -> Warehouse:
    """Open the warehouse that the settings name."""
    return DuckDBWarehouse(settings.out / "warehouse.duckdb", settings.data, memory=settings.sql_memory)


@contextmanager
def begin(settings: Settings, name: str, as_of: date) -> Iterator[WeeklyRun]:
    """Start a run: open the warehouse, sweep what dead runs left behind, claim a staging folder.

    On the way out the run's tables and, unless it was committed, its staging folder are removed.

    Raises:
        UsageError: unknown product, or ``as_of`` is not a Sunday.
        RunError: the output folder is in use by another run, or the disk refused.
    """
    settings.product(name)
    windows = Windows(as_of)
    started_at = datetime.now(UTC).replace(microsecond=0)
    warehouse = open_warehouse(settings)
    try:
        _sweep(warehouse, name)
        run_id = new_run_id(started_at)
        with lake_of(settings).begin(name, windows.target_week_start, run_id) as folder:
            run = WeeklyRun(settings, name, windows, run_id, started_at, warehouse, folder, Stages(name))
            run.train_folder.mkdir()
            try:
                yield run
            finally:
                _drop_tables(run)
    finally:
        warehouse.close()


def _sweep(warehouse: Warehouse, name: str) -> None:
    """Remove the tables of the product's dead runs: this process has the warehouse to itself."""
    for schema in leftover_schemas(warehouse, _schema_prefix(name)):
        drop(warehouse, schema)


def _drop_tables(run: WeeklyRun) -> None:
    """Remove the run's tables; where that fails (a full disk), the product's next run does it."""
    try:
        drop(run.warehouse, run.schema)
    except RunError as error:
        logger.warning("the tables of run %s are still in the warehouse: %s", run.run_id, error)


def train_model(run: WeeklyRun, files: Files) -> TrainingResult:
    """Fit the product's model on unloaded training snapshots and save it in the run's folder."""
    result = train(
        read_snapshots(files),
        product=run.name,
        as_of=run.windows.as_of,
        settings=run.product.training,
        seed=run.settings.seed,
        code_version=__version__,
    )
    result.model.save(run.folder.path("model"))
    return result


def score_users(run: WeeklyRun, files: Files, client: Any) -> list[PartitionRow]:
    """Score and explain every partition over the cluster; return one row a partition, in order."""
    tasks = [
        PartitionTask(
            index=index,
            features=str(path),
            run_folder=run.folder.base,
            product=run.name,
            as_of=run.windows.as_of,
            target_week_start=run.windows.target_week_start,
            run_id=run.run_id,
            model_folder=run.folder.path("model"),
            score_datetime=run.started_at.replace(tzinfo=None),
        )
        for index, (path, _) in enumerate(files)
    ]
    expected = rows_by(files)
    told = 0.0

    def tell(done: Done[PartitionRow]) -> None:
        nonlocal told
        if done.done < done.total and done.seconds - told >= _PROGRESS_SECONDS:
            told = done.seconds
            run.stages.tell(
                "score",
                f"{done.rows:,} of {expected:,} users, {done.rows_per_second:,.0f} a second, "
                f"{done.seconds_left:.0f} s left",
            )

    return FanOut(client).run(score_partition, tasks, key=lambda task: task.name, on_done=tell)


def publish(settings: Settings, warehouse: Warehouse, run: Run) -> Published:
    """Load a committed run's scores into the warehouse; safe to repeat."""
    manifest = run.manifest
    paths = sorted(run.path(name) for name in manifest.files if name.startswith("scores/"))
    return publish_scores(
        warehouse,
        paths,
        product=manifest.product,
        target_week_start=manifest.target_week_start,
        run_id=manifest.run_id,
        started_at=manifest.started_at,
        rows=manifest.rows["scores"],
        id_column=settings.id_column,
    )


def commit(
    run: WeeklyRun,
    plan: Plan,
    trained: TrainingResult,
    partitions: Sequence[PartitionRow],
    passed: Sequence[Passed],
    files: Mapping[str, Files],
) -> Run:
    """Check that everything adds up, write the report, and commit the run to the lake in one step."""
    card, folder = trained.model.card, run.folder
    expected = [rows for _, rows in files["score"]]
    summary = merge_rows(partitions, expected)
    passed = [
        *passed,
        check_equal_rows("scoring", {"unloaded": rows_by(files["score"]), "scored": summary.rows}),
        Passed(
            "margin = bias + sum of contributions", f"largest gap {summary.additivity_gap:.1e} (log-odds)"
        ),
        Passed(
            "label rate, rows and classes to train on", f"{card.rows:,} rows, {card.churn_rate:.1%} churned"
        ),
    ]
    scores = [Path(folder.path("scores", f"{path.stem}.parquet")) for path, _ in files["score"]]
    true_loss = true_log_loss(run.settings.data, run.name, trained.holdout)
    data = report_data(
        plan=plan,
        run=RunFacts(
            run_id=run.run_id,
            model_version=card.model_version,
            code_version=__version__,
            started_at=run.started_at,
            stages=stages_of(run.stages.records),
        ),
        card=card,
        evaluation=trained.evaluation,
        holdout=trained.holdout,
        true_log_loss=true_loss,
        summary=summary,
        scored=read_scored([path for path, _ in files["score"]], scores),
        passed=passed,
        warnings=[
            *_warn_model(run.name, trained),
            *warn_features(read_snapshots(files["train"]), plan.catalogue.names),
            *card.notes,
        ],
    )
    write_report(data, folder.path("charts", "report.html"))
    Path(folder.path("charts", "report.json")).write_text(data.model_dump_json(indent=1), "utf-8")
    described = [asdict(feature) for feature in plan.catalogue.features]
    Path(folder.path("logs", "features.json")).write_text(json.dumps(described, indent=1), "utf-8")
    return folder.commit(_manifest(run, data, rows_by(files["train"])))


def _warn_model(name: str, trained: TrainingResult) -> list[str]:
    """Warn, on the terminal too, of a model that knows no more than the churn rate."""
    model, base = trained.evaluation.log_loss.value, trained.evaluation.base_log_loss
    if model < base:
        return []
    sentence = (
        f"the model of {name} is no better than the churn rate alone on {trained.evaluation.rows:,} held-out "
        f"snapshots (log loss {model:.4f} against {base:.4f}): do not act on single scores"
    )
    logger.warning("%s", sentence)
    return [sentence]


def _manifest(run: WeeklyRun, data: ReportData, training_rows: int) -> Manifest:
    holdout = data.holdout
    metrics = {"mean_probability": data.audience.mean_probability}
    if holdout is not None:
        metrics |= {name: estimate.value for name, estimate in holdout.metrics.items()}
        metrics["base_log_loss"] = holdout.base_log_loss
        if holdout.true_log_loss is not None and holdout.regret is not None:
            metrics |= {"true_log_loss": holdout.true_log_loss, "regret": holdout.regret}
    return Manifest(
        run_id=run.run_id,
        product=run.name,
        as_of=run.windows.as_of,
        target_week_start=run.windows.target_week_start,
        started_at=run.started_at,
        model_version=data.run.model_version,
        code_version=__version__,
        rows={"training": training_rows, "scores": data.audience.users_scored},
        metrics=metrics,
        seconds=run.stages.seconds(),
        warnings=data.warnings,
        settings={"seed": run.settings.seed, "source": run.settings.source},
    )


def track(settings: Settings, run: Run) -> None:
    """Log a committed run to MLflow: totals, figures and the model; nothing about a single user."""
    manifest = run.manifest
    registry.log_run(
        settings.tracking_uri,
        str(settings.out.resolve() / "mlflow"),
        product=manifest.product,
        run_id=manifest.run_id,
        as_of=manifest.as_of,
        params=dict(manifest.settings),
        metrics={**manifest.metrics, **{f"rows_{name}": float(rows) for name, rows in manifest.rows.items()}},
        tags={"model_version": manifest.model_version, "code_version": manifest.code_version},
        artifacts=[run.path("model"), run.path("charts")],
    )


@dataclass(frozen=True)
class Outcome:
    """What a run came to, for people.

    Attributes:
        product: the product.
        title: its name for people.
        as_of: the as-of date.
        run_id: the run.
        users: users scored.
        metrics: churn rate predicted, and the figures of the holdout.
        seconds: wall time by part of the run.
        report: the report's path.
        scores: the folder of the score files.
        repeated: the run had been committed before and nothing was computed.
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


def outcome(settings: Settings, run: Run, *, repeated: bool, stages: Stages | None = None) -> Outcome:
    """Return what a committed run came to."""
    manifest = run.manifest
    parts: dict[str, float] = {}
    for name, seconds in (stages.seconds() if stages else manifest.seconds).items():
        part = name.partition(".")[0]
        parts[part] = parts.get(part, 0.0) + seconds
    return Outcome(
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


def repeated(settings: Settings, name: str, windows: Windows) -> Outcome | None:
    """Return what the committed run of a target week came to; None where there is none.

    What a kill, or a warehouse or MLflow out of reach, may have left undone after its commit is done now.
    """
    run = lake_of(settings).committed(name, windows.target_week_start)
    if run is None:
        return None
    lake_of(settings).settle(name)
    warehouse = open_warehouse(settings)
    try:
        _sweep(warehouse, name)
        publish(settings, warehouse, run)
    finally:
        warehouse.close()
    if not registry.is_logged(settings.tracking_uri, product=name, run_id=run.manifest.run_id):
        track(settings, run)
    return outcome(settings, run, repeated=True)
