"""One weekly run while it is being made: how it starts or is resumed, and how it ends."""

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from churn.config.settings import Product, Settings
from churn.core.calendar import Windows
from churn.core.errors import RunError
from churn.core.tempdirs import remove_stale
from churn.core.timing import StageTimer
from churn.dataset.run_schemas import drop_schema, run_schema
from churn.jobs.weekly import checkpoint
from churn.jobs.weekly.checkpoint import Checkpoint, RunInputs
from churn.jobs.weekly.sweep import sweep_tables
from churn.lake.filesystem import is_local
from churn.lake.lake import RunFolder, new_run_id
from churn.lake.open import check_lake, open_lake
from churn.outputs import migrations
from churn.warehouse.base import Warehouse
from churn.warehouse.open import open_warehouse

TRAIN_FOLDER = ".train"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WeeklyRun:
    """One execution for a product and as-of date, while it is being made.

    Attributes:
        settings: the settings.
        name: the product's name.
        windows: the windows of the as-of date.
        run_id: unique; ids sort by start time.
        started_at: start time, written beside every score.
        warehouse: where the SQL runs.
        folder: the staging folder in the lake.
        stages: seconds and rows of each stage.
        basis: what the scores depend on.
        checkpoint: the checkpoint of the run that is resumed; None for a new run.
    """

    settings: Settings
    name: str
    windows: Windows
    run_id: str
    started_at: datetime
    warehouse: Warehouse
    folder: RunFolder
    stages: StageTimer
    basis: RunInputs
    checkpoint: Checkpoint | None = None

    @property
    def product(self) -> Product:
        """The product's definition."""
        return self.settings.products[self.name]

    @property
    def schema(self) -> str:
        """The warehouse schema of this run's tables."""
        return run_schema(self.name, self.run_id)

    @property
    def train_folder(self) -> str:
        """Folder of the training snapshots; it is not part of the committed run."""
        return self.folder.path(TRAIN_FOLDER)


@contextmanager
def start_or_resume(
    settings: Settings, name: str, as_of: date, *, resume: bool = True
) -> Iterator[WeeklyRun]:
    """Start a run or resume one that stopped while it trained or scored; remove the tables of dead runs.

    At the end of the block the run's tables are removed, and its staging folder too unless the run was
    committed or can be resumed.

    Args:
        settings: the settings.
        name: the product's name.
        as_of: the Sunday on which features end.
        resume: whether to resume an earlier run of the same settings, data and program.

    Raises:
        UsageError: unknown product, or ``as_of`` is not a Sunday.
        ConfigError: the warehouse cannot reach the lake.
        RunError: another run uses the output folder, the disk failed, or the published tables must be
            migrated first.
    """
    windows = settings.product(name).windows(as_of)
    started_at = datetime.now(UTC).replace(microsecond=0)
    lake = open_lake(settings)
    check_lake(settings)
    with closing(open_warehouse(settings)) as warehouse:
        migrations.ensure_current(warehouse, settings.id_column)  # fail now, not after hours of work
        sweep_tables(warehouse, name)
        for failure in remove_stale():
            logger.warning("%s", failure)
        # Before any source is read: a later change is not in the scores.
        basis = checkpoint.run_inputs(settings, name, f"{as_of}")
        stages = StageTimer(name)
        folder = lake.resume_run(name, windows.target_week_start) if resume else None
        resumed = None if folder is None else _read_checkpoint(folder, basis, stages)
        if folder is None or resumed is None:
            folder = lake.start_run(name, windows.target_week_start, new_run_id(started_at))
        else:
            started_at = resumed.started_at
        run = WeeklyRun(
            settings, name, windows, folder.run_id, started_at, warehouse, folder, stages, basis, resumed
        )
        try:
            with folder:
                if is_local(folder.fs):
                    Path(run.train_folder).mkdir(exist_ok=True)
                try:
                    yield run
                finally:
                    _drop_tables(run)
        finally:
            if folder.kept:
                logger.warning(
                    "run %s is kept for 48 hours: run again to resume it, or with --force to start anew",
                    run.run_id,
                )


def _read_checkpoint(folder: RunFolder, basis: RunInputs, stages: StageTimer) -> Checkpoint | None:
    """Return the checkpoint of a dead run; discard the run and return None if it cannot be resumed."""
    try:
        earlier = Checkpoint.read(folder, basis)
    except RunError as error:
        stages.log("prepare", f"the unfinished run {folder.run_id} is not resumed: {error}")
        folder.discard()
        return None
    done = checkpoint.progress(earlier, folder.base)
    stages.log("prepare", f"resuming run {folder.run_id}: {done}")
    stages.records.extend(earlier.stages)
    return earlier


def _drop_tables(run: WeeklyRun) -> None:
    """Remove the run's tables; if that fails (a full disk), the product's next run removes them."""
    try:
        drop_schema(run.warehouse, run.schema)
    except RunError as error:
        logger.warning("the tables of run %s are still in the warehouse: %s", run.run_id, error)
