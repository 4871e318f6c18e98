"""Made-up score snapshots of 150 features, and a model of 300 trees of depth 6: see ``churn.jobs.capacity.sample``.

Unlike the quick model of a calibration it is fitted on 40,000 rows, 64 bins and half of the features a tree.
"""

from pathlib import Path

import numpy as np

from churn.jobs.capacity.sample import Shape, Snapshots
from churn.jobs.capacity.sample import fitted_model as fit
from churn.jobs.capacity.sample import write_snapshots as write
from churn.model.artifact import Model

__all__ = ["FEATURES", "SHAPE", "Snapshots", "fitted_model", "write_snapshots"]

SHAPE = Shape(150)
FEATURES = SHAPE.names
TREES, DEPTH, TRAINING_ROWS = 300, 6, 40_000
_FIT = {"max_bin": 64, "subsample": 0.3, "colsample_bytree": 0.5, "min_child_weight": 1, "eta": 0.05}


def fitted_model(rng: np.random.Generator) -> Model:
    """Return the model."""
    return fit(SHAPE, rng, TREES, {**_FIT, "max_depth": DEPTH}, TRAINING_ROWS)


def write_snapshots(folder: Path, rows: int, partition_rows: int, seed: int = 0) -> Snapshots:
    """Write snapshots and a model into a folder."""
    rng = np.random.default_rng(seed)
    return write(folder, SHAPE, fitted_model(rng), rows, partition_rows, rng)
