"""The commands that look after what runs have left show first, and do it with --yes."""

import re
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from churn.lake.lake import Lake
from churn.outputs import migrations
from churn.warehouse.duckdb.client import DuckDBWarehouse
from tests.support.command_line import exit_code
from tests.support.data_folders import AS_OF, event_folder, files_below, weekly_events
from tests.support.fixtures_aws import Bucket, Redshift
from tests.support.lakes import commit

Call = Callable[..., tuple[int, str, str]]
SHOWN = "Nothing was changed; add --yes to do it."


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return event_folder(tmp_path / "data", weekly_events(["a", "b"], 3, AS_OF))


@pytest.fixture
def out(data: Path) -> Path:
    return data.parent / "out"


@pytest.fixture
def call(data: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Call a command on the folders; returns exit code, standard output and standard error."""

    def call_(name: str, *arguments: str) -> tuple[int, str, str]:
        return exit_code([name, "--data", str(data), "--out", str(out), *arguments]), *capsys.readouterr()

    return call_


# --- prune ---


def fill(lake: Lake) -> None:
    for week in range(3):
        as_of = AS_OF + timedelta(days=7 * week)
        for product in ("food", "wine"):
            commit(lake, f"2024070{week}t180000z-abcdef", product, as_of)


def weeks(lake: Lake) -> dict[str, int]:
    return {name: len(lake.runs(name)) for name in ("food", "wine")}


def test_prune_lists_what_it_would_remove_and_removes_it_when_told(call: Call, out: Path) -> None:
    lake = Lake(str(out / "lake"))
    fill(lake)
    code, told, err = call("prune", "--keep-weeks", "2")
    assert (code, err) == (0, "")
    assert re.search(r"Would remove 2 run\(s\), \d+\.\d MB\. " + re.escape(SHOWN), told)
    assert re.search(r"^ *food +2024-07-08 +20240700t180000z-abcdef +2 ", told, re.M)
    assert weeks(lake) == {"food": 3, "wine": 3}
    assert (
        call("prune", "--keep-weeks", "1", "--product", "wine", "--yes")[1]
        .splitlines()[-1]
        .startswith("Removed 2 ")
    )
    assert weeks(lake) == {"food": 3, "wine": 1}
    assert "nothing to do" in call("prune", "--keep-weeks", "3", "--yes")[1]


def test_prune_tells_of_kept_tables_that_no_run_uses_any_more(call: Call, data: Path, out: Path) -> None:
    fill(Lake(str(out / "lake")))
    with closing(DuckDBWarehouse(out / "warehouse.duckdb", data, memory="500MB")) as warehouse:
        warehouse.execute("create schema churn_kept")
        for digest, week in (("0a", AS_OF), ("0b", AS_OF - timedelta(days=70))):
            warehouse.execute(f"create table churn_kept.weeks_{digest} as select date '{week}' as week_start")
            warehouse.execute(f"create table churn_kept.user_week_{digest} as select 'a' as user_id")
    code, told, err = call("prune", "--keep-weeks", "9")
    assert (code, err) == (0, "")
    assert "churn_kept.weeks_0b, churn_kept.user_week_0b" in told
    assert "0a" not in told
    assert f"Would remove 2 table(s). {SHOWN}" in told
    assert "nothing to do" in call("prune", "--keep-weeks", "9", "--product", "food")[1]
    assert "Removed 2 table(s)." in call("prune", "--keep-weeks", "9", "--yes")[1]
    assert "nothing to do" in call("prune", "--keep-weeks", "9")[1]


def test_prune_refuses_a_product_that_nobody_knows_and_a_lake_that_is_not_there(
    call: Call, out: Path, data: Path
) -> None:
    code, told, err = call("prune", "--keep-weeks", "1", "--yes")
    assert (code, told) == (2, "")
    assert f"there is no lake at {out / 'lake'}: check --out" in err
    assert not out.exists()
    fill(Lake(str(out / "lake")))
    code, told, err = call("prune", "--keep-weeks", "1", "--yes", "--product", "nix")
    assert (code, told) == (2, "")
    assert "unknown product 'nix'; the settings and " in err
    assert "know: food, wine" in err
    assert weeks(Lake(str(out / "lake"))) == {"food": 3, "wine": 3}


def test_prune_works_without_a_data_folder(out: Path, tmp_path: Path) -> None:
    lake = Lake(str(out / "lake"))
    fill(lake)
    line = ["prune", "--data", str(tmp_path / "none"), "--out", str(out), "--keep-weeks", "1", "--yes"]
    assert exit_code(line) == 0
    assert weeks(lake) == {"food": 1, "wine": 1}


# --- migrate ---


def versions(out: Path, data: Path) -> list[int]:
    with closing(DuckDBWarehouse(out / "warehouse.duckdb", data)) as warehouse:
        if not warehouse.columns("churn.schema_version"):
            return []
        found = warehouse.fetch("select version from churn.schema_version order by version")
        return [int(version) for version in found["version"].to_pylist()]


def test_migrate_shows_the_sql_and_runs_it_when_told(call: Call, data: Path, out: Path) -> None:
    code, told, err = call("migrate")
    assert (code, err) == (0, "")
    assert told.splitlines()[0] == "-- 0: schema version"
    assert re.search(r"create table if not exists churn\.scores", told, re.I)
    assert f"There is no {out / 'warehouse.duckdb'}: --yes makes it." in told
    assert not out.exists()
    assert told.endswith(f"{SHOWN}\n")
    assert versions(out, data) == []
    assert call("migrate", "--yes")[1].splitlines()[-1].startswith("Done: 0 schema version, 1 scores")
    assert versions(out, data)
    assert call("migrate")[1] == "The published tables are as this release needs them.\n"


def test_migrate_on_redshift_gives_the_readers_their_rights(
    call: Call, data: Path, bucket: Bucket, redshift: Redshift
) -> None:
    given = redshift.settings(group="readers")
    values = {name: value for name, value in given.model_dump().items() if isinstance(value, str | int)}
    lines = [
        f'{name} = "{value}"' if isinstance(value, str) else f"{name} = {value}"
        for name, value in values.items()
    ]
    with (data / "churn.toml").open("a") as file:
        file.write("\n[profiles.aws.warehouse]\n" + "\n".join(lines) + "\n")
        file.write(f'[profiles.aws.store]\nlake = "{bucket.url}/lake"\n')
    redshift.look('create role "readers"')
    code, told, err = call("migrate", "--profile", "aws")
    assert (code, err) == (0, "")
    assert 'grant select on table churn.scores to group "readers";' in told
    assert "distkey" in told.lower()
    code, _, err = call("migrate", "--profile", "aws", "--yes")
    assert (code, err) == (0, "")
    allowed = redshift.look("select has_table_privilege('readers', 'churn.scores', 'select')")
    assert allowed == [(True,)]
    redshift.look("drop owned by readers; drop role readers")


# --- clocks ---


@pytest.mark.parametrize("more", [[], ["--force"]])
def test_a_run_from_the_future_is_told_before_anything_is_computed(
    call: Call, out: Path, more: list[str]
) -> None:
    lake = Lake(str(out / "lake"))
    ahead = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
    run = commit(lake, "20270101t000000z-abcdef", "food", AS_OF, started_at=ahead)
    code, told, err = call("run", "--product", "food", "--as-of", f"{AS_OF}", *more)
    assert (code, told) == (1, "")
    assert f"run 20270101t000000z-abcdef of food says that it started at {ahead}" in err
    assert f"remove the run's folder {run.base}, and run again" in err
    assert not (out / "warehouse.duckdb").exists()


# --- erase ---


def test_erase_counts_and_erases_when_told(call: Call, out: Path, tmp_path: Path) -> None:
    lake = Lake(str(out / "lake"))
    fill(lake)
    users = tmp_path / "users.txt"
    users.write_text("a\nnobody\na\n")
    before = files_below(out / "lake")
    code, told, err = call("erase", "--user-file", str(users))
    assert (code, err) == (0, "")
    assert f"Would erase 6 rows of 2 users. {SHOWN}" in told
    assert "Source tables are not touched" in told
    assert len(re.findall(r"^ *(?:food|wine), week of 2024-07-\d\d, run \S+ +scores +1 *$", told, re.M)) == 6
    assert files_below(out / "lake") == before
    code, told, err = call("erase", "--user-file", str(users), "--yes")
    assert (code, err) == (0, "")
    assert "Erased 6 rows of 2 users." in told
    assert "1 of 2 ids were found; the others are in no run and no published table." in told
    assert not any(b"nobody" in content for content in files_below(out / "lake").values())
    for run in lake.runs():
        run.verify(checksums=True)
        assert run.manifest.rows == {"scores": 2}
    assert "Erased 0 rows of 2 users." in call("erase", "--user-file", str(users), "--yes")[1]
    assert "0 of 2 ids were found" in call("erase", "--user-file", str(users), "--yes")[1]
    assert not (out / "warehouse.duckdb").exists()


def test_erase_refuses_where_there_is_nothing_to_erase_from_and_makes_nothing(
    call: Call, out: Path, tmp_path: Path
) -> None:
    users = tmp_path / "users.txt"
    users.write_text("a\n")
    for more in ([], ["--yes"]):
        code, told, err = call("erase", "--user-file", str(users), *more)
        assert (code, told) == (2, "")
        assert f"there is neither a lake at {out / 'lake'} nor a warehouse at {out}/warehouse.duckdb" in err
        assert not out.exists()


def test_erase_tells_how_many_of_the_ids_were_found_in_lake_or_warehouse(
    call: Call, data: Path, out: Path, tmp_path: Path
) -> None:
    users = tmp_path / "users.txt"
    users.write_text("a\nnobody\nonly-published\n")
    out.mkdir()
    with closing(DuckDBWarehouse(out / "warehouse.duckdb", data)) as warehouse:
        migrations.apply(warehouse, "user_id")
        warehouse.execute(
            "insert into churn.reasons by name select 'only-published' as user_id, 'food' as product, date"
            " '2024-07-01' as target_week_start_date, 1 as rank, 'a' as feature, 0.5 as contribution,"
            " 'x' as run_id"
        )
    code, told, _ = call("erase", "--user-file", str(users))
    assert code == 0
    assert "1 of 3 ids were found; the others are in no run and no published table." in told
    assert f"There is no lake at {out / 'lake'}: only the warehouse was looked into." in told
    fill(Lake(str(out / "lake")))
    code, told, _ = call("erase", "--user-file", str(users), "--yes")
    assert code == 0
    assert "2 of 3 ids were found; the others" in told
    assert "There is no" not in told
    assert "0 of 3 ids were found; the others" in call("erase", "--user-file", str(users))[1]


# --- explain ---


def test_explain_names_the_products_that_have_runs(call: Call, out: Path) -> None:
    fill(Lake(str(out / "lake")))
    code, told, err = call("explain", "--product", "beer", "--user", "a")
    assert (code, told) == (2, "")
    assert (
        "holds no committed run of 'beer' (but of: food, wine); make one with `churn run --product beer"
        in err
    )
