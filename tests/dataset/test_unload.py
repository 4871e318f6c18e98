"""How large scoring partitions are; what they hold is tested with the SQL that fills them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn.dataset.unload import partition_size

ROWS = st.integers(0, 50_000_000)
FEATURES = st.integers(1, 5_000)
WORKERS = st.integers(1, 500)
LARGEST_FILE = 96_000_000


def partitions(rows: int, features: int, workers: int) -> int:
    return -(-rows // partition_size(rows, features, workers))


@pytest.mark.parametrize(
    ("rows", "features", "workers", "expected"),
    [
        (0, 150, 2, 1),
        (73, 150, 2, 73),  # one partition
        (9_999, 150, 2, 9_999),  # two would be too small
        (10_000, 150, 2, 5_000),
        (80_000, 150, 2, 10_000),  # four a worker
        (1_000_000, 150, 2, 125_000),
        (3_000_000, 150, 2, 157_895),  # 19 instead of 8, or files would pass 96 MB
        (3_000_000, 150, 16, 46_875),
        (1_000_000, 3_000, 2, 8_000),
    ],
)
def test_examples(rows: int, features: int, workers: int, expected: int) -> None:
    assert partition_size(rows, features, workers) == expected


@given(rows=ROWS, features=FEATURES, workers=WORKERS)
def test_no_partition_has_an_unwieldy_file_and_none_is_needlessly_small(
    rows: int, features: int, workers: int
) -> None:
    size = partition_size(rows, features, workers)
    assert size >= 1
    assert size * features * 4 <= LARGEST_FILE
    # Smaller than the floor only where there are fewer rows, or where files would get too large.
    assert size >= min(rows, 5_000, LARGEST_FILE // (4 * features) // 2)


@given(rows=ROWS, features=FEATURES, workers=WORKERS)
def test_there_are_several_partitions_for_each_worker_where_there_are_rows_enough(
    rows: int, features: int, workers: int
) -> None:
    if rows >= 4 * workers * 5_000:
        # Rounding to equal sizes may spare one in a few hundred.
        assert partitions(rows, features, workers) >= 4 * workers * 0.99 - 1


@given(rows=ROWS, more=st.integers(0, 1_000_000), features=FEATURES, workers=WORKERS)
def test_more_of_anything_never_makes_notably_fewer_partitions(
    rows: int, more: int, features: int, workers: int
) -> None:
    before = partitions(rows, features, workers) * 0.99 - 1
    assert partitions(rows + more, features, workers) >= before
    assert partitions(rows, features + more % 1_000, workers) >= before
    assert partitions(rows, features, workers + more % 100) >= before
