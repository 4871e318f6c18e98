"""Values of any size: kept exactly enough, their sums held, or refused when they come in."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from churn.config.load import load_settings
from churn.core.errors import ChurnError
from churn.core.values import highest_sum
from churn.sources.ingest import Ingested, ingest

DAY = datetime(2026, 6, 22, 9, 30)


def take(tmp_path: Path, values: Sequence[float], users: Sequence[str] = ()) -> Ingested:
    columns = {
        "user_id": list(users) or ["a"] * len(values),
        "occurred_at": pa.array([DAY] * len(values), pa.timestamp("us")),
        "value": values,
    }
    pq.write_table(pa.table(columns), tmp_path / "log.parquet")
    done = ingest(tmp_path / "log.parquet", tmp_path / "data", columns={})
    assert load_settings(tmp_path / "data", tmp_path / "out").value_decimals == done.value_decimals
    return done


def refused(tmp_path: Path, values: Sequence[float], users: Sequence[str] = ()) -> str:
    with pytest.raises(ChurnError) as caught:
        take(tmp_path, values, users)
    assert not (tmp_path / "data").exists()
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "decimals"),
    [
        ([1.0, 0.5, 1800.0], 4),
        ([0.0, 0.0], 4),
        ([0.01, 19.99], 4),
        ([0.0003], 4),  # exact with four
        ([1 / 3], 4),  # a thousandth is near enough
        ([0.00002, 0.00004], 5),
        ([0.000023456], 8),
        ([1e-9, 5e5], 9),
        ([1.234e-12], 12),  # as many as there are
        ([9e9] * 11, 4),
        ([9e9] * 12, 3),
        ([9e9] * 12000, 0),
        ([9e9] * 12 + [0.002], 3),
    ],
)
def test_decimals_follow_the_smallest_value_and_the_largest_sum(
    tmp_path: Path, values: list[float], decimals: int
) -> None:
    done = take(tmp_path, values)
    assert done.value_decimals == decimals
    assert sum(values) < highest_sum(decimals)
    for value in set(values):
        assert round(value, decimals) == pytest.approx(value, rel=0.2)


def test_sums_of_different_people_are_not_added_up(tmp_path: Path) -> None:
    assert take(tmp_path, [9e9] * 50, [f"u{number}" for number in range(50)]).value_decimals == 4


def test_values_that_would_count_as_nothing_beside_large_sums_are_refused(tmp_path: Path) -> None:
    message = refused(tmp_path, [*[9e9] * 12000, 0.2, 0.3])
    assert "2 of 12,002 rows have a value above 0 that would count as 0" in message
    assert "hold no smaller values beside it than 1." in message
    assert "row 12001 ('0.2'), row 12002 ('0.3')" in message


def test_values_below_all_decimals_are_refused(tmp_path: Path) -> None:
    assert "1 of 2 rows have a value above 0 that would count as 0" in refused(tmp_path, [1.0, 1e-13])


def test_the_noise_of_floats_counts_as_nothing_and_is_told_of(tmp_path: Path) -> None:
    done = take(tmp_path, [4.4e-16, *[2.5] * 200])
    assert done.value_decimals == 4
    assert done.adjusted == (("value below 10^-12 of the usual one, counts as 0", 1),)


def test_small_values_beside_a_bot_are_no_noise(tmp_path: Path) -> None:
    message = refused(tmp_path, [*[9e9] * 12000, *[1e-5] * 1000])
    assert "1,000 of 13,000 rows have a value above 0 that would count as 0" in message


def test_users_whose_sums_no_decimals_hold_are_counted(tmp_path: Path) -> None:
    users = ["bot"] * 112_000 + ["spider"] * 112_000 + ["a"]
    message = refused(tmp_path, [9e9] * 224_000 + [1.0], users)
    assert "2 users have values that add up to 1e+15 or more in a week" in message
    assert "bot" not in message


def test_too_small_values_are_listed_with_other_faults(tmp_path: Path) -> None:
    message = refused(tmp_path, [float("inf"), -1.0, 1e-13, 1.0])
    for said in ("not finite", "negative value", "1 of 4 rows have a value above 0"):
        assert said in message
