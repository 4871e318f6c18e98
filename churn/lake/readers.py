"""Read the Parquet files of one dataset of a run: only the columns and users asked for."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.dataset as ds
from fsspec.core import url_to_fs

from churn.core.errors import RunError, UsageError


def read_rows(
    run_folder: str, dataset: str, users: Sequence[str] | None = None, columns: Sequence[str] | None = None
) -> pa.Table:
    """Return rows of one dataset of a run, with float16 columns as float32; see ``churn.lake.run.Run``.

    Args:
        run_folder: a run's folder, a path or an fsspec URL.
        dataset: ``scores``, ``shap``, ``reasons`` or ``features``.
        users: their ids; None = everybody.
        columns: which columns beside ``user_id``; None = all.
    """
    files = _open(run_folder, dataset)
    known = [name for name in files.schema.names if name != "user_id"]
    unknown = [name for name in columns or () if name not in known]
    if unknown:
        raise UsageError(
            f"{dataset} of {run_folder} has no column {', '.join(unknown)}: choose from {', '.join(known)}"
        )
    chosen = files.schema.names if columns is None else ["user_id", *columns]
    wanted = None if users is None else ds.field("user_id").isin(pa.array(users, pa.string()))
    try:
        return _float32(files.to_table(columns=chosen, filter=wanted))
    except (pa.ArrowInvalid, OSError) as error:
        raise _damaged(run_folder, dataset, error) from error


def _open(run_folder: str, name: str) -> ds.Dataset:
    fs, path = url_to_fs(run_folder)
    try:
        files = ds.dataset(f"{path}/{name}", filesystem=fs, format="parquet")
        exists = bool(files.files)
    except FileNotFoundError:
        exists = False
    except pa.ArrowInvalid as error:
        raise _damaged(run_folder, name, error) from error
    if not exists:
        raise RunError(
            f"{run_folder} has no {name}: it is not the folder of a committed run, its files were lost, or "
            "(for shap) it was made with explain.contributions = 'none', which keeps reasons only"
        )
    return files


def _damaged(run_folder: str, dataset: str, error: Exception) -> RunError:
    return RunError(
        f"a file of {run_folder}/{dataset} is damaged ({str(error).splitlines()[0]}): restore it from a "
        "backup, or make the run again with `churn run --force`"
    )


def _float32(table: pa.Table) -> pa.Table:
    types = [pa.float32() if field.type == pa.float16() else field.type for field in table.schema]
    fields = [field.with_type(type_) for field, type_ in zip(table.schema, types, strict=True)]
    return table.cast(pa.schema(fields, table.schema.metadata))
