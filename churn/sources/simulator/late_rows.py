"""Activity rows that arrive in the warehouse a week late."""

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa

from churn.core.calendar import WEEK
from churn.sources.simulator.activity_rows import ACTIVITY_SCHEMA
from churn.sources.simulator.write import ACTIVITY, TableWriter, part_path


class LateRows:
    """Writes a share of each week's rows to a file of its own, which arrives a week later."""

    def __init__(
        self, folder: Path, part: int, seed: np.random.SeedSequence, share: float, start: date
    ) -> None:
        """Prepare one part of the activity table; ``share`` is the probability that a row is late."""
        self.path = part_path(folder, ACTIVITY, part)
        self.rng = np.random.default_rng(seed)
        self.share, self.start = share, start
        self.rows = 0

    def hold_back(self, table: pa.Table, week: int) -> pa.Table:
        """Write the late rows of a week; return the others."""
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
