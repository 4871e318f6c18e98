"""Files as exports make them: cut off, packed, mixed, with lines above the header, or with different types."""

import gzip
import os
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from churn.core.errors import ChurnError
from churn.sources.ingest import Ingested, ingest

DAY = datetime(2026, 6, 22, 9, 30)
TIMES = pa.array([DAY], pa.timestamp("us"))
HEADER = "user_id,occurred_at,note\n"


def rows(count: int, first: int = 0) -> str:
    return "".join(f"u{number},2026-06-22,{number * 7919 % 1000}\n" for number in range(first, first + count))


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def parquet(path: Path, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"user_id": ["x"], "occurred_at": TIMES} | columns), path)
    return path


def take(source: Path, tmp_path: Path, **columns: str) -> Ingested:
    return ingest(source, tmp_path / "data", columns=columns)


def table(tmp_path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(tmp_path / "data" / "tables" / "events.activity").to_pylist()
    return rows


def refused(source: Path, tmp_path: Path) -> str:
    with pytest.raises(ChurnError) as caught:
        take(source, tmp_path)
    assert not (tmp_path / "data").exists()
    return str(caught.value)


# Compression


def cut_in_the_middle(packed: bytes) -> bytes:
    return packed[: len(packed) // 2]


def without_trailer(packed: bytes) -> bytes:
    return packed[:-8]


def wrong_checksum(packed: bytes) -> bytes:
    return packed[:-6] + bytes([packed[-6] ^ 255]) + packed[-5:]


def second_member_cut(packed: bytes) -> bytes:
    return packed + gzip.compress(rows(500, 500).encode())[:-9]


def second_header_cut(packed: bytes) -> bytes:
    return packed + b"\x1f\x8b\x08\x00"


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (cut_in_the_middle, "incomplete"),
        (without_trailer, "incomplete"),
        (wrong_checksum, "damaged"),
        (second_member_cut, "incomplete"),
        (second_header_cut, "incomplete"),
    ],
)
def test_gzip_that_breaks_off_is_refused_in_any_file_of_a_folder(
    tmp_path: Path, spoil: Callable[[bytes], bytes], says: str
) -> None:
    write(tmp_path / "log" / "a.csv.gz", gzip.compress((HEADER + rows(20)).encode()))
    bad = write(tmp_path / "log" / "b.csv.gz", spoil(gzip.compress((HEADER + rows(500)).encode())))
    message = refused(tmp_path / "log", tmp_path)
    assert f"{bad} is {says}" in message
    assert "a.csv.gz" not in message


@pytest.mark.parametrize("ending", [".csv.gz", ".tsv.gz", ".csv.zst"])
def test_packed_files_are_read_whole(tmp_path: Path, ending: str) -> None:
    one, two = (HEADER + rows(1000)).encode(), rows(1000, 1000).encode()
    if ending.endswith(".zst"):
        packed = pa.compress(one + two, codec="zstd", asbytes=True)
    else:
        packed = gzip.compress(one) + gzip.compress(two)
    assert take(write(tmp_path / f"log{ending}", packed), tmp_path).users == 2000


