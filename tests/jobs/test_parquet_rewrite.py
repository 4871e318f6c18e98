"""A file written anew has the rows that were to stay, in order, and is written as it was."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn.jobs.erase.parquet_rewrite import count_rows_of, without_rows_of

USERS = st.lists(st.sampled_from(["a", "b", "c", "ü", "a ", "", None]), max_size=40)


def written(table: pa.Table, rows: int, **options: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=max(1, rows), **options)
    return sink.getvalue()


def anew(content: bytes, values: list[str]) -> tuple[bytes, int]:
    sink = io.BytesIO()
    rows = without_rows_of(io.BytesIO(content), sink, "user_id", pa.array(values, pa.string()))
    return sink.getvalue(), rows


@given(
    users=USERS,
    gone=st.lists(st.sampled_from(["a", "c", "ü", "nobody"]), min_size=1, unique=True),
    rows=st.integers(1, 12),
    large=st.booleans(),
    dictionary=st.booleans(),
    codec=st.sampled_from(["zstd", "snappy", "none"]),
)
def test_the_rows_that_stay_are_those_of_others_in_order(
    users: list[str | None], gone: list[str], rows: int, large: bool, dictionary: bool, codec: str
) -> None:
    ids = pa.array(users, pa.large_string() if large else pa.string())
    table = pa.table({"n": pa.array(range(len(users)), pa.int16()), "user_id": ids}, metadata={"bias": "0.5"})
    content = written(table, rows, compression=codec, use_dictionary=dictionary)
    staying = [user not in gone for user in users]
    expected = table.filter(pa.array(staying, pa.bool_()))
    assert count_rows_of(io.BytesIO(content), "user_id", pa.array(gone, pa.string())) == staying.count(False)
    new, kept = anew(content, gone)
    assert kept == expected.num_rows
    assert pq.ParquetFile(io.BytesIO(new)).read().equals(expected, check_metadata=True)
    again, _ = anew(new, gone)
    assert pq.ParquetFile(io.BytesIO(again)).read().equals(expected, check_metadata=True)


@pytest.mark.parametrize("codec", ["zstd", "snappy", "gzip", "none"])
@pytest.mark.parametrize("dictionary", [False, True, ["user_id"]])
@pytest.mark.parametrize("statistics", [False, True, ["user_id"]])
def test_a_file_is_written_as_it_was(
    codec: str, dictionary: bool | list[str], statistics: bool | list[str]
) -> None:
    table = pa.table({"user_id": ["a", "b", "c", "d"] * 5, "x": pa.array(range(20), pa.float32())})
    old = written(table, 6, compression=codec, use_dictionary=dictionary, write_statistics=statistics)
    new, _ = anew(old, ["a"])
    told = [pq.ParquetFile(io.BytesIO(content)).metadata for content in (old, new)]
    assert [meta.format_version for meta in told] == [told[0].format_version] * 2
    assert [told[1].row_group(index).num_rows for index in range(4)] == [4, 5, 4, 2]
    for was, now in zip(*([meta.row_group(0).column(i) for i in range(2)] for meta in told), strict=True):
        assert (now.compression, now.is_stats_set) == (was.compression, was.is_stats_set)
        assert set(now.encodings) == set(was.encodings)


@pytest.mark.parametrize("large", [False, True])
def test_no_byte_of_the_new_file_holds_a_value_that_went(large: bool) -> None:
    """Neither a page nor the statistics nor a dictionary: Arrow keeps all words of one when rows are left out."""
    ids = pa.array(
        [f"canary-{n}" if n % 3 else f"user-{n}" for n in range(60)],
        pa.large_string() if large else pa.string(),
    )
    table = pa.table({"user_id": ids.dictionary_encode(), "again": ids})
    old = written(table, 25, compression="none")
    gone = [value for value in ids.to_pylist() if value.startswith("canary")]
    new, _ = anew(old, gone)
    assert b"canary" in old
    assert b"canary" not in new
    read = pq.ParquetFile(io.BytesIO(new)).read()
    assert read.schema.equals(pq.ParquetFile(io.BytesIO(old)).read().schema)
    assert read["user_id"].to_pylist() == read["again"].to_pylist() == [f"user-{n}" for n in range(0, 60, 3)]
