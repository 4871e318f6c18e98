"""Parquet files that a warehouse wrote: what does not fit its manifest is refused, and named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from churn.core.errors import RunError
from churn.warehouse.duckdb.client import DuckDBWarehouse
from churn.warehouse.parquet import Writer, checked_files, copy_manifest, inspect_file, read_manifest
from tests.support.data_folders import AS_OF, event, write_table
from tests.support.fixtures_aws import Bucket

SCHEMA = pa.schema([("user_id", pa.string()), ("churned", pa.int8()), ("f", pa.float32())])
WRITTEN = pa.schema([("user_id", pa.string()), ("churned", pa.int16()), ("f", pa.float32())])


def unloaded(folder: Path, **changes: Any) -> tuple[dict[str, Any], str]:
    """Write two files and a manifest as UNLOAD does."""
    prefix = f"{folder}/a_"
    entries = []
    for number, rows in enumerate((3, 2)):
        path = Path(f"{prefix}000{number}_part_00.parquet")
        columns = [["u"] * rows, [1] * rows, [0.5] * rows]
        pq.write_table(pa.table(columns, schema=changes.get("schema", WRITTEN)), path)
        entries.append(
            {"url": str(path), "meta": {"content_length": path.stat().st_size, "record_count": rows}}
        )
    manifest = {
        "entries": entries,
        "schema": {"elements": [{"name": name, "type": {"base": "x"}} for name in SCHEMA.names]},
        "meta": {"content_length": 1, "record_count": 5},
        "author": {"name": "Amazon Redshift", "version": "1.0.0"},
    }
    return manifest, prefix


def checked(folder: Path, manifest: dict[str, Any], prefix: str) -> list[tuple[str, int]]:
    path = folder / "a_manifest"
    path.write_text(json.dumps(manifest))
    found = read_manifest(str(path))
    assert found is not None
    return checked_files(found, prefix, SCHEMA)


def test_files_are_returned_in_order_with_their_rows(tmp_path: Path) -> None:
    manifest, prefix = unloaded(tmp_path)
    manifest["entries"].reverse()
    found = checked(tmp_path, manifest, prefix)
    assert found == [(f"{prefix}0000_part_00.parquet", 3), (f"{prefix}0001_part_00.parquet", 2)]


def test_no_manifest_is_none_and_a_broken_one_is_an_error(tmp_path: Path) -> None:
    assert read_manifest(str(tmp_path / "a_manifest")) is None
    for text in ('{"entries": [{"url": "x"}]}', "{", "[]", '{"entries": []}'):
        (tmp_path / "a_manifest").write_text(text)
        with pytest.raises(RunError, match="no verbose manifest"):
            read_manifest(str(tmp_path / "a_manifest"))


def lose(manifest: dict[str, Any]) -> None:
    Path(manifest["entries"][0]["url"]).unlink()


def damage(manifest: dict[str, Any]) -> None:
    path = Path(manifest["entries"][0]["url"])
    path.write_bytes(path.read_bytes()[:-10])


def miscount(manifest: dict[str, Any]) -> None:
    manifest["entries"][0]["meta"]["record_count"] = 4
    manifest["meta"]["record_count"] = 6


def misadd(manifest: dict[str, Any]) -> None:
    manifest["meta"]["record_count"] = 6


def stray(manifest: dict[str, Any]) -> None:
    manifest["entries"][0]["url"] = "/elsewhere/x.parquet"


def repeat(manifest: dict[str, Any]) -> None:
    manifest["entries"][1] = manifest["entries"][0]
    manifest["meta"]["record_count"] = 6


def rename(manifest: dict[str, Any]) -> None:
    manifest["schema"]["elements"].reverse()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lose, "cannot be read as Parquet"),
        (damage, "cannot be read as Parquet"),
        (miscount, "has 3 rows, not 4"),
        (misadd, "its files have 5 rows, not 6"),
        (stray, "is not of this UNLOAD"),
        (repeat, "listed twice"),
        (rename, "its columns are f, churned, user_id, not"),
    ],
)
def test_what_does_not_fit_the_manifest_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    manifest, prefix = unloaded(tmp_path)
    change(manifest)
    with pytest.raises(RunError, match=said):
        checked(tmp_path, manifest, prefix)


@pytest.mark.parametrize(
    ("type_", "said"), [(pa.int32(), "churned is int32, not int8"), (pa.float64(), "churned is double")]
)
def test_other_types_than_asked_for_are_refused(tmp_path: Path, type_: pa.DataType, said: str) -> None:
    manifest, prefix = unloaded(tmp_path, schema=WRITTEN.set(1, pa.field("churned", type_)))
    with pytest.raises(RunError, match=said):
        checked(tmp_path, manifest, prefix)


def test_a_copys_manifest_names_every_file_with_its_length(tmp_path: Path) -> None:
    manifest, _ = unloaded(tmp_path)
    urls = [entry["url"] for entry in manifest["entries"]]
    assert json.loads(copy_manifest(inspect_file(urls))) == {
        "entries": [
            {"url": url, "mandatory": True, "meta": {"content_length": Path(url).stat().st_size}}
            for url in urls
        ]
    }


def rows(number: int) -> pa.Table:
    return pa.table([[f"u{n}" for n in range(number)], [1] * number, [0.5] * number], schema=SCHEMA)


def test_files_on_s3_hold_every_row_once(bucket: Bucket) -> None:
    writer = Writer(f"{bucket.url}/features", SCHEMA, 400)
    for start in range(0, 1_000, 250):
        writer.write(rows(1_000).slice(start, 250))
    writer.close()
    assert [count for _, count in writer.files] == [400, 400, 200]
    assert [facts.rows for facts in inspect_file(path for path, _ in writer.files)] == [400, 400, 200]


def test_an_upload_that_was_given_up_is_not_seen(bucket: Bucket) -> None:
    writer = Writer(f"{bucket.url}/features", SCHEMA, 100)
    writer.write(rows(250))
    writer.abandon()
    del writer
    assert bucket.keys() == ["features/part-00000.parquet", "features/part-00001.parquet"]


def test_the_embedded_warehouse_unloads_to_s3_as_to_a_disk(
    tmp_path: Path, bucket: Bucket, open_warehouse: Callable[..., DuckDBWarehouse]
) -> None:
    write_table(tmp_path / "data", "events.activity", [event("a", AS_OF)])
    warehouse = open_warehouse(tmp_path / "data")
    sql = (
        "select 'u' || range::varchar as user_id, 1 as churned, 0.5 as f from range($rows) where range >= 0"
        " order by range"
    )
    (tmp_path / "out").mkdir()
    found = {}
    for folder in (str(tmp_path / "out"), f"{bucket.url}/out"):
        files = warehouse.unload(sql, {"rows": 250}, folder, schema=SCHEMA, rows_per_file=100)
        assert [path for path, _ in files] == [f"{folder}/part-{n:05d}.parquet" for n in range(3)]
        found[folder] = [
            (facts.rows, facts.bytes, facts.schema) for facts in inspect_file(path for path, _ in files)
        ]
    first, second = found.values()
    assert first == second
    assert [count for count, _, _ in first] == [100, 100, 50]


def test_a_query_that_breaks_leaves_no_part_on_s3(
    tmp_path: Path, bucket: Bucket, open_warehouse: Callable[..., DuckDBWarehouse]
) -> None:
    write_table(tmp_path / "data", "events.activity", [event("a", AS_OF)])
    warehouse = open_warehouse(tmp_path / "data", threads=1)
    sql = (
        "select 'u' as user_id, 1 as churned, cast(case when range < 400000 then '1' else 'x' end as float) as f"
        " from range(400001)"
    )
    with pytest.raises(RunError, match="Could not convert string 'x'"):
        warehouse.unload(sql, None, f"{bucket.url}/out", schema=SCHEMA, rows_per_file=10_000_000)
    assert bucket.keys() == []
