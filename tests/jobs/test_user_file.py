"""The file of users to erase: every id as it stands, in each format, and nobody else's."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from churn.core.errors import UsageError
from churn.jobs.erase.user_file import read_users

ODD = [
    " lead",
    "trail ",
    "new\nline",
    "cr\rlf\r\n",
    'quo"te, comma',
    "\ttab",
    "x" * 200_000,
    "ж" * 250,
    "a\u2028b",
]
SECRET = "u-secret"


def as_csv(path: Path, users: Sequence[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([user] for user in users)


def as_csv_of_columns(path: Path, users: Sequence[str]) -> None:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([["asked_on", "user_id"], *(["2026-01-01", user] for user in users)])


def as_json_lines(path: Path, users: Sequence[str]) -> None:
    path.write_text("\n".join(json.dumps(user) for user in users) + "\n\n", "utf-8")


def as_json_objects(path: Path, users: Sequence[str]) -> None:
    path.write_text("".join(json.dumps({"reader_id": user, "why": 1}) + "\r\n" for user in users), "utf-8")


def as_parquet(path: Path, users: Sequence[str]) -> None:
    pq.write_table(pa.table({"who": [*users, None]}), path)


def as_parquet_of_columns(path: Path, users: Sequence[str]) -> None:
    pq.write_table(pa.table({"why": [1] * len(users), "user_id": pa.array(users, pa.large_string())}), path)


FORMATS: Mapping[str, Callable[[Path, Sequence[str]], None]] = {
    "one.csv": as_csv,
    "columns.CSV": as_csv_of_columns,
    "lines.jsonl": as_json_lines,
    "objects.ndjson": as_json_objects,
    "one.parquet": as_parquet,
    "columns.parquet": as_parquet_of_columns,
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_holds_every_id_that_there_can_be(tmp_path: Path, name: str) -> None:
    FORMATS[name](tmp_path / name, ODD)
    assert read_users(tmp_path / name, "reader_id") == ODD


def test_text_is_one_id_a_line_with_its_blanks(tmp_path: Path) -> None:
    path = tmp_path / "users.txt"
    path.write_bytes("\ufeffu1\r\n\r\n  u2 \n\t\nü3\rx\n\u2028y\u2028\n123".encode())
    assert read_users(path) == ["u1", "  u2 ", "ü3\rx", "\u2028y\u2028", "123"]


def test_a_csv_file_may_be_a_plain_list(tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_text("u1\nu2\n\nu3")
    assert read_users(path) == ["u1", "u2", "u3"]


def test_numbers_in_json_are_their_digits(tmp_path: Path) -> None:
    path = tmp_path / "users.json"
    path.write_text('123\n{"user_id": 4}\n')
    assert read_users(path) == ["123", "4"]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("users.txt", b"\n \n", "holds no user id"),
        ("users.txt", b"u-secret\xff", "not UTF-8"),
        ("users.csv", b"\xffu-secret", "not UTF-8"),
        ("users.csv", b'"u-secret', "no CSV file"),
        ("users.csv", b"a,b\nu-secret,1\n", "several columns, and none is called user_id"),
        ("users.csv", b"user_id,b\nu-secret\n", "row 2: 1 fields, but the first row has 2"),
        ("users.csv", b"", "holds no user id"),
        ("users.jsonl", b'"a"\nu-secret\n', "line 2: neither a JSON text"),
        ("users.jsonl", b'{"id": "u-secret"}\n', "line 1: neither a JSON text"),
        ("users.jsonl", b'["u-secret"]\n', "line 1: neither a JSON text"),
        ("users.jsonl", b"true\n", "line 1: neither a JSON text"),
        ("users.jsonl", b"1.5\n", "line 1: neither a JSON text"),
        ("users.jsonl", b"[" * 100_000, "line 1: neither a JSON text"),
        ("users.parquet", b"u-secret", "no Parquet file"),
        ("users.parquet", b"", "no Parquet file"),
    ],
)
def test_what_cannot_be_read_is_refused_without_an_id(
    tmp_path: Path, name: str, content: bytes, told: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UsageError, match=told) as refused:
        read_users(path)
    assert SECRET not in str(refused.value)


def test_a_parquet_file_of_other_columns_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": ["x"], "b": ["y"]}), tmp_path / "users.parquet")
    with pytest.raises(UsageError, match="has no column user_id"):
        read_users(tmp_path / "users.parquet")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for name in ("none.txt", "none.csv", "none.jsonl", "none.parquet"):
        with pytest.raises(UsageError, match="No such file"):
            read_users(tmp_path / name)
    with pytest.raises(UsageError, match="Is a directory"):
        read_users(tmp_path)
