"""Unloads snapshots from the warehouse into the Parquet files that training and scoring read."""

from collections.abc import Sequence
from pathlib import Path

import fsspec.core
import pyarrow as pa
import pyarrow.parquet as pq

from churn.core.errors import RunError
from churn.core.names import identifier
from churn.dataset.plan import DatasetPlan
from churn.features import store
from churn.features.aggregates.tables import query
from churn.features.catalogue import DOUBLE, INTEGER
from churn.warehouse.base import Warehouse
from churn.warehouse.templates import Statement, render

# A task has an overhead of some 20 ms; 5,000 rows take a worker about 150 ms.
_SMALLEST_PARTITION = 5_000
# Memory to read one whole SHAP file, the largest file of a partition and nearly incompressible. At 150
# features this is 160,000 rows: about 5 s of work, which is lost when a worker dies.
_LARGEST_FILE_BYTES = 96_000_000
_BYTES_PER_VALUE = 4
# The other workers wait at most a quarter of their work for the last partition.
_PARTITIONS_PER_WORKER = 4
# SQL types that a warehouse unloads as these Arrow types. Redshift has none for int8.
_SQL_TYPES = {pa.float32(): "real", pa.int32(): "integer", pa.int8(): "smallint"}
_ARROW_TYPES = {DOUBLE: pa.float32(), INTEGER: pa.int32()}

Files = Sequence[tuple[str, int]]


def snapshot_schema(plan: DatasetPlan, *, labelled: bool) -> pa.Schema:
    """Return the Arrow schema of unloaded snapshots: float32, int32 and dictionary-free text columns."""
    keys = [pa.field("user_id", pa.string()), pa.field("as_of_date", pa.date32())]
    label = [pa.field("churned", pa.int8())] if labelled else []
    features = [pa.field(f.name, _ARROW_TYPES.get(f.type, pa.string())) for f in plan.catalogue.features]
    return pa.schema([*keys, *label, *features])


def partition_size(rows: int, features: int, workers: int) -> int:
    """Return the rows of each scoring partition; all but the last are equal.

    Each worker gets several partitions if there are enough rows. None is so small that overhead dominates.
    None is so large that its files are unwieldy or that much is lost with a worker: this rule wins.

    Args:
        rows: rows to score.
        features: columns of a SHAP file.
        workers: threads that score at once.
    """
    largest = max(1, _LARGEST_FILE_BYTES // (_BYTES_PER_VALUE * max(1, features)))
    balanced = min(_PARTITIONS_PER_WORKER * workers, rows // _SMALLEST_PARTITION)
    partitions = max(1, balanced, -(-rows // largest))
    return max(1, -(-rows // partitions))


def count_rows(warehouse: Warehouse, plan: DatasetPlan, purpose: str) -> int:
    """Return the number of snapshots to ``unload``."""
    text = "select count(*) as snapshots from {{ ref('feature_set') }} where purpose = :purpose"
    (row,) = query(warehouse, warehouse, text, {"purpose": purpose}, schema=plan.schema)
    return int(row["snapshots"])


def unload(
    warehouse: Warehouse, plan: DatasetPlan, purpose: str, folder: str | Path, rows_per_file: int
) -> list[tuple[str, int]]:
    """Write snapshots to Parquet files of about ``rows_per_file`` rows.

    DuckDB orders them by as-of date and user, and names the files ``part-00000.parquet`` and so on. The
    slices of Redshift write at the same time, in no order.

    Args:
        purpose: ``train`` (with the label) or ``score``.
        folder: path or URL of a folder that holds nothing else.

    Returns:
        Each file and its number of rows.

    Raises:
        RunError: the folder cannot be written, the warehouse refused, or another run removed rows meanwhile.
    """
    schema = snapshot_schema(plan, labelled=purpose == "train")
    selection = _selection(plan, purpose, schema, warehouse)
    files = warehouse.unload(
        selection.sql, selection.parameters, str(folder), schema=schema, rows_per_file=rows_per_file
    )
    dates = plan.training_dates if purpose == "train" else (plan.windows.as_of,)
    store.check_still_there(warehouse, plan.tables.rows, dates)
    return files


def _selection(plan: DatasetPlan, purpose: str, schema: pa.Schema, warehouse: Warehouse) -> Statement:
    columns = ", ".join(
        f"cast({identifier(f.name)} as {_SQL_TYPES[f.type]}) as {f.name}" if f.type in _SQL_TYPES else f.name
        for f in schema
    )
    order = "order by as_of_date, user_id" if warehouse.unloads_in_order else ""
    text = f"select {columns} from {{{{ ref('feature_set') }}}} where purpose = :purpose {order}"
    return render(text, {}, {"purpose": purpose}, plan.schema, warehouse.dialect)


def read_snapshots(files: Files, columns: Sequence[str] | None = None) -> pa.Table:
    """Read unloaded snapshots into one table, ordered by as-of date and user if both are read."""
    if not files:
        raise RunError("there are no snapshots to read: no user was eligible")
    table = pa.concat_tables(_read(path, columns) for path, _ in files)
    if "churned" in table.column_names:  # two bytes wide where Redshift wrote it
        index = table.column_names.index("churned")
        table = table.set_column(index, "churned", table["churned"].cast(pa.int8()))
    if {"as_of_date", "user_id"} <= set(table.column_names) and any("://" in path for path, _ in files):
        table = table.sort_by([("as_of_date", "ascending"), ("user_id", "ascending")])
    return table


def _read(path: str, columns: Sequence[str] | None) -> pa.Table:
    fs, path = fsspec.core.url_to_fs(path)
    with fs.open(path, "rb") as file:
        return pq.read_table(file, columns=list(columns) if columns else None)


def rows_by(files: Files) -> int:
    """Return the number of rows of all unloaded files."""
    return sum(rows for _, rows in files)
