"""Activity rows that reach the warehouse a week late."""

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa

from churn.core.calendar import WEEK
from churn.sources.simulator.activity_rows import ACTIVITY_SCHEMA
from churn.sources.simulator.write import ACTIVITY, TableWriter, part_path


class LateRows:
    """Puts a share of each week's rows into a file of their own, which comes with the next week's data."""

    def __init__(
        self, folder: Path, part: int, seed: np.random.SeedSequence, share: float, start: date
    ) -> None:
        """Choose rows of one part of the activity table; ``share`` is the chance of each to be late."""
        self.path = part_path(folder, ACTIVITY, part)
        self.rng = np.random.default_rng(seed)
        self.share, self.start = share, start
        self.rows = 0

    def hold_back(self, table: pa.Table, week: int) -> pa.Table:
        """Write the late rows of a week; returns the others."""
        if not self.share:
            return table
        late = self.rng.random(table.num_rows) < self.share
        if late.any():
            arrival = self.start + (week + 1) * WEEK
            path = self.path.with_name(f"{self.path.stem}-late-{arrival}.parquet")
            with TableWriter(path, ACTIVITY_SCHEMA) as writer:
                writer.write(table.filter(pa.array(late)))
                self.rows += writer.rows
        return table.filter(pa.array(~late))
