"""What a run has when scoring begins, written down: enough to score and commit, here or in a later process.

The SQL, the unload and the training are behind it then. Every run goes the rest of the way with its
checkpoint, so that one that is resumed after a crash goes no other way than a calm one.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
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
from churn.lake.lake import RunFolder
from churn.lake.manifest import FileStamp
from churn.model.artifact import Model, ModelCard
from churn.model.metrics import Evaluation
from churn.scoring.partition import partition_name

HOLDOUT = ".holdout.parquet"
SETTINGS = "settings.json"  # below a run's logs
_SHORT = 16  # hexadecimal digits of a setting's digest
# How and where a run is computed, and where its record goes: what comes out is the same.
_NO_MATTER = {
    "data",
    "out",
    "profile",
    "products",
    "cluster",
    "store",
    "prefect",
    "sql_memory",
    "mlflow_tracking_uri",
}


class RunInputs(BaseModel):
    """What a run's scores depend on, so that a later process can tell whether it is as it was.

    Attributes:
        product: its name.
        as_of: its as-of date.
        code_version: of this program.
        files: SHA-256 over names, sizes and times of change of the source files.
        settings: see ``settings_digests``. No values: they are nobody's business who reads the lake.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    product: str
    as_of: str
    code_version: str
    files: str
    settings: dict[str, str]

    def differences(self, now: Self) -> list[str]:
        """Say in words what has changed since."""
        told = []
        if names := changed(self.settings, now.settings):
            told.append(f"settings ({', '.join(names)})")
        if self.files != now.files:
            told.append("source files")
        if self.code_version != now.code_version:
            told.append(f"this program ({self.code_version} then, {now.code_version} now)")
        if (self.product, self.as_of) != (now.product, now.as_of):
            told.append("product or date")
        return told


class Checkpoint(BaseModel):
    """A run's state, small: what is large lies in the run's folder, and is stamped here.

    Attributes:
        run_id: the run.
        started_at: when it started; every score carries it.
        basis: what the scores depend on.
        partitions: users in each partition of the features.
        training_rows: snapshots trained on.
        passed: checks that held.
        warnings: sentences for the reader of the report.
        stages: what took how long so far.
        files: stamps of features, model and holdout, by path below the run's folder; none where the store
            cannot have a run resumed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    run_id: str
    started_at: AwareDatetime
    basis: RunInputs
    partitions: tuple[NonNegativeInt, ...]
    training_rows: NonNegativeInt
    passed: tuple[CheckResult, ...]
    warnings: tuple[str, ...]
    stages: tuple[StageRecord, ...]
    files: dict[str, FileStamp]

    @classmethod
    def read(cls, folder: RunFolder, now: RunInputs) -> Self:
        """Read the checkpoint of a folder, and look that all that it speaks of is as it was.

        Raises:
            RunError: the checkpoint is of other settings, data or program, or it or a file is damaged.
        """
        try:
            with storage_errors("reading the checkpoint", folder.base):
                found = cls.model_validate_json(Path(folder.checkpoint).read_bytes())
        except ValidationError as error:
            raise RunError("its checkpoint is damaged, or of another version") from error
        if found.run_id != folder.run_id:
            raise RunError("its checkpoint is of another run")
        if differences := found.basis.differences(now):
            raise RunError(f"changed since: {'; '.join(differences)}")
        with storage_errors("reading the run", folder.base):
            for name, expected in found.files.items():
                path = Path(folder.base, name)
                if not path.is_file() or path.stat().st_size != expected.size:
                    raise RunError(f"{name} is damaged")
            if stamps(folder.base, found.files) != found.files:
                raise RunError("a file of its features or its model is damaged")
        return found

    @property
    def users(self) -> int:
        """Users to score."""
        return sum(self.partitions)


def stamps(base: str, names: Iterable[str]) -> dict[str, FileStamp]:
    """Return the stamps of files below a run's folder."""
    return {name: FileStamp(size=size, sha256=sha) for name, (size, sha) in stamp(base, names).items()}


def inputs(base: str, partitions: int) -> list[str]:
    """Return the files, below a run's folder, that scoring and committing need."""
    features = [f"features/{partition_name(index)}.parquet" for index in range(partitions)]
    models = [f"model/{path.name}" for path in Path(base, "model").iterdir()]
    return [*features, *models, HOLDOUT]


def done(base: str, partitions: int) -> int:
    """Return how many partitions have their row; whether it is true is found out when they are scored."""
    names = (f"{partition_name(index)}.json" for index in range(partitions))
    return sum(Path(base, "logs", "partitions", name).is_file() for name in names)


def settings_digest(settings: Settings, product: str) -> str:
    """Return a SHA-256 over the settings that a product's scores depend on, not on how they are made."""
    return _sha256(_settings(settings, product))


def settings_digests(settings: Settings, product: str) -> dict[str, str]:
    """Return the start of a SHA-256 of each of those settings, by its name: ``explain.reasons``."""
    return {name: _sha256(value)[:_SHORT] for name, value in _settings(settings, product).items()}


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the names of the settings that two results of ``settings_digests`` differ in; no values."""
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))


def _settings(settings: Settings, product: str) -> dict[str, object]:
    """Return the settings that a product's scores depend on, each by its name in ``churn.toml``."""
    return _flat(settings.model_dump(mode="json", exclude=_NO_MATTER)) | _flat(
        settings.product(product).model_dump(mode="json"), f"products.{product}."
    )


def _flat(table: Mapping[str, object], above: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in table.items():
        found |= _flat(value, f"{above}{name}.") if isinstance(value, Mapping) else {f"{above}{name}": value}
    return found


def _sha256(told: object) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def run_inputs(settings: Settings, product: str, as_of: str) -> RunInputs:
    """Return what the scores of a product and date depend on.

    That is the settings but for how and where they are computed, the version of this program, and names,
    sizes and times of change of the source files.
    """
    tables = settings.data / "tables"
    files = [
        (str(path.relative_to(tables)), path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(tables.glob("*/*.parquet"))
    ]
    return RunInputs(
        product=product,
        as_of=as_of,
        code_version=__version__,
        files=_sha256(files),
        settings=settings_digests(settings, product),
    )


def read_model(folder: str) -> tuple[ModelCard, Evaluation, pa.Table]:
    """Return an unfinished run's model card, how well the model did on the holdout, and the holdout.

    Args:
        folder: the run's folder, a path or an address.
    """
    card = Model.load(f"{folder}/model").card
    evaluation = TypeAdapter(Evaluation).validate_python(card.metrics)
    fs, path = url_to_fs(f"{folder}/{HOLDOUT}")
    return card, evaluation, pq.read_table(path, filesystem=fs, partitioning=None)
