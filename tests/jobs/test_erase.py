"""Users are taken out of everything that is kept, and out of nothing else; a kill at any moment does no harm."""

import errno
import io
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.core import url_to_fs

import churn.jobs.erase.erase
import churn.jobs.erase.run_files
import churn.lake.lake
from churn.config.load import load_settings
from churn.config.settings import Settings
from churn.core.datasets import DATASETS, Column, RunDataset
from churn.core.errors import RunError, UsageError
from churn.jobs.erase.erase import Erased, count_found, erase, has_lake
from churn.jobs.erase.inventory import KEPT_COLUMN, RUN_DATASETS, TABLES, is_kept
from churn.jobs.weekly.finish import publish
from churn.lake import staging_s3
from churn.lake.lake import Lake, Run
from churn.lake.open import open_lake
from churn.outputs import migrations
from churn.warehouse.base import Warehouse
from churn.warehouse.open import open_warehouse
from churn.warehouse.redshift.client import RedshiftWarehouse
from churn.warehouse.templates import render
from tests.support.churn_runs import Runs
from tests.support.data_folders import AS_OF, EVENTS, files_below, write_table
from tests.support.fixtures_aws import Bucket, Redshift

PRODUCTS = """
source = "events"
id_column = "reader_id"
partition_rows = 60
sql_memory = "1GB"
[cluster]
workers = 1
"""
PRODUCT = """
[products.{name}]
title = "{name}"
match = {match}
[products.{name}.training]
sampling = "all"
max_trees = 20
"""
CANARY = "canary-7f3a-"  # in every user id, and in nothing else
USERS = [f"{CANARY}{number:04d}" for number in range(120)]


def events(weeks: int = 20) -> pa.Table:
    """Events of people who come in most weeks."""
    rng = np.random.default_rng(1)
    who, when = np.nonzero(rng.random((len(USERS), weeks)) < rng.uniform(0.3, 0.95, len(USERS))[:, None])
    first = datetime.combine(AS_OF - timedelta(days=7 * weeks - 1), time_of_day(12))
    days = rng.integers(0, 7, len(who))
    return pa.table(
        {
            "user_id": [USERS[user] for user in who],
            "product": rng.choice(["food", "wine"], len(who)),
            "occurred_at": [first + timedelta(days=int(7 * w + d)) for w, d in zip(when, days, strict=True)],
            "value": rng.gamma(2.0, 3.0, len(who)),
            "category": rng.choice(["fruit", "bread"], len(who)),
            "item_id": pa.nulls(len(who)),
            "device": pa.nulls(len(who)),
        }
    ).cast(EVENTS)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("erase") / "data"
    write_table(data, "events.activity", events())
    products = PRODUCT.format(name="food", match='["food", "wine"]') + PRODUCT.format(name="pan", match="[]")
    explain = "[explain]\nthemes = true\nlearner_scores = true\n"
    (data / "churn.toml").write_text("publish_reasons = true\n" + PRODUCTS + products + explain, "utf-8")
    return data


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    folder = tmp_path_factory.mktemp("runs")
    outside = {
        name: value for name, value in os.environ.items() if not name.startswith(("CHURN_", "PREFECT_"))
    }
    started = Runs(folder, outside | {"OMP_NUM_THREADS": "1", "PREFECT_HOME": str(folder / "prefect")})
    try:
        yield started
    finally:
        started.close()


