"""One user's rows, from the files and row groups that may hold them."""

import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem

from churn.lake.one_user import find_user, user_rows

FS = LocalFileSystem()


@pytest.fixture
def folder(tmp_path):
    """Two files of three row groups each; the second user of each group has two rows."""
    for part in range(2):
        ids = [f"u{part}{group}{row}" for group in range(3) for row in (0, 1, 1, 2)]
        table = pa.table({"user_id": ids, "value": pa.array(range(12), pa.int32()), "other": ["x"] * 12})
        pq.write_table(table, tmp_path / f"part-{part:05d}.parquet", row_group_size=4)
    return tmp_path


def test_a_user_is_found_in_the_file_and_group_that_has_them(folder):
    for part in range(2):
        for group in range(3):
            found = find_user(FS, str(folder), f"u{part}{group}2", ["value", "missing"])
            assert found == (f"part-{part:05d}.parquet", {"value": 4 * group + 3})


def test_all_rows_of_a_user_come_in_the_order_of_the_file(folder):
    rows = user_rows(FS, str(folder / "part-00001.parquet"), "u111", None)
    assert rows == [{"user_id": "u111", "value": value, "other": "x"} for value in (5, 6)]


def test_an_unknown_user_is_nowhere_also_within_the_range_of_a_group(folder):
    assert find_user(FS, str(folder), "u0015", ["value"]) is None
    assert find_user(FS, str(folder), "", ["value"]) is None
    assert find_user(FS, str(folder), "z", ["value"]) is None


def test_files_without_statistics_are_read(tmp_path):
    table = pa.table({"user_id": ["é", "b", "a"], "value": [1, 2, 3]})
    pq.write_table(table, tmp_path / "part-00000.parquet", write_statistics=False)
    assert find_user(FS, str(tmp_path), "é", ["value"]) == ("part-00000.parquet", {"value": 1})


def test_an_empty_folder_and_a_damaged_file_are_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="no Parquet file"):
        find_user(FS, str(tmp_path), "a", ["value"])
    (tmp_path / "part-00000.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(pa.ArrowInvalid):
        find_user(FS, str(tmp_path), "a", ["value"])


@pytest.mark.process
def test_pandas_is_not_imported(folder):
    program = (
        "import sys; from fsspec.implementations.local import LocalFileSystem; "
        "from churn.lake.one_user import find_user; "
        "print(find_user(LocalFileSystem(), sys.argv[1], 'u001', ['value'])[1], 'pandas' in sys.modules)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, folder], capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "{'value': 1} False"
