"""Faults of real tables: missing values written as text, unknown users, repeated rows."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Texts = NDArray[np.object_]

MISSING_TEXTS = ("null", "N/A", "n/a", "")
UNKNOWN_USERS = 0.005  # rows of users without an account, per row of a user with one
MISSING_IDS = 0.2  # share of them without any id


def draw_missing(rng: np.random.Generator, n: int) -> Texts:
    """Draw n texts that mean "missing"."""
    return np.asarray(np.array(MISSING_TEXTS, dtype=object)[rng.integers(len(MISSING_TEXTS), size=n)])


def replace_by_missing(rng: np.random.Generator, texts: Texts, share: float) -> Texts:
    """Return the texts with a ``share`` of them replaced by texts that mean "missing"."""
    chosen = np.flatnonzero(rng.random(len(texts)) < share)
    result = texts.astype(object)
    result[chosen] = draw_missing(rng, len(chosen))
    return result


def add_unknown_users(rng: np.random.Generator, table: pa.Table) -> pa.Table:
    """Append copies of a few rows whose user id (first column) is unknown or missing."""
    rows = np.flatnonzero(rng.random(table.num_rows) < UNKNOWN_USERS)
    if not len(rows):
        return table
    strangers = np.array([f"x{number:08d}" for number in rng.integers(10**8, size=len(rows))], dtype=object)
    ids = replace_by_missing(rng, strangers, MISSING_IDS)
    copies = table.take(rows).set_column(0, table.schema.field(0), pa.array(ids, pa.string()))
    return pa.concat_tables([table, copies])


def repeat_rows(rng: np.random.Generator, table: pa.Table, share: float) -> pa.Table:
    """Append copies of a ``share`` of the rows."""
    return pa.concat_tables([table, table.take(np.flatnonzero(rng.random(table.num_rows) < share))])
