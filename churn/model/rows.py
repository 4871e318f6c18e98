"""Check labelled snapshots and sort them into the rows that training uses."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from churn.config.training import TrainingSettings
from churn.core.calendar import LABEL_DELAY
from churn.core.errors import CheckError
from churn.model.artifact import (
    KEYS,
    FeatureSchema,
    Matrix,
    category_codes,
    is_category,
    is_numeric,
    number_values,
    order_values,
)

Mask = NDArray[np.bool_]
_BLOCK_ROWS = 65_536


@dataclass(frozen=True)
class TrainingRows:
    """Training snapshots, sorted by as-of date, then user id.

    Attributes:
        keys: user_id, as_of_date, churned.
        users: (rows,) int64, each row's user as a number from 0.
        dates: (rows,) as-of dates, datetime64[D], ascending.
        churned: (rows,) int8, 1 = churned.
        names: features in order.
        numbers: (rows, features) float32, NaN where null; category columns are NaN throughout.
        categories: category feature -> its distinct values, and each row's position among them (-1 = null).
        label_delay: time from an as-of date until its label is known.
    """

    keys: pa.Table
    users: NDArray[np.int64]
    dates: NDArray[np.datetime64]
    churned: NDArray[np.int8]
    names: tuple[str, ...]
    numbers: Matrix
    categories: Mapping[str, tuple[list[str], NDArray[np.int64]]]
    label_delay: timedelta = LABEL_DELAY

    def __len__(self) -> int:
        return len(self.churned)

    @property
    def everything(self) -> Mask:
        """A mask of all rows, (rows,)."""
        return np.ones(len(self), dtype=np.bool_)

    def schema(self, fit: Mask) -> FeatureSchema:
        """Return a feature schema with categories ordered by their churn rate in the rows ``fit``."""
        churned = self.churned[fit].astype(np.float64)
        overall = float(churned.mean())
        categories = {
            name: order_values(values, codes[fit], churned, overall)
            for name, (values, codes) in self.categories.items()
        }
        return FeatureSchema(self.names, categories)

    def matrix(self, schema: FeatureSchema, which: Mask) -> Matrix:
        """Return what ``schema.encode`` returns for the rows ``which``."""
        matrix: Matrix = self.numbers[which]
        for name, (values, codes) in self.categories.items():
            code_of = {value: code for code, value in enumerate(schema.categories[name])}
            # The last entry serves null, whose code is -1.
            lookup = np.array([*(code_of.get(value, np.nan) for value in values), np.nan], dtype=np.float32)
            matrix[:, self.names.index(name)] = lookup[codes[which]]
        return matrix

    def fingerprint(self) -> str:
        """Return a SHA-256 of keys, labels and encoded features; it does not depend on the input order."""
        digest = hashlib.sha256("\n".join(self.names).encode())
        lengths, text = hashlib.sha256(), hashlib.sha256()
        for chunk in self.keys["user_id"].chunks:
            lengths.update(pc.binary_length(chunk).cast(pa.int64()).to_numpy().tobytes())
            if len(chunk):
                _, offsets, data = chunk.buffers()
                ends = np.frombuffer(offsets, np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
                text.update(memoryview(data or b"")[ends[0] : ends[-1]])
        digest.update(lengths.digest() + text.digest())
        digest.update(self.dates.astype(np.int64).tobytes() + self.churned.tobytes())
        for start in range(0, len(self), _BLOCK_ROWS):
            block = self.numbers[start : start + _BLOCK_ROWS] + np.float32(0)  # -0.0 becomes 0.0
            block[np.isnan(block)] = np.nan  # NaN has many bit patterns
            digest.update(block.tobytes())
        for name, (values, codes) in self.categories.items():
            in_order = sorted(range(len(values)), key=values.__getitem__)
            ranks = np.empty(len(values) + 1, dtype=np.int64)
            ranks[in_order] = np.arange(len(values))
            ranks[-1] = -1
            digest.update("\n".join([name, *(values[i] for i in in_order)]).encode() + ranks[codes].tobytes())
        return digest.hexdigest()


def read_rows(
    snapshots: pa.Table,
    *,
    as_of: date,
    settings: TrainingSettings,
    stage: str,
    label_delay: timedelta = LABEL_DELAY,
) -> TrainingRows:
    """Check and sort labelled snapshots of the latest ``settings.most_dates`` dates.

    Args:
        snapshots: user_id, as_of_date, churned (0 or 1) and feature columns; rows in any order.
        as_of: the run's as-of date, by which all labels must be known.
        settings: number of dates and smallest numbers of rows.
        stage: name of the stage, for errors.
        label_delay: time from an as-of date until its label is known.

    Raises:
        CheckError: checks failed; the message lists them all.
        RunError: a feature holds infinite numbers.
    """
    _check_keys(snapshots, as_of, label_delay, stage)
    names = tuple(name for name in snapshots.column_names if name not in KEYS)
    days = snapshots["as_of_date"].cast(pa.date32())
    latest = pc.unique(days).sort(order="descending").slice(0, settings.most_dates)
    table = snapshots.filter(pc.is_in(days, value_set=latest))
    table = table.take(pc.sort_indices(table, [("as_of_date", "ascending"), ("user_id", "ascending")]))
    churned = table["churned"].cast(pa.int8()).to_numpy()
    _check_labels(churned, settings, stage)

    categories = {name: category_codes(table[name]) for name in names if is_category(table[name].type)}
    numbers = np.full((table.num_rows, len(names)), np.nan, dtype=np.float32)
    for position, name in enumerate(names):
        if name not in categories:
            numbers[:, position] = number_values(table[name], name)
    user_ids, days = table["user_id"].cast(pa.string()), table["as_of_date"].cast(pa.date32())
    keys = pa.table({"user_id": user_ids, "as_of_date": days, "churned": churned})
    _, users = category_codes(keys["user_id"])
    dates = keys["as_of_date"].to_numpy().astype("datetime64[D]")
    return TrainingRows(keys, users, dates, churned, names, numbers, categories, label_delay)


def _check_keys(snapshots: pa.Table, as_of: date, label_delay: timedelta, stage: str) -> None:
    missing = [name for name in KEYS if name not in snapshots.column_names]
    if missing:
        raise CheckError(stage, [f"the training snapshots lack the column {name!r}" for name in missing])
    nulls = {name: snapshots[name].null_count for name in KEYS}
    failures = [f"{count:,} training rows have no {name}" for name, count in nulls.items() if count]
    names = [name for name in snapshots.column_names if name not in KEYS]
    if not names:
        failures.append("the training snapshots have no feature columns")
    for name in names:
        type_ = snapshots[name].type
        if not (is_category(type_) or is_numeric(type_)):
            failures.append(f"feature {name!r} is of type {type_}: features are numbers, booleans or text")
    values = set(pc.unique(snapshots["churned"]).to_pylist()) - {None, 0, 1}
    if values:
        failures.append(
            f"churned must be 0 or 1, and {len(values)} other value(s) occur, such as {min(values)}"
        )
    if snapshots.num_rows and not failures:
        pairs = snapshots.group_by(["user_id", "as_of_date"]).aggregate([]).num_rows
        if pairs < snapshots.num_rows:
            failures.append(f"{snapshots.num_rows - pairs:,} training rows repeat a (user, as-of date)")
        last = pc.max(snapshots["as_of_date"].cast(pa.date32())).as_py()
        if last > as_of - label_delay:
            failures.append(
                f"there are training snapshots of {last}, whose label is not known on {as_of}: "
                f"the latest usable as-of date is {as_of - label_delay}"
            )
    if failures:
        raise CheckError(stage, failures)


def _check_labels(churned: NDArray[Any], settings: TrainingSettings, stage: str) -> None:
    rows, churners = len(churned), int(churned.sum())
    failures = []
    if rows < settings.minimum_rows:
        failures.append(
            f"{rows:,} training rows, and at least {settings.minimum_rows:,} are needed: take more as-of "
            'dates (max_dates), or every user at every date (sampling = "all")'
        )
    for count, what in ((churners, "churned"), (rows - churners, "stayed")):
        if count < settings.minimum_class_rows:
            failures.append(
                f"{count:,} training rows of users who {what}, and at least "
                f"{settings.minimum_class_rows:,} are needed"
            )
    low, high = settings.label_rate_bounds
    if rows and not low < churners / rows < high:
        failures.append(
            f"the churn rate is {churners / rows:.4f}, outside {low} to {high}: "
            "the label or the product's definition is likely wrong"
        )
    if failures:
        raise CheckError(stage, failures)