def test_zstandard_that_breaks_off_is_refused(tmp_path: Path) -> None:
    packed = pa.compress((HEADER + rows(5000)).encode(), codec="zstd", asbytes=True)
    message = refused(write(tmp_path / "log.csv.zst", packed[: len(packed) // 2]), tmp_path)
    assert "log.csv.zst is incomplete: its zstd data break off" in message


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv.gz", (HEADER + rows(3)).encode(), "not readable as gzip"),
        ("a.csv", gzip.compress((HEADER + rows(3)).encode(), mtime=0), "let its name end in .gz"),
        ("a.csv", b"PK\x03\x04rest", "Excel workbook"),
        ("a.csv", b"PAR1", "is Parquet, not a CSV file"),
        ("a.csv", zlib.compress(os.urandom(500)), "a.csv"),
        ("a.csv", (HEADER + rows(3)).encode("utf-16-le"), "UTF-16 without a mark"),
        ("a.parquet", (HEADER + rows(3)).encode(), "not readable as Parquet"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    assert says in refused(write(tmp_path / name, content), tmp_path)


def test_parquet_that_breaks_off_is_refused_with_every_file_named(tmp_path: Path) -> None:
    whole = parquet(tmp_path / "log" / "a.parquet", user_id=["x"]).read_bytes()
    write(tmp_path / "log" / "b.parquet", whole[:-5])
    write(tmp_path / "log" / "c.parquet", whole[: len(whole) // 2])
    message = refused(tmp_path / "log", tmp_path)
    assert "b.parquet is not readable as Parquet: it is incomplete or damaged" in message
    assert "c.parquet is not readable" in message


def test_parquet_with_damaged_pages_is_refused_with_the_file_and_no_row(tmp_path: Path) -> None:
    parquet(tmp_path / "log" / "a.parquet")
    names = [f"canary{number * 2654435761 % 2**32:x}" for number in range(5000)]
    times = pa.array([DAY] * 5000, pa.timestamp("us"))
    bad = parquet(tmp_path / "log" / "b.parquet", user_id=names, occurred_at=times)
    data = bytearray(bad.read_bytes())
    data[200:4000] = bytes(3800)
    bad.write_bytes(bytes(data))
    message = refused(tmp_path / "log", tmp_path)
    assert f"{bad} cannot be read" in message
    assert "canary" not in message
    assert "a.parquet" not in message


# Text


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_marked_encodings_are_read(tmp_path: Path, encoding: str) -> None:
    take(write(tmp_path / "log.csv", (HEADER + "zoë,2026-06-22,ü\n").encode(encoding)), tmp_path)
    assert table(tmp_path)[0]["user_id"] == "zoë"


def test_utf16_that_breaks_off_is_refused(tmp_path: Path) -> None:
    content = (HEADER + rows(5)).encode("utf-16")
    assert "UTF-16 text cannot be decoded" in refused(write(tmp_path / "log.csv", content[:-1]), tmp_path)


@pytest.mark.parametrize(
    "ends",
    [
        ("\r\n", "\r\n", "\n"),
        ("\n", "\r\n", "\n"),
        ("\n", "\r", "\r\n"),
        ("\r", "\r", "\r"),
        ("\r\n", "\r", "\r"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_line_ends_of_any_kind_may_mix(tmp_path: Path, ends: tuple[str, str, str], packed: bool) -> None:
    content = (
        f'user_id,occurred_at,device{ends[0]}p1,2026-06-22,"t{ends[2]}v"{ends[1]}p2,2026-06-23,tv{ends[2]}'
    )
    data = gzip.compress(content.encode()) if packed else content
    take(write(tmp_path / ("log.csv" + ".gz" * packed), data), tmp_path)
    assert [(row["user_id"], row["occurred_at"].day) for row in table(tmp_path)] == [("p1", 22), ("p2", 23)]
    assert table(tmp_path)[1]["device"] == "tv"


def test_mixed_line_ends_beyond_the_first_block_are_read(tmp_path: Path) -> None:
    content = HEADER + rows(60_000) + rows(60_000, 60_000).replace("\n", "\r\n")
    assert take(write(tmp_path / "log.csv", content), tmp_path).users == 120_000


@pytest.mark.parametrize(
    "above",
    [
        "sep=,\n",
        "SEP=,\r\n",
        "\ufeffsep=,\n",
        "# a report, of June\n#\n\n",
        "# ----\n# Audience\n# 20260601-20260630\n# ----\n\n",
        "\n\n",
        'sep=,\n# "open quote\n',
    ],
)
def test_lines_above_the_header_are_passed_over(tmp_path: Path, above: str) -> None:
    done = take(write(tmp_path / "log.csv", above + HEADER + rows(3)), tmp_path)
    assert (done.users, done.unused) == (3, ("note",))


def test_the_separator_line_decides(tmp_path: Path) -> None:
    content = "sep=;\nuser_id;occurred_at;a,b,c,d\nx;2026-06-22;1,2,3,4\n"
    assert take(write(tmp_path / "log.csv", content), tmp_path).unused == ("a,b,c,d",)


def test_a_tab_may_be_the_separator(tmp_path: Path) -> None:
    log = write(tmp_path / "log.csv", "sep=\t\nuser_id\toccurred_at\nx\t2026-06-22\n")
    assert take(log, tmp_path).rows == 1


def test_a_field_beyond_the_limit_is_named(tmp_path: Path) -> None:
    content = f'{HEADER}a,2026-06-22,"{"x" * 65_000_000}"\nb,2026-06-22,y\n'
    message = refused(write(tmp_path / "log.csv", content), tmp_path)
    assert "in line 2 a field is longer than 64 million characters" in message
    assert "xx" not in message


def test_a_column_of_ids_that_is_taken_for_times_is_not_shown(tmp_path: Path) -> None:
    log = write(tmp_path / "log.csv", "uid,ts\ncanary17,2026-06-22\ncanary18,2026-06-22\n")
    with pytest.raises(ChurnError) as caught:
        take(log, tmp_path, user_id="ts", occurred_at="uid")
    assert "2 of 2 rows have a time that cannot be read" in str(caught.value)
    assert "row 1 ('aaaaaa99')" in str(caught.value)
    assert "canary" not in str(caught.value)


def test_a_header_may_start_with_a_hash(tmp_path: Path) -> None:
    take(write(tmp_path / "log.csv", "#uid,ts\nx,2026-06-22\n"), tmp_path, user_id="#uid", occurred_at="ts")
    assert table(tmp_path)[0]["user_id"] == "x"


@pytest.mark.parametrize(
    ("above", "says"),
    [
        ("Monthly report\n", "it has 1 field, and the lines below it have 3"),
        ("Report, June 2026\n", "it has 2 fields, and the lines below it have 3"),
        ("Monthly report\nMade on 1 July\n\n", "it has 1 field, and the lines below it have 3"),
    ],
)
def test_a_title_above_the_header_is_refused_with_its_line(tmp_path: Path, above: str, says: str) -> None:
    message = refused(write(tmp_path / "log.csv", above + HEADER + rows(5)), tmp_path)
    assert message.startswith(f"line 1 of {tmp_path}/log.csv does not name the columns")
    assert says in message
    assert "Remove the lines above the header" in message


def test_a_long_line_is_read(tmp_path: Path) -> None:
    content = f'{HEADER}a,2026-06-22,"{"x" * 3_000_000}"\nb,2026-06-22,y\n'
    assert take(write(tmp_path / "log.csv", content), tmp_path).users == 2


def test_faulty_lines_are_listed_with_other_faults_in_our_words_and_without_ids(tmp_path: Path) -> None:
    content = (
        'user_id,occurred_at,value\ncanary1,2026-06-22,"1\n2"\ncanary2,2026-06-22\ncanary3\n'
        "canary4,2026-06-22,1,2\ncanary5,2026-06-22,-1\n"
    )
    log = write(tmp_path / "log.csv", content)
    message = refused(log, tmp_path)
    assert f"{log}: 2 lines have fewer fields than the header's 3" in message
    assert "lines 4, 5" in message
    assert f"{log}: 1 line has more fields than the header's 3" in message
    assert "line 6\n" in message
    assert "1 of 2 rows have a negative value" in message
    for word in ("canary", "Possible", "CSV Error", "Expected"):
        assert word not in message


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "line", ['canary,2026-06-22,"open', 'canary,2026-06-22,"5" disk"', '"canary,2026-06-22,x']
)
def test_a_quote_that_is_not_closed_is_named_with_its_line(tmp_path: Path, line: str, packed: bool) -> None:
    content = f'{HEADER}a,2026-06-22,"two\nlines"\n{rows(40)}{line}\n{rows(4000)}'
    log = write(tmp_path / ("a.csv" + ".gz" * packed), gzip.compress(content.encode()) if packed else content)
    message = refused(log, tmp_path)
    assert f"{log}: in line 44 a double quote opens a field and does not close it" in message
    assert "canary" not in message


def test_text_that_is_not_utf8_is_named_with_its_line(tmp_path: Path) -> None:
    content = f"{HEADER}{rows(9)}café,2026-06-22,x\n".encode("latin-1")
    message = refused(write(tmp_path / "log.csv", content), tmp_path)
    assert "log.csv is not UTF-8 text in line 11" in message
    late = (HEADER + rows(90_000)).encode() + "café,2026-06-22,x\n".encode("latin-1")
    message = refused(write(tmp_path / "late.csv", late), tmp_path)
    assert "1 line is not UTF-8 text" in message
    assert "line 90,002" in message


# Columns


def test_columns_that_are_not_used_may_repeat_and_are_named(tmp_path: Path) -> None:
    content = "user_id,occurred_at,x,x,,\nu,2026-06-22,1,2,3,4\n"
    assert take(write(tmp_path / "log.csv", content), tmp_path).unused == ("x", "")
    content = "user_id,occurred_at,value,value\nu,2026-06-22,1,2\n"
    assert "names a column twice: 'value'" in refused(
        write(tmp_path / "b" / "log.csv", content), tmp_path / "b"
    )


def test_csv_files_may_differ_in_columns_that_are_not_used(tmp_path: Path) -> None:
    write(tmp_path / "log" / "1.csv", "user_id,occurred_at,a\nx,2026-06-22,1\n")
    write(tmp_path / "log" / "2.csv", "b,user_id,occurred_at\n1,y,2026-06-22\n")
    done = take(tmp_path / "log", tmp_path)
    assert (done.users, done.unused) == (2, ("a", "b"))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_folder_names_are_columns_of_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    for name in ("01", "radio%204"):
        path = tmp_path / "log" / f"product={name}" / f"day=2026-06-22/a.{kind}"
        if kind == "csv":
            write(path, f"user_id,occurred_at\nx{name[:2]},2026-06-22\n")
        else:
            parquet(path, user_id=[f"x{name[:2]}"])
    done = take(tmp_path / "log", tmp_path)
    assert {row["product"] for row in table(tmp_path)} == {"01", "radio 4"}
    assert done.unused == ("day",)


def test_folders_that_lack_a_wanted_column_are_named(tmp_path: Path) -> None:
    parquet(tmp_path / "log" / "product=tv" / "a.parquet")
    parquet(tmp_path / "log" / "rest" / "a.parquet")
    message = refused(tmp_path / "log", tmp_path)
    assert "rest/a.parquet lacks the column 'product' that other files" in message


# Types that differ between files


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (pa.array([7], pa.int32()), pa.array([2**40], pa.int64()), ["7", str(2**40)]),
        (pa.array([7], pa.uint8()), pa.array([-7], pa.int64()), ["7", "-7"]),
        (pa.array([2**64 - 1], pa.uint64()), pa.array([-7], pa.int8()), [str(2**64 - 1), "-7"]),
        (pa.array([Decimal(7)], pa.decimal128(10, 0)), pa.array([2**40], pa.int64()), ["7", str(2**40)]),
        (pa.array(["a"]), pa.array(["b"]).dictionary_encode(), ["a", "b"]),
        (pa.array(["a"]), pa.array(["b"], pa.large_string()), ["a", "b"]),
    ],
)
def test_ids_of_different_widths_are_read_together(
    tmp_path: Path, first: Any, second: Any, expected: list[str]
) -> None:
    parquet(tmp_path / "log" / "a.parquet", user_id=first)
    parquet(tmp_path / "log" / "b.parquet", user_id=second)
    take(tmp_path / "log", tmp_path)
    assert {row["user_id"] for row in table(tmp_path)} == set(expected)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (
            pa.array([Decimal(12)], pa.decimal128(10, 0)),
            pa.array([Decimal("0.49")], pa.decimal128(10, 2)),
            [0.49, 12],
        ),
        (pa.array([12], pa.int16()), pa.array([0.49]), [0.49, 12]),
        (pa.array([12], pa.int64()), pa.array([Decimal("0.49")], pa.decimal128(38, 2)), [0.49, 12]),
        (pa.array([0.5], pa.float32()), pa.array([0.1]), [0.1, 0.5]),
        (pa.nulls(1), pa.array([0.1]), [0, 0.1]),
    ],
)
def test_values_of_different_types_are_read_exactly(
    tmp_path: Path, first: Any, second: Any, expected: list[float]
) -> None:
    parquet(tmp_path / "log" / "a.parquet", value=first)
    parquet(tmp_path / "log" / "b.parquet", value=second)
    take(tmp_path / "log", tmp_path)
    assert sorted(row["value"] for row in table(tmp_path)) == expected


def test_times_of_different_units_are_read_together(tmp_path: Path) -> None:
    for unit in ("s", "ms", "ns"):
        parquet(tmp_path / "log" / f"{unit}.parquet", occurred_at=TIMES.cast(pa.timestamp(unit)))
    take(tmp_path / "log", tmp_path)
    assert {row["occurred_at"] for row in table(tmp_path)} == {DAY}


def test_types_that_would_change_ids_are_refused_with_the_files(tmp_path: Path) -> None:
    parquet(tmp_path / "log" / "a.parquet", item_id=[1])
    parquet(tmp_path / "log" / "b.parquet", item_id=[1.0])
    message = refused(tmp_path / "log", tmp_path)
    assert "column 'item_id' is integer in" in message
    assert "but float in" in message


# Ids that name nobody, or have lost digits


def ids(tmp_path: Path, *users: str) -> Path:
    return write(
        tmp_path / "log.csv", "user_id,occurred_at\n" + "".join(f"{user},2026-06-22\n" for user in users)
    )


@pytest.mark.parametrize(
    "user",
    [
        *(
            "00000000-0000-0000-0000-000000000000",
            "0" * 32,
            "0" * 15,
            "F" * 8 + "-ffff-ffff-ffff-" + "f" * 12,
        ),
        *("NA", "n/a", "<NA>", "NaN", "undefined", "(not set)", "None", "nil", "NULL", "[null]", "Anonymous"),
        *("-1", "d41d8cd98f00b204e9800998ecf8427e", "DA39A3EE5E6B4B0D3255BFEF95601890AFD80709"),
    ],
)
def test_placeholders_count_as_no_id(tmp_path: Path, user: str) -> None:
    message = refused(ids(tmp_path, "a", "b", user, "c"), tmp_path)
    assert "1 of 4 rows have no user id (1 " in message
    assert "row 3" in message


def test_placeholders_are_counted_by_kind(tmp_path: Path) -> None:
    message = refused(ids(tmp_path, "a", *["0" * 32] * 5, "NA", "NA", "", "b"), tmp_path)
    assert "8 of 10 rows have no user id (5 all zeros, 2 'NA', 1 empty)" in message


def test_ids_that_only_look_like_placeholders_are_taken(tmp_path: Path) -> None:
    good = [
        "0",
        "1",
        "nancy",
        "nilsson",
        "00000042",
        "f" * 8,
        "unknown-17",
        "0000000a-0000-0000-0000-000000000000",
    ]
    assert take(ids(tmp_path, *good), tmp_path).users == len(good)


@pytest.mark.parametrize("user", ["1.23457E+15", "1e+15", "-1.5e-07", "1.0E15"])
def test_scientific_notation_is_refused(tmp_path: Path, user: str) -> None:
    message = refused(ids(tmp_path, "a", user), tmp_path)
    assert "1 of 2 rows have a user id in scientific notation" in message
    assert user not in message


def test_ids_that_end_in_point_zero_are_refused(tmp_path: Path) -> None:
    message = refused(ids(tmp_path, "12345.0", "12345", "12346.0"), tmp_path)
    assert "2 of 3 rows have a user id that ends in .0" in message
    assert "12345" not in message


def test_ids_with_points_or_exponents_of_their_own_are_taken(tmp_path: Path) -> None:
    good = ["1234567890.1623456789", "17.0", "12345e67", "1e5", "v1.0", "1.e"]
    assert take(ids(tmp_path, *good), tmp_path).users == len(good)


@pytest.mark.parametrize("kind", ["text", "integer"])
def test_long_ids_that_all_end_in_zeros_are_refused(tmp_path: Path, kind: str) -> None:
    rounded = [906_000_000_000_000_000 + number * 1000 for number in range(5)]
    users = pa.array(rounded) if kind == "integer" else pa.array(map(str, rounded))
    times = pa.array([DAY] * 5, pa.timestamp("us"))
    message = refused(parquet(tmp_path / "a.parquet", user_id=users, occurred_at=times), tmp_path)
    assert "5 of 5 rows have a user id of 16 or more digits that ends in 000" in message


def test_long_ids_of_which_some_end_in_zeros_are_taken(tmp_path: Path) -> None:
    users = [906_000_000_000_000_000 + number * 1000 for number in range(5)] + [906_000_000_000_000_001]
    times = pa.array([DAY] * 6, pa.timestamp("us"))
    assert take(parquet(tmp_path / "a.parquet", user_id=users, occurred_at=times), tmp_path).users == 6


def test_one_id_with_an_improbable_share_is_warned_of_without_the_id(tmp_path: Path) -> None:
    log = ids(tmp_path, *["canary"] * 60, *(f"u{number}" for number in range(60)))
    (warning,) = take(log, tmp_path).warnings
    assert warning.startswith("one user id holds 60 of 120 rows (50%)")
    assert "canary" not in warning


def test_an_even_log_is_not_warned_of(tmp_path: Path) -> None:
    log = ids(tmp_path, *(f"u{number % 30}" for number in range(120)), *["u1"] * 8)
    assert take(log, tmp_path).warnings == ()


# Digits that are times


@pytest.mark.parametrize(
    ("digits", "expected"),
    [
        ("2026062109", datetime(2026, 6, 21, 9)),
        ("20260621093015", datetime(2026, 6, 21, 9, 30, 15)),
        ("20260621093015250", datetime(2026, 6, 21, 9, 30, 15, 250_000)),
    ],
)
@pytest.mark.parametrize("number", [False, True])
def test_digits_that_can_only_be_wall_times_are_read(
    tmp_path: Path, digits: str, expected: datetime, number: bool
) -> None:
    done = take(parquet(tmp_path / "a.parquet", occurred_at=[int(digits) if number else digits]), tmp_path)
    assert (done.first, done.times) == (expected, "wall times without a zone, taken as they stand")


@pytest.mark.parametrize("number", [False, True])
def test_digits_that_may_be_an_epoch_of_1976_are_refused(tmp_path: Path, number: bool) -> None:
    written = ["202606211000", "202606211205", "202606999999"]
    users, times = ["a", "b", "c"], [int(text) for text in written] if number else written
    message = refused(parquet(tmp_path / "a.parquet", user_id=users, occurred_at=times), tmp_path)
    assert "digits like yyyymmddHHMM in 2 rows (such as row 1)" in message
    assert "with --time-format %Y%m%d%H%M" in message
    parquet(tmp_path / "a.parquet", user_id=users[:2], occurred_at=times[:2])
    done = ingest(tmp_path / "a.parquet", tmp_path / "data", columns={}, time_format="%Y%m%d%H%M")
    assert (done.first, done.last) == (datetime(2026, 6, 21, 10), datetime(2026, 6, 21, 12, 5))


@pytest.mark.parametrize(
    ("ticks", "says"),
    [(134_267_436_000_000_000, "Windows file times"), (639_179_676_000_000_000, ".NET ticks")],
)
def test_ticks_of_another_origin_are_refused(tmp_path: Path, ticks: int, says: str) -> None:
    assert f"look like {says}" in refused(parquet(tmp_path / "a.parquet", occurred_at=[ticks]), tmp_path)


def test_milliseconds_on_both_sides_of_2001_are_an_epoch(tmp_path: Path) -> None:
    moments = [datetime(1999, 5, 1, 12, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)]
    times = [int(moment.timestamp() * 1000) for moment in moments]
    done = take(parquet(tmp_path / "a.parquet", user_id=["a", "b"], occurred_at=times), tmp_path)
    assert done.first == moments[0].replace(tzinfo=None)


def test_mixed_times_are_listed_with_other_faults_and_a_row_of_each(tmp_path: Path) -> None:
    content = "user_id,occurred_at\nx,2026-06-22\n,2026-06-22\ny,1782171000\n"
    message = refused(write(tmp_path / "log.csv", content), tmp_path)
    assert "mix 2 wall times (such as row 1), 1 Unix seconds (such as row 3)" in message
    assert "1 of 3 rows have no user id (1 empty)" in message


def test_every_wanted_column_of_an_unreadable_log_is_named_at_once(tmp_path: Path) -> None:
    write(tmp_path / "log" / "a.csv", HEADER + rows(3))
    write(tmp_path / "log" / "b.csv", "user_id\nx\n")
    write(tmp_path / "log" / "c.csv", "occurred_at\n2026-06-22\n")
    message = refused(tmp_path / "log", tmp_path)
    assert "b.csv lacks the column 'occurred_at'" in message
    assert "c.csv lacks the column 'user_id'" in message
