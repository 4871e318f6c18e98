"""Snapshots out of the warehouse into Parquet files, which training and scoring read."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from churn.config import identifier
from churn.errors import RunError
from churn.features import DOUBLE, INTEGER
from churn.prepare import Plan
from churn.warehouse.base import Dialect, Warehouse
from churn.warehouse.render import Statement, render

_BATCH_ROWS = 16_384
# A task costs some 20 ms besides its rows, and 5,000 rows take a worker about 150 ms.
_SMALLEST_PARTITION = 5_000
# Its largest file, SHAP, is nearly incompressible: a reader of a whole one takes this much memory. At 150
# features that is 160,000 rows, which a worker scores in about 5 s: that much is lost with it.
_LARGEST_FILE_BYTES = 96_000_000
_BYTES_PER_VALUE = 4
# One worker's last partition makes the others wait for a quarter of their work at most.
_PARTITIONS_PER_WORKER = 4
_ARROW_TYPES = {DOUBLE: pa.float32(), INTEGER: pa.int32()}

Files = Sequence[tuple[Path, int]]


def snapshot_schema(plan: Plan, *, labelled: bool) -> pa.Schema:
    """Return the Arrow schema of unloaded snapshots: float32, int32 and dictionary-free text columns."""
    keys = [pa.field("user_id", pa.string()), pa.field("as_of_date", pa.date32())]
    label = [pa.field("churned", pa.int8())] if labelled else []
    features = [pa.field(f.name, _ARROW_TYPES.get(f.type, pa.string())) for f in plan.catalogue.features]
    return pa.schema([*keys, *label, *features])


def partition_size(rows: int, features: int, workers: int) -> int:
    """Return how many rows each scoring partition gets, so that partitions are equal (but for the last).

    Several partitions for each worker where there are rows enough, none so small that overhead dominates, and
    none so large that its files are unwieldy or that much is lost with a worker; the last rule wins. A worker
    needs no more memory for a larger one, as rows stream through it.

    Args:
        rows: rows to score.
        features: columns of a SHAP file.
        workers: threads that score at once.
    """
    largest = max(1, _LARGEST_FILE_BYTES // (_BYTES_PER_VALUE * max(1, features)))
    balanced = min(_PARTITIONS_PER_WORKER * workers, rows // _SMALLEST_PARTITION)
    partitions = max(1, balanced, -(-rows // largest))
    return max(1, -(-rows // partitions))


def count_rows(warehouse: Warehouse, plan: Plan, purpose: str) -> int:
    """Return how many snapshots there are to ``unload``."""
    text = "select count(*) as snapshots from {{ ref('feature_set') }} where purpose = :purpose"
    query = render(text, {}, {"purpose": purpose}, plan.schema, warehouse.dialect)
    return int(warehouse.fetch(query.sql, query.parameters)["snapshots"][0].as_py())


def unload(
    warehouse: Warehouse, plan: Plan, purpose: str, folder: Path, rows_per_file: int
) -> list[tuple[Path, int]]:
    """Write snapshots to Parquet files of at most ``rows_per_file`` rows, ordered by as-of date and user.

    Args:
        purpose: ``train`` (with the label) or ``score``.
        folder: an existing folder; files are named ``part-00000.parquet`` and so on.

    Returns:
        Each file with its rows.

    Raises:
        RunError: the folder cannot be written, or the warehouse refused.
    """
    schema = snapshot_schema(plan, labelled=purpose == "train")
    query = _selection(plan, purpose, warehouse.dialect)
    with warehouse.stream(query.sql, query.parameters, batch_rows=_BATCH_ROWS) as (_, batches):
        writer = _Writer(folder, schema, rows_per_file)
        try:
            for batch in batches:
                writer.write(pa.Table.from_batches([batch]).cast(schema))
            writer.close()
        except OSError as error:
            raise RunError(
                f"{folder} cannot be written: {error.strerror or error}; free some space and run again"
            ) from error
        finally:
            writer.close()
    return writer.files


class _Writer:
    """Spreads rows over files of one size."""

    def __init__(self, folder: Path, schema: pa.Schema, rows_per_file: int) -> None:
        self.files: list[tuple[Path, int]] = []
        self._folder = folder
        self._schema = schema
        self._rows_per_file = rows_per_file
        self._current: pq.ParquetWriter | None = None

    def write(self, table: pa.Table) -> None:
        while table.num_rows:
            current = self._current or self._open()
            path, written = self.files[-1]
            piece = table.slice(0, self._rows_per_file - written)
            current.write_table(piece)
            self.files[-1] = (path, written + piece.num_rows)
            table = table.slice(piece.num_rows)
            if self.files[-1][1] == self._rows_per_file:
                self.close()

    def _open(self) -> pq.ParquetWriter:
        path = self._folder / f"part-{len(self.files):05d}.parquet"
        texts = [f.name for f in self._schema if pa.types.is_string(f.type) and f.name != "user_id"]
        self._current = pq.ParquetWriter(
            path, self._schema, compression="zstd", compression_level=1, use_dictionary=texts
        )
        self.files.append((path, 0))
        return self._current

    def close(self) -> None:
        """End the open file, if there is one; one whose end could not be written is not tried again."""
        current, self._current = self._current, None
        if current is not None:
            current.close()


def _selection(plan: Plan, purpose: str, dialect: Dialect) -> Statement:
    columns = ["user_id", "as_of_date", *(["churned"] if purpose == "train" else []), *plan.catalogue.names]
    text = (
        f"select {', '.join(identifier(name) for name in columns)} from {{{{ ref('feature_set') }}}}"
        " where purpose = :purpose order by as_of_date, user_id"
    )
    return render(text, {}, {"purpose": purpose}, plan.schema, dialect)


def read_snapshots(files: Files, columns: Sequence[str] | None = None) -> pa.Table:
    """Read unloaded snapshots back into one table."""
    tables = [pq.read_table(path, columns=list(columns) if columns else None) for path, _ in files]
    if not tables:
        raise RunError("there are no snapshots to read: no user was eligible")
    return pa.concat_tables(tables)


def rows_by(files: Files) -> int:
    """Return the rows of unloaded files together."""
    return sum(rows for _, rows in files)
