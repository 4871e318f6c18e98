"""Made-up score snapshots of 150 features, and a model of 300 trees of depth 6: see ``churn.jobs.capacity.sample``.

Unlike the quick model of a calibration it is fitted on 40,000 rows, 64 bins and half of the features a tree.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from churn.core.errors import UsageError
from churn.jobs.capacity.sample import Shape, partition_task, write_features
from churn.jobs.capacity.sample import fitted_model as fit
from churn.model.artifact import Model
from churn.scoring.partition import PartitionTask, partition_name

SHAPE = Shape(150)
FEATURES = SHAPE.names
TREES, DEPTH, TRAINING_ROWS = 300, 6, 40_000
_FIT = {"max_bin": 64, "subsample": 0.3, "colsample_bytree": 0.5, "min_child_weight": 1, "eta": 0.05}


@dataclass(frozen=True)
class Snapshots:
    """Features files in a folder, and a model."""

    files: tuple[tuple[Path, int], ...]  # the files in order, each with its rows
    model_folder: Path  # the artefact

    @property
    def rows(self) -> list[int]:
        """Rows of each partition."""
        return [rows for _, rows in self.files]

    def first(self, rows: int) -> "Snapshots":
        """Return the files that hold the first ``rows`` rows.

        Raises:
            UsageError: these rows do not end with a file.
        """
        count = int(np.searchsorted(np.cumsum(self.rows), rows)) + 1
        found = Snapshots(self.files[:count], self.model_folder)
        if sum(found.rows) != rows:
            raise UsageError(f"{rows:,} rows are no whole number of partitions")
        return found

    def tasks(self, run: Path) -> list[PartitionTask]:
        """Return what scores them into a run's folder."""
        return [
            partition_task(index, path, run, self.model_folder) for index, (path, _) in enumerate(self.files)
        ]


def fitted_model(rng: np.random.Generator) -> Model:
    """Return the model."""
    return fit(SHAPE, rng, TREES, {**_FIT, "max_depth": DEPTH}, TRAINING_ROWS)


def write_snapshots(folder: Path, rows: int, partition_rows: int, seed: int = 0) -> Snapshots:
    """Write snapshots, in partitions of equal size, and a model into a folder."""
    rng = np.random.default_rng(seed)
    model_folder, features = folder / "model", folder / "features"
    fitted_model(rng).save(model_folder)
    features.mkdir()
    files = []
    for index, start in enumerate(range(0, rows, partition_rows)):
        path, size = features / f"{partition_name(index)}.parquet", min(partition_rows, rows - start)
        write_features(path, SHAPE, rng, size)
        files.append((path, size))
    return Snapshots(tuple(files), model_folder)
