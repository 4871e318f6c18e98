"""Check labelled snapshots and sort them into the rows that training uses."""

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
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
from churn.model.encoding import (
    KEYS,
    FeatureSchema,
    Matrix,
    category_codes,
    is_category,
    is_numeric,
    number_values,
    order_values,
)
from churn.model.snapshots import Snapshots, SnapshotTable

Mask = NDArray[np.bool_]
Positions = NDArray[np.int64]
_BLOCK_ROWS = 65_536
_VALUES_IN_MEMORY = 25_000_000  # 100 MB
_ROW = "row"


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

    def matrix(self, schema: FeatureSchema, which: Mask | Positions) -> Matrix:
        """Return what ``schema.encode`` returns for the rows ``which``, a mask or positions."""
        matrix: Matrix = self.numbers[which]
        for name, (values, codes) in self.categories.items():
            code_of = {value: code for code, value in enumerate(schema.categories[name])}
            # The last entry serves null, whose code is -1.
            lookup = np.array([*(code_of.get(value, np.nan) for value in values), np.nan], dtype=np.float32)
            matrix[:, self.names.index(name)] = lookup[codes[which]]
        return matrix

    def saying_nothing(self) -> tuple[list[str], list[str]]:
        """Return the features without any value, and those with one value everywhere."""
        empty, constant = [], []
        lows, highs = np.full(len(self.names), np.inf), np.full(len(self.names), -np.inf)
        absent = np.zeros(len(self.names), np.int64)
        for start in range(0, len(self), _BLOCK_ROWS):
            block = self.numbers[start : start + _BLOCK_ROWS]
            lows, highs = np.fmin(lows, np.fmin.reduce(block)), np.fmax(highs, np.fmax.reduce(block))
            absent += np.isnan(block).sum(axis=0)
        for index, name in enumerate(self.names):
            if name in self.categories:
                codes = self.categories[name][1]
                low, high, missing = codes.min(), codes.max(), int((codes < 0).sum())
            else:
                low, high, missing = lows[index], highs[index], int(absent[index])
            if missing == len(self):
                empty.append(name)
            elif not missing and low == high:  # constant where present, but missing or not, tells something
                constant.append(name)
        return empty, constant

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
    snapshots: Snapshots | pa.Table,
    *,
    as_of: date,
    settings: TrainingSettings,
    stage: str,
    label_delay: timedelta = LABEL_DELAY,
) -> TrainingRows:
    """Check and sort labelled snapshots of the latest ``settings.most_dates`` dates.

    Keys and categories of all parts are in memory at once, numbers of one part at a time. A large matrix of
    numbers lies in a temporary file, which holds no id and ends with this process.

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
    source = SnapshotTable(snapshots) if isinstance(snapshots, pa.Table) else snapshots
    types = {field.name: field.type for field in source.schema}
    names = tuple(name for name in types if name not in KEYS)
    texts = [name for name in names if is_category(types[name])]
    table = pa.concat_tables(source.read([*(key for key in KEYS if key in types), *texts]))
    _check_keys(table, {name: types[name] for name in names}, as_of, label_delay, stage)
    days = table["as_of_date"].cast(pa.date32())
    latest = pc.unique(days).sort(order="descending").slice(0, settings.most_dates)
    row = pa.array(np.arange(table.num_rows))
    table = table.append_column(_ROW, row).filter(pc.is_in(days, value_set=latest))
    table = table.take(pc.sort_indices(table, [("as_of_date", "ascending"), ("user_id", "ascending")]))
    churned = table["churned"].cast(pa.int8()).to_numpy()
    _check_labels(churned, settings, stage)

    categories = {name: category_codes(table[name]) for name in texts}
    target = np.full(len(row), -1, np.int64)
    target[table[_ROW].to_numpy()] = np.arange(table.num_rows)
    numbers = _read_numbers(source, names, texts, target, table.num_rows)
    pa.default_memory_pool().release_unused()  # what the columns took while they were read
    user_ids, days = table["user_id"].cast(pa.string()), table["as_of_date"].cast(pa.date32())
    keys = pa.table({"user_id": user_ids, "as_of_date": days, "churned": churned})
    _, users = category_codes(keys["user_id"])
    dates = keys["as_of_date"].to_numpy().astype("datetime64[D]")
    return TrainingRows(keys, users, dates, churned, names, numbers, categories, label_delay)


def _read_numbers(
    source: Snapshots, names: Sequence[str], texts: Sequence[str], target: Positions, rows: int
) -> Matrix:
    """Return (rows, features) float32: each source row at its target, -1 = left out; categories are NaN."""
    numeric = [name for name in names if name not in texts]
    numbers = _matrix((rows, len(names)))
    start = 0
    for part in source.read(numeric or names[:1]):
        at = target[start : start + part.num_rows]
        start += part.num_rows
        block = np.full((part.num_rows, len(names)), np.nan, np.float32)
        for position, name in enumerate(names):
            if name in numeric:
                block[:, position] = number_values(part[name], name)
        numbers[at[at >= 0]] = block[at >= 0]
    return numbers


def _matrix(shape: tuple[int, int]) -> Matrix:
    if shape[0] * shape[1] < _VALUES_IN_MEMORY:
        return np.empty(shape, np.float32)
    with tempfile.TemporaryFile(prefix="churn-rows-") as file:  # has no name, and lives as long as its map
        return np.memmap(file, np.float32, "w+", shape=shape)


def _check_keys(
    snapshots: pa.Table,
    features: Mapping[str, pa.DataType],
    as_of: date,
    label_delay: timedelta,
    stage: str,
) -> None:
    missing = [name for name in KEYS if name not in snapshots.column_names]
    if missing:
        raise CheckError(stage, [f"the training snapshots lack the column {name!r}" for name in missing])
    nulls = {name: snapshots[name].null_count for name in KEYS}
    failures = [f"{count:,} training rows have no {name}" for name, count in nulls.items() if count]
    if not features:
        failures.append("the training snapshots have no feature columns")
    for name, type_ in features.items():
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
