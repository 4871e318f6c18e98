"""The checkpoint of a run, written when training starts and again when scoring starts.

SQL and unload are done by then. Every run continues from its checkpoint, so a run that is resumed after a
crash takes the same path as any other.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, Self

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs
from pydantic import AwareDatetime, BaseModel, ConfigDict, NonNegativeInt, TypeAdapter, ValidationError

from churn import __version__
from churn.config.settings import Settings
from churn.core.errors import RunError
from churn.core.files import stamp
from churn.core.io_errors import storage_errors
from churn.core.timing import StageRecord
from churn.dataset.checks import CheckResult
from churn.jobs.weekly.digests import changed, settings_digests, sha256
from churn.lake.lake import RunFolder
from churn.lake.manifest import FileStamp
from churn.model.artifact import Model, ModelCard
from churn.model.metrics import Evaluation
from churn.scoring.fits import FOLDER as FITS
from churn.scoring.partition import partition_name

HOLDOUT = ".holdout.parquet"


class RunInputs(BaseModel):
    """What a run's scores depend on; a run is resumed only if none of it has changed.

    Attributes:
        product: the product's name.
        as_of: the as-of date.
        code_version: version of this program.
        files: SHA-256 over names, sizes and modification times of the source files.
        settings: digests by name (``settings_digests``); readers of the lake need not see values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    product: str
    as_of: str
    code_version: str
    files: str
    settings: dict[str, str]

    def differences(self, now: Self) -> list[str]:
        """Return what has changed, in words."""
        changes = []
        if names := changed(self.settings, now.settings):
            changes.append(f"settings ({', '.join(names)})")
        if self.files != now.files:
            changes.append("source files")
        if self.code_version != now.code_version:
            changes.append(f"this program ({self.code_version} then, {now.code_version} now)")
        if (self.product, self.as_of) != (now.product, now.as_of):
            changes.append("product or date")
        return changes


class Checkpoint(BaseModel):
    """The state of a run that scoring needs; large files stay in the run's folder, with their stamps here.

    Attributes:
        run_id: the run's id.
        started_at: start time, written beside every score.
        basis: what the scores depend on.
        partitions: users in each partition of the features.
        training_files: the training snapshots, below the run's folder; empty once the model is there.
        training_rows: snapshots trained on.
        passed: checks that passed.
        warnings: sentences for the report.
        stages: records of the stages so far.
        files: size and SHA-256, by path below the run's folder, of the features and of the training snapshots
            or, after training, model and holdout; empty if the store cannot resume runs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[2] = 2
    run_id: str
    started_at: AwareDatetime
    basis: RunInputs
    partitions: tuple[NonNegativeInt, ...]
    training_files: tuple[str, ...]
    training_rows: NonNegativeInt
    passed: tuple[CheckResult, ...]
    warnings: tuple[str, ...]
    stages: tuple[StageRecord, ...]
    files: dict[str, FileStamp]

    @classmethod
    def read(cls, folder: RunFolder, now: RunInputs) -> Self:
        """Return the checkpoint of a folder, after checking its inputs and files.

        Raises:
            RunError: settings, data or program have changed, or the checkpoint or a file is damaged.
        """
        try:
            with storage_errors("reading the checkpoint", folder.base):
                checkpoint = cls.model_validate_json(Path(folder.checkpoint).read_bytes())
        except ValidationError as error:
            raise RunError("its checkpoint is damaged, or of another version") from error
        if checkpoint.run_id != folder.run_id:
            raise RunError("its checkpoint is of another run")
        if differences := checkpoint.basis.differences(now):
            raise RunError(f"changed since: {'; '.join(differences)}")
        with storage_errors("reading the run", folder.base):
            for name, expected in checkpoint.files.items():
                path = Path(folder.base, name)
                if not path.is_file() or path.stat().st_size != expected.size:
                    raise RunError(f"{name} is damaged")
            if stamps(folder.base, checkpoint.files) != checkpoint.files:
                raise RunError("a file of its features or its model is damaged")
        return checkpoint

    @property
    def trained(self) -> bool:
        """Whether the model is there."""
        return not self.training_files

    @property
    def users(self) -> int:
        """Users to score."""
        return sum(self.partitions)


def stamps(base: str, names: Iterable[str]) -> dict[str, FileStamp]:
    """Return size and SHA-256 of files below a run's folder."""
    return {name: FileStamp(size=size, sha256=sha) for name, (size, sha) in stamp(base, names).items()}


def inputs(base: str, partitions: int, training_files: Sequence[str]) -> list[str]:
    """Return the files, below a run's folder, that its next stages need.

    Args:
        base: the run's folder.
        partitions: number of partitions of the features.
        training_files: the training snapshots, below the folder; none = model and holdout are there.
    """
    features = [f"features/{partition_name(index)}.parquet" for index in range(partitions)]
    if training_files:
        return [*features, *training_files]
    models = [f"model/{path.name}" for path in Path(base, "model").iterdir()]
    return [*features, *models, HOLDOUT]


def progress(state: Checkpoint, base: str) -> str:
    """Return how far a run is, in words; the stages check that what is there is valid."""
    if not state.trained:
        steps = len(list(Path(base, FITS).glob("*.json")))
        return f"{steps} step{'s' if steps != 1 else ''} of its training done"
    names = (f"{partition_name(index)}.json" for index in range(len(state.partitions)))
    done = sum(Path(base, "logs", "partitions", name).is_file() for name in names)
    return f"{done} of {len(state.partitions)} partitions are done"


def run_inputs(settings: Settings, product: str, as_of: str) -> RunInputs:
    """Return what the scores of a product and date depend on."""
    tables = settings.data / "tables"
    files = [
        (str(path.relative_to(tables)), path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(tables.glob("*/*.parquet"))
    ]
    return RunInputs(
        product=product,
        as_of=as_of,
        code_version=__version__,
        files=sha256(files),
        settings=settings_digests(settings, product),
    )


def read_model(folder: str) -> tuple[ModelCard, Evaluation, pa.Table]:
    """Return an unfinished run's model card, its evaluation on the holdout, and the holdout.

    Args:
        folder: the run's folder, a path or an fsspec URL.
    """
    card = Model.load(f"{folder}/model").card
    evaluation = TypeAdapter(Evaluation).validate_python(card.metrics)
    fs, path = url_to_fs(f"{folder}/{HOLDOUT}")
    return card, evaluation, pq.read_table(path, filesystem=fs, partitioning=None)