@pytest.fixture(scope="module")
def finished(data: Path, runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two products' real runs left, and an earlier run of one of them: an output folder to be copied."""
    out = tmp_path_factory.mktemp("erase") / "out"
    out.mkdir()
    assert runs("products").code == 0
    shutil.copy(runs.empty_mlflow, out / "mlflow.db")
    line = ["run", "--data", str(data), "--out", str(out)]
    for more in (["--as-of", f"{AS_OF - timedelta(days=7)}", "--product", "food"], ["--as-of", f"{AS_OF}"]):
        done = runs(*line, *more)
        assert done.code == 0, done.err
    return out


@dataclass
class Kept:
    """What is kept of those runs, in a place of its own."""

    settings: Settings
    warehouse: Warehouse

    @property
    def lake(self) -> Lake:
        return open_lake(self.settings)

    @property
    def root(self) -> str:
        return str(url_to_fs(self.lake.root)[1])

    def runs(self) -> list[Run]:
        return self.lake.runs()

    def current(self, product: str) -> Run:
        found = self.lake.current(product)
        assert found is not None
        return found

    def scored(self, product: str) -> list[str]:
        run = self.current(product)
        return [user for rows in read_all(run, "scores").values() for user in rows["user_id"].to_pylist()]

    def erase(self, users: Collection[str], *, dry_run: bool = False) -> list[Erased]:
        return erase(self.settings, self.warehouse, sorted(users), dry_run=dry_run)

    def lake_files(self) -> dict[str, bytes]:
        fs, names = self.lake.fs, self.lake.fs.find(self.root)
        found: dict[str, bytes] = fs.cat([name for name in names if "/.staging/" not in name])
        return found

    def tables(self) -> list[str]:
        found = self.warehouse.fetch(
            "select table_schema, table_name from information_schema.tables where table_type = 'BASE TABLE'"
            " and table_schema not in ('pg_catalog', 'information_schema')"
        )
        return [f"{row['table_schema']}.{row['table_name']}" for row in found.to_pylist()]

    def holders(self, users: Collection[str]) -> dict[str, int]:
        """Rows of users by place, found by looking into every column of everything that is kept."""
        found: Counter[str] = Counter()
        for run in self.runs():
            for name, content in read_all(run).items():
                place = f"{run.manifest.run_id} {name.partition('/')[0]}"
                found[place] += sum(value in users for values in texts(content).values() for value in values)
        for table in self.tables():
            rows = self.warehouse.fetch(f"select * from {table}")
            found[table] += sum(value in users for values in texts(rows).values() for value in values)
        return {place: rows for place, rows in found.items() if rows}


def files(run: Run, dataset: str = "") -> list[str]:
    """The Parquet files of a run, below its folder."""
    found = sorted(run.fs.find(run.base))
    return [
        name
        for path in found
        if (name := path[len(run.base) + 1 :]).endswith(".parquet") and name.startswith(dataset)
    ]


def read(run: Run, name: str) -> pa.Table:
    return pq.ParquetFile(io.BytesIO(run.fs.cat_file(f"{run.base}/{name}"))).read()


def read_all(run: Run, dataset: str = "") -> dict[str, pa.Table]:
    """The Parquet files of a run by their names below its folder, fetched together."""
    paths = {name: f"{run.base}/{name}" for name in files(run, dataset)}
    found = run.fs.cat([*paths.values()]) if paths else {}
    return {name: pq.ParquetFile(io.BytesIO(found[path])).read() for name, path in paths.items()}


def texts(table: pa.Table) -> dict[str, list[str | None]]:
    fields = [field for field in table.schema if pa.types.is_string(field.type)]
    return {field.name: table[field.name].to_pylist() for field in fields}


@pytest.fixture
def kept_local(data: Path, finished: Path, tmp_path: Path) -> Iterator[Kept]:
    """Local files and the embedded warehouse."""
    shutil.copytree(finished, tmp_path / "out")
    settings = load_settings(data, tmp_path / "out")
    with closing(open_warehouse(settings)) as warehouse:
        yield Kept(settings, warehouse)


@pytest.fixture
def kept_aws(
    data: Path, finished: Path, tmp_path: Path, bucket: Bucket, redshift: Redshift
) -> Iterator[Kept]:
    """S3 and Redshift."""
    chosen = {"store": {"lake": f"{bucket.url}/lake"}, "warehouse": redshift.settings().model_dump()}
    settings = load_settings(data, tmp_path / "out", chosen)
    lake = open_lake(settings)
    there = files_below(finished / "lake" / "runs")
    lake.fs.pipe({f"{lake.root}/runs/{name}": content for name, content in there.items()})
    with closing(RedshiftWarehouse(settings.warehouse)) as warehouse:
        migrations.apply(warehouse, settings.id_column)
        for run in lake.runs():
            publish(settings, warehouse, run)
        yield Kept(settings, warehouse)


@pytest.fixture(params=["local", "aws"])
def kept(request: pytest.FixtureRequest, finished: Path) -> Kept:
    return request.getfixturevalue(f"kept_{request.param}")


# For what does not depend on where runs and tables are.
MOSTLY_LOCAL = pytest.mark.parametrize(
    "kept", ["local", pytest.param("aws", marks=pytest.mark.slow)], indirect=True
)


# --- the map ---


def test_every_dataset_with_users_is_on_the_map_by_construction() -> None:
    for dataset in DATASETS:
        assert RUN_DATASETS.get(dataset.name) == dataset.user_column
    with pytest.raises(ValueError, match="name the column with the user id"):
        RunDataset(
            name="audience",
            description="",
            writer="scoring",
            user_column=None,
            columns=(Column("user_id", "string"),),
        )


def test_every_dataset_of_a_run_that_holds_users_is_on_the_map(kept_local: Kept) -> None:
    everybody = set(USERS)
    found: dict[str, str] = {}
    for run in kept_local.runs():
        holding: dict[str, str] = {}
        for name in files(run):
            for column, values in texts(read(run, name)).items():
                if column in ("user_id", kept_local.settings.id_column) or everybody & set(values):
                    holding[name.partition("/")[0]] = column
        assert {*RUN_DATASETS} - {*holding} <= {"learner_scores"}  # where one learner is the model
        found |= holding
    assert found == RUN_DATASETS


def test_every_table_that_holds_users_is_on_the_map(kept: Kept) -> None:
    mapped, holding = dict.fromkeys(TABLES, kept.settings.id_column), {}
    for table in kept.tables():
        for column in kept.warehouse.columns(table):
            values = kept.warehouse.fetch(f'select "{column}" as value from {table}')["value"].to_pylist()
            if column in ("user_id", kept.settings.id_column) or set(USERS) & {
                str(value) for value in values
            }:
                holding[table] = column
    schema = kept.settings.kept_schema
    aggregates = [table for table in kept.tables() if table.startswith(f"{schema}.")]
    mapped |= {table: KEPT_COLUMN for table in aggregates if is_kept(table.removeprefix(f"{schema}."))}
    assert holding == mapped


def test_what_is_not_a_dataset_of_users_names_no_user(finished: Path) -> None:
    """Models, charts, logs, manifests, MLflow's database and files: none of them names anybody."""
    looked = 0
    for name, content in files_below(finished).items():
        if not name.endswith(".parquet") and not name.startswith("warehouse.duckdb"):
            assert CANARY.encode() not in content, name
            looked += 1
    assert looked > 20


# --- erasing ---


def test_users_go_from_every_place_and_nobody_else_does(kept: Kept) -> None:
    gone = {*kept.scored("food")[:3], *kept.scored("pan")[-3:]}
    others = set(USERS) - gone
    before, before_others = kept.holders(gone), kept.holders(others)
    assert {place.rpartition(" ")[2] for place in before} >= {*RUN_DATASETS, *TABLES}
    told = kept.erase([*gone, "nobody"])
    assert sorted(each.rows for each in told) == sorted(before.values())
    assert kept.holders(gone) == {}
    assert kept.holders(others) == before_others
    for run in kept.runs():
        run.verify(checksums=True)
        assert run.manifest.rows["scores"] == sum(rows.num_rows for rows in read_all(run, "scores").values())
    assert kept.erase(gone) == []


def test_no_byte_below_the_output_folder_holds_an_erased_id(kept_local: Kept) -> None:
    gone = [user.encode() for user in kept_local.scored("food")[:20]]
    out = kept_local.settings.out
    assert any(user in content for content in files_below(out).values() for user in gone)
    kept_local.erase([user.decode() for user in gone])
    kept_local.warehouse.close()
    holding = [name for name, content in files_below(out).items() if any(user in content for user in gone)]
    assert holding == []


@MOSTLY_LOCAL
def test_the_record_of_what_is_published_counts_what_is_there(kept: Kept) -> None:
    kept.erase(kept.scored("food")[:4])
    for row in kept.warehouse.fetch("select * from churn.published").to_pylist():
        for table, column in TABLES.items():
            where = (
                f"product = '{row['product']}' and target_week_start_date = '{row['target_week_start_date']}'"
            )
            there = kept.warehouse.fetch(f"select count(*) as there from {table} where {where}")["there"][0]
            assert there.as_py() == row[column]


@MOSTLY_LOCAL
def test_publishing_a_run_again_brings_nobody_back(kept: Kept) -> None:
    users = kept.scored("pan")[:3]
    kept.erase(users)
    for run in kept.runs():
        publish(kept.settings, kept.warehouse, run)
    assert kept.holders(users) == {}


@MOSTLY_LOCAL
def test_a_dry_run_says_the_same_and_changes_nothing(kept: Kept) -> None:
    users = kept.scored("food")[:5]
    files_before, before = kept.lake_files(), kept.holders(users)
    told = kept.erase(users, dry_run=True)
    assert kept.lake_files() == files_before
    assert kept.holders(users) == before
    assert told == kept.erase(users)


@MOSTLY_LOCAL
def test_ids_that_are_kept_anywhere_are_counted(kept: Kept) -> None:
    users = kept.scored("food")[:3]
    asked = [*users, users[0], "nobody", "'; --"]
    assert count_found(kept.settings, kept.warehouse, asked) == 3
    kept.erase(users[:1])
    assert count_found(kept.settings, kept.warehouse, asked) == 2
    kept.lake.fs.rm(kept.root, recursive=True)
    assert not has_lake(kept.settings)
    assert count_found(kept.settings, kept.warehouse, asked) == 2  # they are published


def test_a_file_written_anew_is_as_it_was_but_for_the_users(kept_local: Kept) -> None:
    gone = set(kept_local.scored("food")[::7])
    before = kept_local.lake_files()
    kept_local.erase(gone)
    looked = 0
    for path, content in kept_local.lake_files().items():
        if not path.endswith(".parquet"):
            continue
        old, new = (pq.ParquetFile(io.BytesIO(each)) for each in (before[path], content))
        assert new.schema_arrow.equals(old.schema_arrow, check_metadata=True)
        assert new.num_row_groups == old.num_row_groups
        column, expected = RUN_DATASETS.get(path.split("/")[-2]), old.read()
        if column is not None:
            expected = expected.filter(pa.array([user not in gone for user in expected[column].to_pylist()]))
        assert new.read().equals(expected, check_metadata=True)
        for index in range(new.metadata.num_columns):
            was, now = (file.metadata.row_group(0).column(index) for file in (old, new))
            assert (now.compression, now.is_stats_set) == (was.compression, was.is_stats_set)
            assert set(now.encodings) == set(was.encodings)
        looked += content != before[path]
    assert looked > 10


def test_a_file_keeps_its_mode(kept_local: Kept) -> None:
    run = kept_local.current("pan")
    path = Path(run.path("scores", "part-00000.parquet"))
    path.chmod(0o640)
    kept_local.erase(USERS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_what_was_erased_is_noted_without_ids(kept_local: Kept) -> None:
    kept_local.erase(kept_local.scored("pan")[:4])
    assert [note.users for note in kept_local.current("pan").manifest.erased] == [4]
    manifests = [content for name, content in kept_local.lake_files().items() if name.endswith(".json")]
    assert manifests
    assert not any(CANARY.encode() in content for content in manifests)


@MOSTLY_LOCAL
def test_everybody_can_be_erased_and_thousands_who_are_not_there(kept: Kept) -> None:
    kept.erase([*USERS, *(f"more-{number}" for number in range(3000))])
    assert kept.holders(USERS) == {}
    for run in kept.runs():
        run.verify(checksums=True)
        assert run.manifest.rows["scores"] == 0


def test_hostile_ids_are_values_and_nothing_else(kept: Kept) -> None:
    before, published = kept.lake_files(), kept.holders(USERS)
    hostile = [
        "'; drop table churn.scores; --",
        '"',
        "\\",
        "\\'",
        "%s",
        "%(x)s",
        ":user_0",
        "$user_0",
        "{{ 7 }}",
        "é\u202e",
    ]
    assert kept.erase(hostile) == []
    assert (kept.lake_files(), kept.holders(USERS)) == (before, published)


@pytest.mark.parametrize("users", [[], [""], ["a", " "], ["a\ud800b"]])
def test_what_cannot_be_a_user_id_is_refused_without_being_quoted(kept_local: Kept, users: list[str]) -> None:
    with pytest.raises(UsageError) as refused:
        kept_local.erase(users)
    assert not users or not users[-1].strip() or users[-1] not in str(refused.value)


ODD_IDS = (" lead", "trail ", "new\nline", "car\rriage", 'quo"te, comma', "\ttab", "x" * 300, "ж" * 250)


def test_ids_are_matched_exactly_whatever_is_in_them(kept: Kept) -> None:
    likely = sorted({*ODD_IDS, *(user.strip() for user in ODD_IDS), "new", "line", "trail  "} - {""})
    kept.settings = kept.settings.model_copy(update={"kept_schema": "scratch"})
    table = "scratch.user_life_0a1b2c3d"
    kept.warehouse.execute("create schema scratch")
    kept.warehouse.execute(f"create table {table} (user_id varchar(1000))")
    for user in likely:
        statement = render(
            f"insert into {table} values (:user)", {}, {"user": user}, "scratch", kept.warehouse.dialect
        )
        kept.warehouse.execute(statement.sql, statement.parameters)
    kept.erase([user for user in ODD_IDS if user.strip()])
    left = kept.warehouse.fetch(f"select user_id from {table}")["user_id"].to_pylist()
    assert sorted(left) == sorted(set(likely) - set(ODD_IDS))


def test_a_warehouse_without_published_tables_is_fine(kept_local: Kept, tmp_path: Path) -> None:
    users = kept_local.scored("pan")[:1]
    elsewhere = kept_local.settings.model_copy(update={"out": tmp_path / "new"})
    with closing(open_warehouse(elsewhere)) as empty:
        told = erase(kept_local.settings, empty, users, dry_run=False)
    assert told
    assert all(each.where != "warehouse" for each in told)


def test_another_id_column_is_told_before_anything_is_touched(kept_local: Kept) -> None:
    before = kept_local.lake_files()
    kept_local.settings = kept_local.settings.model_copy(update={"id_column": "other"})
    with pytest.raises(RunError, match="no column 'other'"):
        kept_local.erase(USERS)
    assert kept_local.lake_files() == before


@MOSTLY_LOCAL
def test_a_damaged_file_is_named_and_the_others_are_erased_from(kept: Kept) -> None:
    users = kept.scored("pan")[:2]
    first = kept.runs()[0]
    kept.lake.fs.pipe_file(f"{first.base}/shap/part-00000.parquet", b"no parquet")
    with pytest.raises(
        RunError, match=r"everything but what follows.*\n.*shap/part-00000.parquet is damaged"
    ):
        kept.erase(users)
    kept.lake.fs.rm(first.base, recursive=True)
    assert kept.holders(users) == {}


@MOSTLY_LOCAL
def test_a_damaged_manifest_is_named_and_all_other_runs_are_erased_from(kept: Kept) -> None:
    users = kept.scored("pan")[:2]
    first = kept.runs()[0]
    kept.lake.fs.pipe_file(f"{first.base}/manifest.json", b"{}")
    with pytest.raises(
        RunError,
        match=rf"everything but what follows.*\n  - .*{first.manifest.run_id}/manifest.json is damaged",
    ):
        kept.erase(users)
    kept.lake.fs.rm(first.base, recursive=True)
    assert kept.holders(users) == {}


def edit(base: Path, change: Callable[[dict[str, Any]], None]) -> None:
    manifest = json.loads((base / "manifest.json").read_text("utf-8"))
    change(manifest)
    (base / "manifest.json").write_text(json.dumps(manifest), "utf-8")


def lists(name: str) -> Callable[[Path], None]:
    entry = {name: {"size": 10**40, "sha256": ""}}
    return lambda base: edit(base, lambda manifest: manifest["files"].update(entry))


def says(**changes: Any) -> Callable[[Path], None]:
    return lambda base: edit(base, lambda manifest: manifest.update(changes))


def lists_no_scores(base: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["files"] = {name: each for name, each in manifest["files"].items() if "scores" not in name}

    edit(base, change)


def text(content: bytes) -> Callable[[Path], None]:
    def write(base: Path) -> None:
        (base / "manifest.json").write_bytes(content)

    return write


def leads_to(target: str) -> Callable[[Path], None]:
    def link(base: Path) -> None:
        (base / "manifest.json").unlink()
        (base / "manifest.json").symlink_to(target)

    return link


def is_a_folder(base: Path) -> None:
    (base / "manifest.json").unlink()
    (base / "manifest.json").mkdir()


def scores_are_elsewhere(base: Path) -> None:
    elsewhere = base.parents[4] / "elsewhere"
    shutil.move(base / "scores", elsewhere)
    (base / "scores").symlink_to(elsewhere)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "a file outside": lists("scores/../../x.parquet"),
    "an absolute path": lists("/etc/passwd"),
    "a file that is not there": lists("scores/part-99999.parquet"),
    "erasing outside": says(erasing=["scores/../../../x.parquet"]),
    "another run": says(run_id="20260101t000000z-abcdef"),
    "impossible rows": says(rows={"scores": -5}),
    "no scores": lists_no_scores,
    "no JSON": text(b"{"),
    "nested": text(b"[" * 100_000),
    "no UTF-8": text(b'{"run_id": "\xff"}'),
    "empty": text(b""),
    "nothing": text(b"null"),
    "gone": lambda base: (base / "manifest.json").unlink(),
    "a broken link": leads_to("nowhere"),
    "an endless file": leads_to("/dev/zero"),
    "a link to itself": leads_to("manifest.json"),
    "a folder": is_a_folder,
    "scores elsewhere": scores_are_elsewhere,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_run_that_was_tampered_with_is_named_and_everything_else_is_erased(
    kept_local: Kept, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setattr(churn.lake.lake, "_LONGEST_MANIFEST", 1 << 20)
    users, first = kept_local.scored("pan")[:2], kept_local.runs()[0]
    outside = Path(kept_local.root) / "runs" / "x.parquet"
    pq.write_table(pa.table({"user_id": ["somebody"]}), outside)
    DAMAGES[damage](Path(first.base))
    with pytest.raises(RunError, match=r"everything but what follows") as told:
        kept_local.erase(users)
    (named,) = [line for line in str(told.value).splitlines() if line.startswith("  - ")]
    assert first.base in named
    assert pq.read_table(outside)["user_id"].to_pylist() == ["somebody"]
    shutil.rmtree(first.base)
    assert kept_local.holders(users) == {}


def test_files_that_no_manifest_lists_are_named_if_they_hold_a_user(kept_local: Kept) -> None:
    run = kept_local.current("pan")
    users = kept_local.scored("pan")[:2]
    copies = Path(kept_local.root) / "runs" / "product=pan" / "copy of" / "scores"
    shutil.copytree(run.path("scores"), copies)
    with pytest.raises(RunError, match=rf"{copies} has files that no manifest lists"):
        kept_local.erase(users)
    shutil.rmtree(copies.parent)
    assert kept_local.holders(users) == {}
    shutil.copytree(run.path("scores"), copies)  # without them
    kept_local.erase(users)


# --- unfinished runs ---


@pytest.fixture
def unfinished(kept_local: Kept, runs: Runs, data: Path) -> Path:
    """The staging folder of a run that was killed after two partitions."""
    shutil.rmtree(kept_local.current("pan").base)
    kept_local.warehouse.close()
    line = ["run", "--data", str(data), "--out", str(kept_local.settings.out), "--as-of", f"{AS_OF}"]
    smaller = {"CHURN_PARTITION_ROWS": "40"}
    killed = runs(*line, "--product", "pan", kill="after 2 partitions", environment=smaller)
    assert killed.code == -signal.SIGKILL
    (staging,) = (kept_local.settings.out / "lake" / ".staging" / "product=pan").glob("*z-*/")
    return staging


def test_an_unfinished_run_that_holds_a_user_goes_and_another_stays(
    kept_local: Kept, unfinished: Path
) -> None:
    with closing(open_warehouse(kept_local.settings)) as warehouse:
        kept_local.warehouse = warehouse
        kept_local.erase(["nobody"])
        assert unfinished.is_dir()
        users = pq.read_table(unfinished / "features" / "part-00000.parquet", partitioning=None)[
            "user_id"
        ].to_pylist()
        told = kept_local.erase(users[:1], dry_run=True)
        assert unfinished.is_dir()
        place = f"pan, unfinished run {unfinished.name}"
        assert [each for each in told if each.where == place]
        assert kept_local.erase(users[:1]) == told
        assert not unfinished.exists()


@MOSTLY_LOCAL
@pytest.mark.parametrize("holds", [False, True], ids=["no rows yet", "rows of users"])
def test_a_run_that_is_being_written_is_named_and_the_rest_is_erased(kept: Kept, holds: bool) -> None:
    """Also one that holds none of them yet: it may have read them from the sources already."""
    users = kept.scored("food")[:2]
    run = kept.current("food")
    with kept.lake.start_run("food", run.manifest.target_week_start, "20260101t000000z-abcdef") as living:
        if holds:
            content = run.fs.cat_file(f"{run.base}/scores/part-00000.parquet")
            kept.lake.fs.pipe_file(f"{living.base}/scores/part-00000.parquet", content)
        with pytest.raises(RunError, match=r"unfinished run 20260101t000000z-abcdef: it is being written"):
            kept.erase(users)
        assert kept.holders(users) == {}
    assert kept.erase(users) == []  # it was abandoned


@MOSTLY_LOCAL
def test_a_run_that_begins_while_users_are_erased_is_named(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have read them from the tables that are kept from run to run before they were deleted there."""
    users = kept.scored("food")[:2]
    week = kept.current("food").manifest.target_week_start
    real, begun = churn.jobs.erase.erase._erase_from_tables, []

    def erase_from_tables(*arguments: Any, **options: Any) -> list[Erased]:
        begun.append(kept.lake.start_run("food", week, "20260101t000000z-abcdef"))
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(churn.jobs.erase.erase, "_erase_from_tables", erase_from_tables)
        with pytest.raises(RunError, match=r"run 20260101t000000z-abcdef: .*: erase again when it has ended"):
            kept.erase(users)
    begun[0].discard()
    assert kept.holders(users) == {}
    assert kept.erase(users) == []


@MOSTLY_LOCAL
def test_a_run_that_is_committed_while_users_are_erased_is_named_if_it_holds_one(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = kept.scored("pan")[:2]
    late = kept.current("pan")
    content = kept.lake.fs.cat_file(f"{late.base}/manifest.json")
    kept.lake.fs.rm_file(f"{late.base}/manifest.json")
    real = churn.jobs.erase.erase._erase_from_tables

    def erase_from_tables(*arguments: Any, **options: Any) -> list[Erased]:
        kept.lake.fs.pipe_file(f"{late.base}/manifest.json", content)
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(churn.jobs.erase.erase, "_erase_from_tables", erase_from_tables)
        with pytest.raises(RunError, match=f"run {late.manifest.run_id}: it was committed meanwhile: erase"):
            kept.erase(users)
    kept.erase(users)
    assert kept.holders(users) == {}


# --- temporary files of processes that died ---

BACKTEST = """
import os, signal, sys
from datetime import timedelta
from pathlib import Path
from churn.jobs import backtest
from churn.config.load import load_settings
from tests.support.data_folders import AS_OF

def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)

backtest.read_snapshots = killed
data, out = Path(sys.argv[1]), Path(sys.argv[2])
backtest.backtest(load_settings(data, out), "pan", [AS_OF - timedelta(days=14)], out / "judged.parquet")
"""


def naming(folder: Path) -> list[pa.Table]:
    """What Parquet files below a folder hold that name users."""
    found = [pq.ParquetFile(path).read() for path in folder.rglob("*.parquet")]
    return [
        table for table in found if any(value in USERS for each in texts(table).values() for value in each)
    ]


@pytest.mark.process
@MOSTLY_LOCAL
def test_what_a_killed_back_test_left_among_temporary_files_goes(
    kept: Kept, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = os.environ | {"TMPDIR": str(scratch), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-c", BACKTEST, str(data), str(tmp_path / "unused")]
    assert subprocess.run(line, env=environment, timeout=300, check=False).returncode == -signal.SIGKILL
    assert naming(scratch)
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    kept.erase(USERS[:1], dry_run=True)
    assert naming(scratch)
    kept.erase(USERS[:1])
    assert list(scratch.iterdir()) == []


def test_scratch_of_a_killed_process_that_cannot_be_removed_is_named(
    kept_local: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / "churn-scratch-left"
    left.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def refused(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("churn.core.tempdirs.shutil.rmtree", refused)
    with pytest.raises(
        RunError, match=rf"{left}, left by a killed process.*Permission denied.*remove it by hand"
    ):
        kept_local.erase(USERS[:1])


# --- kept tables in a schema of before ---


def test_kept_tables_are_found_after_the_setting_that_names_their_schema_has_changed(
    kept_local: Kept,
) -> None:
    users = kept_local.scored("food")[:3]
    kept_local.settings = kept_local.settings.model_copy(update={"kept_schema": "elsewhere"})
    told = {each.dataset.rpartition("_")[0] for each in kept_local.erase(users)}
    assert told >= {"churn_kept.user_week", "churn_kept.user_life", "churn_kept.feature_rows"}
    assert kept_local.holders(users) == {}


@MOSTLY_LOCAL
def test_a_table_that_is_only_called_like_a_kept_one_is_not_touched(kept: Kept) -> None:
    """Of another schema, a table is taken for a kept one only beside the ledger of its definition."""
    leave_tables(kept, "kept_before", USERS[0], "user_week_0a1b2c3d")
    kept.warehouse.execute("create table kept_before.weeks_0a1b2c3d (week_start date)")
    leave_tables(kept, "someones", USERS[0], "user_week_20240701")
    kept.erase(USERS[:1])
    assert kept.holders(USERS[:1]) == {"someones.user_week_20240701": 1}


# --- tables of runs that died ---


def leave_tables(kept: Kept, schema: str, user: str, table: str = "week_activity") -> None:
    """Make a table that holds a user, such as a run that was killed leaves in the warehouse."""
    kept.warehouse.execute(f"create schema {schema}")
    kept.warehouse.execute(f"create table {schema}.{table} (user_id varchar(255))")
    kept.warehouse.execute(f"insert into {schema}.{table} values ('{user}')")


@MOSTLY_LOCAL
@pytest.mark.parametrize("product", ["food", "bread"], ids=["in the settings", "no longer in the settings"])
def test_tables_that_a_dead_run_of_any_product_has_left_are_dropped(kept: Kept, product: str) -> None:
    leave_tables(kept, f"run_{product}_20240101t000000z_abc123", USERS[0])
    leave_tables(kept, "run_up_to_now", "somebody")  # not a run's
    kept.erase(USERS[:1])
    assert kept.holders(USERS[:1]) == {}
    assert "run_up_to_now.week_activity" in kept.tables()


def test_tables_of_a_run_that_may_go_on_in_redshift_are_named_and_stay(kept_aws: Kept) -> None:
    users = kept_aws.scored("food")[:2]
    young = f"run_food_{datetime.now(UTC):%Y%m%dt%H%M%Sz}_abc123"
    leave_tables(kept_aws, young, users[0])
    with pytest.raises(RunError, match=rf"(?s)everything but what follows.*schema {young} .*erase again"):
        kept_aws.erase(users)
    assert kept_aws.holders(users) == {f"{young}.week_activity": 1}


def test_tables_of_a_run_of_minutes_ago_are_dropped_from_the_embedded_warehouse(kept_local: Kept) -> None:
    leave_tables(kept_local, f"run_food_{datetime.now(UTC):%Y%m%dt%H%M%Sz}_abc123", USERS[0])
    kept_local.erase(USERS[:1])
    assert kept_local.holders(USERS[:1]) == {}


# --- kills ---


class Killed(BaseException):
    """Like a kill: nothing in the program handles it."""


class Countdown:
    """Raises in the place of the n-th call of what it wraps, and lets all others pass."""

    def __init__(self, left: int) -> None:
        self.left = left

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                raise Killed
            return function(*arguments, **options)

        return called


def check_between(kept: Kept) -> None:
    """What a reader finds after a kill: whole files, and a word where an erasure was cut short."""
    for run in kept.runs():
        read_all(run)
        if run.manifest.erasing:
            with pytest.raises(RunError, match="run it again with the same file"):
                run.verify()


def check_finished(kept: Kept, users: Collection[str], scored: dict[str, set[str]]) -> None:
    for run in kept.runs():
        run.verify(checksums=True)
        expected = len(scored[run.manifest.run_id] & set(users))
        assert sum(note.users for note in run.manifest.erased) == expected
    assert kept.holders(users) == {}


def scored_by_run(kept: Kept) -> dict[str, set[str]]:
    return {
        run.manifest.run_id: {
            user for rows in read_all(run, "scores").values() for user in rows["user_id"].to_pylist()
        }
        for run in kept.runs()
    }


def test_a_kill_before_any_rename_leaves_whole_files_and_a_repeat_finishes(
    kept_local: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = kept_local.scored("food")[::9]
    for run in kept_local.runs()[1:]:
        shutil.rmtree(run.base)
    scored, runs = scored_by_run(kept_local), Path(kept_local.root) / "runs"
    shutil.copytree(runs, runs.with_name("calm"))
    killed = 0
    for moment in range(1, 200):
        shutil.rmtree(runs)
        shutil.copytree(runs.with_name("calm"), runs)
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", Countdown(moment).wrap(os.replace))
            try:
                kept_local.erase(users)
            except Killed:
                killed += 1
            else:
                break
        check_between(kept_local)
        kept_local.erase(users)
        check_finished(kept_local, users, scored)
    assert killed > 8


@pytest.mark.parametrize(
    "moment",
    [
        "churn.core.files.flush",
        "churn.jobs.erase.run_files._rewrite",
        "churn.jobs.erase.erase._erase_from_tables",
    ],
)
def test_a_process_that_is_killed_does_no_harm(
    kept_local: Kept, runs: Runs, data: Path, tmp_path: Path, moment: str
) -> None:
    users, scored = kept_local.scored("food")[::9], scored_by_run(kept_local)
    (tmp_path / "users.txt").write_text("\n".join(users))
    kept_local.warehouse.close()
    line = ["erase", "--data", str(data), "--out", str(kept_local.settings.out)]
    line += ["--user-file", str(tmp_path / "users.txt"), "--yes"]
    assert runs(*line, kill=f"before {moment}").code == -signal.SIGKILL
    check_between(kept_local)
    done = runs(*line)
    assert done.code == 0, done.err
    with closing(open_warehouse(kept_local.settings)) as warehouse:
        kept_local.warehouse = warehouse
        check_finished(kept_local, users, scored)


@pytest.mark.parametrize(
    ("moment", "after"),
    [
        pytest.param(moment, after, marks=[] if (moment, after) == (3, True) else pytest.mark.chaos)
        for moment in (1, 3, 12)
        for after in (False, True)
    ],
)
def test_a_kill_around_any_write_to_s3_does_no_harm(
    kept_aws: Kept, monkeypatch: pytest.MonkeyPatch, moment: int, after: bool
) -> None:
    users, scored = kept_aws.scored("food")[::9], scored_by_run(kept_aws)
    countdown = Countdown(moment)

    def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
        if not after:
            return countdown.wrap(function)

        def called(*arguments: Any, **options: Any) -> Any:
            value = function(*arguments, **options)
            countdown.wrap(lambda: None)()
            return value

        return called

    with monkeypatch.context() as patch:
        patch.setattr(staging_s3, "put", wrapped(staging_s3.put))
        patch.setattr(kept_aws.lake.fs, "put_file", wrapped(kept_aws.lake.fs.put_file))
        with pytest.raises(Killed):
            kept_aws.erase(users)
    check_between(kept_aws)
    kept_aws.erase(users)
    check_finished(kept_aws, users, scored)


def test_a_kill_in_the_warehouse_leaves_its_tables_as_they_were(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = kept.scored("food")[:3]
    tables = kept.tables()
    before = {place: rows for place, rows in kept.holders(users).items() if place in tables}
    for moment in range(1, 4):
        with monkeypatch.context() as patch:
            patch.setattr(churn.jobs.erase.erase, "_run", Countdown(moment).wrap(churn.jobs.erase.erase._run))
            with pytest.raises(Killed):
                kept.erase(users)
        assert kept.holders(users) == before
    kept.erase(users)
    assert kept.holders(users) == {}


@MOSTLY_LOCAL
def test_a_run_that_is_changed_or_pruned_meanwhile_is_told(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    users, first = kept.scored("food")[:3], kept.runs()[0]
    real = churn.jobs.erase.run_files._rows_of

    def rows_of(run: Run, dataset: str) -> int:
        found = real(run, dataset)
        if run.base == first.base:
            kept.lake.fs.rm_file(f"{run.base}/manifest.json")
        return found

    monkeypatch.setattr(churn.jobs.erase.run_files, "_rows_of", rows_of)
    with pytest.raises(RunError, match=f"run {first.manifest.run_id} at .* was changed or pruned meanwhile"):
        kept.erase(users)
    assert len(kept.runs()) == 2
    assert kept.holders(users) == {}


def test_of_two_erasures_at_once_neither_is_lost(kept_aws: Kept) -> None:
    some, others = kept_aws.scored("food")[:5], kept_aws.scored("food")[-5:]
    with (
        closing(RedshiftWarehouse(kept_aws.settings.warehouse)) as second,
        ThreadPoolExecutor(2) as pool,
    ):
        beside = pool.submit(erase, kept_aws.settings, second, others, dry_run=False)
        kept_aws.erase(some)
        beside.result()
    assert kept_aws.holders({*some, *others}) == {}
    for run in kept_aws.runs():
        run.verify(checksums=True)
