"""Readers of what scoring has written about its reasons: only the columns and users that are asked for."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.dataset as ds
from fsspec.core import url_to_fs

from churn.core.errors import RunError, UsageError


def read_contributions(
    run_folder: str, users: Sequence[str] | None = None, features: Sequence[str] | None = None
) -> pa.Table:
    """Return SHAP contributions (log-odds): ``user_id`` and one float32 column a feature.

    Only the columns and row groups that may hold what is asked for are read.

    The bias is in the schema's metadata: ``float(table.schema.metadata[b"bias"])``.

    Args:
        run_folder: a run's folder, a path or an fsspec URL.
        users: their ids; None = everybody. An id that was not scored has no row.
        features: which features, in this order; None = all of the model's.

    Raises:
        RunError: the run has no contributions.
        UsageError: the model has no such feature.
    """
    dataset = _dataset(run_folder, "shap")
    if features is None:
        return _float32(_rows(dataset, users, dataset.schema.names))
    unknown = [name for name in features if name not in dataset.schema.names or name == "user_id"]
    if unknown:
        raise UsageError(
            f"the model of {run_folder} has no feature {', '.join(unknown)}: choose from "
            f"{', '.join(name for name in dataset.schema.names if name != 'user_id')}"
        )
    return _float32(_rows(dataset, users, ["user_id", *features]))


def read_reasons(run_folder: str, users: Sequence[str] | None = None) -> pa.Table:
    """Return the reasons of users (None = everybody): user_id, rank, feature, value, contribution.

    Raises:
        RunError: the run has no reasons.
    """
    dataset = _dataset(run_folder, "reasons")
    return _rows(dataset, users, dataset.schema.names)


def _dataset(run_folder: str, name: str) -> ds.Dataset:
    fs, path = url_to_fs(run_folder)
    try:
        files = ds.dataset(f"{path}/{name}", filesystem=fs, format="parquet")
        found = bool(files.files)
    except FileNotFoundError:
        found = False
    except pa.ArrowInvalid as error:
        raise RunError(
            f"a file of {run_folder}/{name} is damaged ({str(error).splitlines()[0]}): restore it from a "
            "backup, or make the run again with `churn run --force`"
        ) from error
    if not found:
        raise RunError(
            f"{run_folder} has no {name}: it is not the folder of a committed run, or it lost them, or (for "
            "shap) it was made with explain.contributions = 'none', which keeps reasons only"
        )
    return files


def _rows(dataset: ds.Dataset, users: Sequence[str] | None, columns: list[str]) -> pa.Table:
    return dataset.to_table(columns=columns, filter=None if users is None else _of_users(users))


def _of_users(users: Sequence[str]) -> ds.Expression:
    return ds.field("user_id").isin(pa.array(users, pa.string()))


def _float32(table: pa.Table) -> pa.Table:
    """Return contributions that were written as float16 as the others are."""
    types = [pa.float32() if field.type == pa.float16() else field.type for field in table.schema]
    fields = [field.with_type(type_) for field, type_ in zip(table.schema, types, strict=True)]
    return table.cast(pa.schema(fields, table.schema.metadata))
