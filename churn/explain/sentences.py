"""Reasons as sentences: for one user, and for a table of reasons of many."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem

from churn.explain.wording import describe_reasons, habit
from churn.features.catalogue import Feature, Range
from churn.features.phrases import Phrases

_SHORT = 20_000  # rows that are read faster than to_numpy imports pandas


def read_catalogue(fs: AbstractFileSystem, path: str) -> dict[str, Feature]:
    """Return the features of a run by name, from its ``logs/features.json``."""
    with fs.open(path, "rt", encoding="utf-8") as file:
        entries = json.load(file)
    for entry in entries:
        entry["phrases"] = Phrases(**entry.get("phrases", {}))
        entry["range"] = Range(*entry.get("range", ()))
    return {entry["name"]: Feature(**entry) for entry in entries}


class Sentences:
    """Writes reasons as the sentences that `churn explain` prints.

    A user's values are compared with their own habit or, without one, with the median of the features file.

    Example:
        >>> Sentences(catalogue, pq.ParquetFile("features/part-00000.parquet")).add_to(reasons, batch)
    """

    def __init__(self, catalogue: dict[str, Feature], features: pq.ParquetFile) -> None:
        """Compute the medians, one column in memory at a time.

        Args:
            catalogue: the features by name.
            features: the features file of the users.
        """
        self._catalogue = catalogue
        self._typical: dict[str, float] = {}
        for name in features.schema_arrow.names:
            feature = catalogue.get(name)
            if feature is None or habit(feature) or not feature.phrases.tail:
                continue
            middle = median(features.read(columns=[name])[name])
            if middle is not None:
                self._typical[name] = middle

    def add_to(self, reasons: pa.Table, batch: pa.RecordBatch) -> pa.Table:
        """Return the reasons with the column ``sentence``.

        Args:
            reasons: from ``reason_table``: each user's reasons follow each other, in the batch's order.
            batch: the users' feature values.
        """
        known = set(batch.schema.names)
        names = sorted(
            {name for feature in self._catalogue.values() for name in habit(feature) if name in known}
        )
        own = {name: batch.column(name).to_pylist() for name in names}
        rows = reasons.select(["feature", "value", "contribution"]).to_pylist()
        count = len(rows) // max(1, batch.num_rows)
        sentences: list[str] = []
        for user in range(batch.num_rows):
            habits = {name: values[user] for name, values in own.items()}
            mine = rows[user * count : (user + 1) * count]
            sentences += describe_reasons(mine, self._catalogue, habits, self._typical)
        column = reasons.schema.get_field_index("sentence")
        return reasons.set_column(column, reasons.schema.field(column), pa.array(sentences, pa.string()))


def median(column: pa.ChunkedArray) -> float | None:
    """Return a number column's median without missing values; None for texts or without any value."""
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return None
    if len(column) > _SHORT:
        values = column.drop_null().to_numpy().astype(np.float64)
    else:
        values = np.array([value for value in column.to_pylist() if value is not None], np.float64)
    values = values[~np.isnan(values)]
    return float(np.median(values)) if len(values) else None
