"""Faults that real tables have: missing values as texts, users whom nobody knows, rows that come twice."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Texts = NDArray[np.object_]

MISSING = ("null", "N/A", "n/a", "")
STRANGERS = 0.005  # rows of a user without an account, for each row of one with an account
NAMELESS = 0.2  # share of those that have no id at all


def missing(rng: np.random.Generator, n: int) -> Texts:
    """Draw n of the texts that mean "missing"."""
    return np.asarray(np.array(MISSING, dtype=object)[rng.integers(len(MISSING), size=n)])


def blank(rng: np.random.Generator, texts: Texts, share: float) -> Texts:
    """The texts, a ``share`` of them replaced by one that means "missing"."""
    gone = np.flatnonzero(rng.random(len(texts)) < share)
    blanked = texts.astype(object)
    blanked[gone] = missing(rng, len(gone))
    return blanked


def with_strangers(rng: np.random.Generator, table: pa.Table) -> pa.Table:
    """Copies of a few rows follow under user ids (first column) that no account has, or that are missing."""
    rows = np.flatnonzero(rng.random(table.num_rows) < STRANGERS)
    if not len(rows):
        return table
    strangers = np.array([f"x{number:08d}" for number in rng.integers(10**8, size=len(rows))], dtype=object)
    ids = blank(rng, strangers, NAMELESS)
    copies = table.take(rows).set_column(0, table.schema.field(0), pa.array(ids, pa.string()))
    return pa.concat_tables([table, copies])


def with_repeats(rng: np.random.Generator, table: pa.Table, share: float) -> pa.Table:
    """A ``share`` of the rows comes twice."""
    return pa.concat_tables([table, table.take(np.flatnonzero(rng.random(table.num_rows) < share))])
