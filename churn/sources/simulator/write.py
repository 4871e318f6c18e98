"""Write a simulation's folder: complete, and never over other files."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from churn.core.errors import RunError, UsageError
from churn.sources.simulator.content import Flags, Floats
from churn.sources.simulator.side_schemas import CONTENT_TABLES, PEOPLE_TABLES

ACTIVITY = "audience.audience_activity_daily_summary_enriched"
CONTENT = "prez.scv_vmb"
PROFILE = "prez.id_profile"
EXTENSION = "prez.profile_extension"
TABLES = (ACTIVITY, CONTENT, PROFILE, EXTENSION, *PEOPLE_TABLES, *CONTENT_TABLES)
DESCRIPTION = "simulation.json"
CONFIG = "churn.toml"
CONFIG_TEXT = """\
# A simulated broadcaster, made by `churn simulate`; simulation.json says from which seed.
# The products iplayer, sounds and pan are built in. docs/simulator.md describes the people.
source = "bbc"
"""
# Small audiences train on every user at several past dates; large ones on one past date per user.
COHORTS_FROM = 100_000
SMALL_AUDIENCE_TEXT = "".join(
    f"""
[products.{product}.training]
sampling = "all"  # every user at each of the last 8 past dates with a known label: a small audience
max_dates = 8
"""
    for product in ("iplayer", "sounds", "pan")
)
_FOLDERS = ("tables", "truth")

TRUTH_SCHEMA = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("as_of_date", pa.date32(), nullable=False),
        pa.field("churn_probability", pa.float64(), nullable=False),
    ]
)


@contextmanager
def replacement_folder(into: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``into`` that replaces it when the block ends without an error.

    Leftovers of a killed process are removed at the next start.

    Raises:
        UsageError: ``into`` is a file, or holds files that no simulation wrote.
        RunError: the folder cannot be written (no space, no permission).
    """
    into = Path(into).resolve()
    building = into.with_name(f".{into.name}.simulating")
    replaced = into.with_name(f".{into.name}.replaced")
    _refuse_foreign(into)
    try:
        into.parent.mkdir(parents=True, exist_ok=True)
        _put_back(replaced, into)
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir()
        try:
            yield building
            if into.exists():
                into.rename(replaced)
            try:
                building.rename(into)
            except OSError:
                _put_back(replaced, into)
                raise
        finally:
            shutil.rmtree(building, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)
    except OSError as error:
        raise RunError(
            f"the simulation could not be written to {into}: {error}; its old content is unchanged. "
            "Free space there, or choose another folder"
        ) from error


def _put_back(replaced: Path, into: Path) -> None:
    """Restore a folder whose replacement was interrupted, or delete it after a finished one."""
    if replaced.exists() and not into.exists():
        replaced.rename(into)
    shutil.rmtree(replaced, ignore_errors=True)


def _refuse_foreign(into: Path) -> None:
    if not into.exists():
        return
    if not into.is_dir():
        raise UsageError(f"{into} is a file; name a new folder for the simulated data")
    entries = {entry.name for entry in into.iterdir()}
    if not entries:
        return
    tables = {entry.name for entry in into.glob("tables/*")}
    foreign = (entries - {*_FOLDERS, DESCRIPTION, CONFIG}) | {
        f"tables/{name}" for name in tables - set(TABLES)
    }
    if DESCRIPTION not in entries:
        raise UsageError(
            f"{into} is not empty and holds no earlier simulation; name a new or empty folder "
            "for the simulated data"
        )
    if foreign:
        raise UsageError(
            f"{into} holds an earlier simulation and also {', '.join(sorted(foreign)[:5])}, which replacing "
            "it would delete; move that away, or name another folder"
        )
    written = (CONFIG_TEXT, CONFIG_TEXT + SMALL_AUDIENCE_TEXT)
    if CONFIG in entries and (into / CONFIG).read_text("utf-8", errors="replace") not in written:
        raise UsageError(
            f"{into / CONFIG} was edited, and replacing the simulation would undo that; move the file away, "
            "or name another folder with --into"
        )


class TableWriter:
    """Writes one Parquet file by row groups, with zstd and plain Parquet types."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        """Open ``path`` for tables of one schema; missing folders are created."""
        path.parent.mkdir(parents=True, exist_ok=True)
        # Without the Arrow schema in the file, dictionary arrays read back as ordinary text.
        self.writer = pq.ParquetWriter(
            path, schema, compression="zstd", compression_level=1, store_schema=False
        )
        self.rows = 0

    def write(self, table: pa.Table) -> None:
        """Append a table as one row group."""
        if table.num_rows:
            self.writer.write_table(table, row_group_size=table.num_rows)
            self.rows += table.num_rows

    def __enter__(self) -> "TableWriter":
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.writer.close()


def write_table(folder: Path, name: str, part: int, table: pa.Table) -> None:
    """Write ``tables/<name>/part-<part>.parquet``."""
    with TableWriter(part_path(folder, name, part), table.schema) as writer:
        writer.write(table)


def part_path(folder: Path, name: str, part: int) -> Path:
    """Return the path of a part of a table."""
    return folder / "tables" / name / f"part-{part:05d}.parquet"


class TruthWriters:
    """Writes the true probabilities: one file per product and as-of date, for all chunks."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        """Write under ``folder``; ``stack`` closes the files."""
        self.folder = folder / "truth"
        self.stack = stack
        self.writers: dict[tuple[str, date], TableWriter] = {}
        self.sums: dict[str, tuple[int, float]] = {}

    def write(self, product: str, as_of: date, ids: pa.Array, probability: Floats, chosen: Flags) -> None:
        """Append the chosen people of a chunk."""
        key = (product, as_of)
        if key not in self.writers:
            path = self.folder / f"product={product}" / f"as_of_date={as_of}" / "part-00000.parquet"
            self.writers[key] = self.stack.enter_context(TableWriter(path, TRUTH_SCHEMA))
        rows = np.flatnonzero(chosen)
        dates = np.full(len(rows), (as_of - date(1970, 1, 1)).days, dtype=np.int32)
        self.writers[key].write(
            pa.table(
                [ids.take(rows), pa.array(dates).cast(pa.date32()), probability[rows]], schema=TRUTH_SCHEMA
            )
        )
        count, total = self.sums.get(product, (0, 0.0))
        self.sums[product] = (count + len(rows), total + float(probability[rows].sum()))

    def churn_rates(self) -> dict[str, float]:
        """Return the mean true probability of all snapshots by product; NaN without snapshots."""
        return {
            product: total / count if count else float("nan")
            for product, (count, total) in sorted(self.sums.items())
        }


def write_description(folder: Path, description: Mapping[str, Any]) -> None:
    """Write the simulation's settings (simulation.json) and the folder's churn.toml."""
    (folder / DESCRIPTION).write_text(json.dumps(dict(description), indent=2) + "\n", "utf-8")
    small = description["users"] < COHORTS_FROM
    (folder / CONFIG).write_text(CONFIG_TEXT + (SMALL_AUDIENCE_TEXT if small else ""), "utf-8")
