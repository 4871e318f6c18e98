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
_ARROW_TYPES = {DOUBLE: pa.float32(), INTEGER: pa.int32()}

Files = Sequence[tuple[Path, int]]


def snapshot_schema(plan: Plan, *, labelled: bool) -> pa.Schema:
    """Return the Arrow schema of unloaded snapshots: float32, int32 and dictionary-free text columns."""
    keys = [pa.field("user_id", pa.string()), pa.field("as_of_date", pa.date32())]
    label = [pa.field("churned", pa.int8())] if labelled else []
    features = [pa.field(f.name, _ARROW_TYPES.get(f.type, pa.string())) for f in plan.catalogue.features]
    return pa.schema([*keys, *label, *features])


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
