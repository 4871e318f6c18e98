"""Segments of the report: totals by part of the audience."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn.outputs.report.segments import FEATURES, LEAST_USERS, SegmentTotals

TEXTS = st.one_of(st.none(), st.sampled_from("abcdefghijkl"))
NUMBERS = st.one_of(st.none(), st.integers(0, 3_000))


def shown(
    values: dict[str, pa.Array], probability: list[float]
) -> dict[str, dict[str, tuple[int, float | None]]]:
    totals = SegmentTotals()
    totals.add(pa.table(values), np.array(probability))
    return {
        segment.title: {row.name: (row.users, row.mean_probability) for row in segment.rows}
        for segment in totals.segments()
    }


def test_users_are_divided_by_age_nation_device_and_tenure() -> None:
    n = LEAST_USERS
    found = shown(
        {
            "age": pa.array([15] * n + [16] * n + [70] * n + [None] * n, pa.int32()),
            "nation": pa.array(["wales"] * 2 * n + ["england"] * 2 * n),
            "preferred_device": pa.array(["tv"] * 3 * n + [None] * n).dictionary_encode(),
            "tenure_days": pa.array([27] * n + [28] * n + [364] * n + [5_000] * n, pa.int32()),
        },
        [0.1] * n + [0.2] * n + [0.3] * n + [0.4] * n,
    )
    assert found["Age group"]["under 16"] == (n, pytest.approx(0.1))
    assert found["Age group"]["16 to 24"] == (n, pytest.approx(0.2))
    assert found["Age group"]["25 to 34"] == (0, None)
    assert found["Age group"]["unknown"] == (n, pytest.approx(0.4))
    assert list(found["Age group"])[-1] == "unknown"
    assert found["Nation"]["wales"] == (2 * n, pytest.approx(0.15))
    assert found["Main device"] == {"tv": (3 * n, pytest.approx(0.2)), "unknown": (n, pytest.approx(0.4))}
    assert found["First seen"]["under 4 weeks ago"] == (n, pytest.approx(0.1))
    assert found["First seen"]["4 to 12 weeks ago"] == (n, pytest.approx(0.2))
    assert found["First seen"]["over 3 years ago"] == (n, pytest.approx(0.4))


def test_a_part_with_few_users_shows_no_mean_and_small_categories_are_added_up() -> None:
    found = shown({"nation": pa.array(["wales"] * 30 + ["x", "y"])}, [0.5] * 32)
    assert found["Nation"] == {"wales": (30, pytest.approx(0.5)), "all others": (2, None)}


def test_a_feature_without_any_value_makes_no_segment() -> None:
    assert shown({"age": pa.nulls(20, pa.int32())}, [0.5] * 20) == {}


@given(st.lists(st.tuples(TEXTS, NUMBERS, st.floats(0, 1)), min_size=1, max_size=60), st.integers(1, 59))
def test_every_user_is_in_one_part_of_each_segment_however_partitions_are_cut(
    rows: list[tuple[str | None, int | None, float]], cut: int
) -> None:
    texts, numbers, probabilities = (list(column) for column in zip(*rows, strict=True))
    values = {
        name: pa.array(texts, pa.string())
        if name in ("nation", "preferred_device")
        else pa.array(numbers, pa.int32())
        for name in FEATURES
    }
    whole, pieces = SegmentTotals(), SegmentTotals()
    whole.add(pa.table(values), np.array(probabilities))
    pieces.add(pa.table(values).slice(0, cut), np.array(probabilities[:cut]))
    pieces.add(pa.table(values).slice(cut), np.array(probabilities[cut:]))
    for segment, other in zip(whole.segments(), pieces.segments(), strict=True):
        assert sum(row.users for row in segment.rows) == len(rows)
        assert [(row.name, row.users) for row in segment.rows] == [
            (row.name, row.users) for row in other.rows
        ]
