"""Features of one's own: an SQL file and a catalogue entry in the data folder."""

import re
from collections.abc import Mapping
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from churn.config.load import load_settings
from churn.core.errors import ChurnError, ConfigError, UsageError
from churn.dataset.build import plan_dataset, run_steps
from churn.sources.ingest import ingest
from churn.warehouse.open import open_in_memory
from tests.support.data_folders import AS_OF, event_folder, weekly_events

PAGE = (Path(__file__).parents[2] / "docs" / "own-features.md").read_text("utf-8")
SQL, TOML = (re.search(rf"```{kind}\n(.*?)```", PAGE, re.S)[1] for kind in ("sql", "ini"))  # type: ignore[index]
PLAIN = "[columns.complaints_13w]\nmeaning = 'complaints'\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twenty weekly customers, two of whom complained."""
    event_folder(tmp_path, weekly_events([f"u{i}" for i in range(20)], 30))
    folder = tmp_path / "tables" / "support.complaints"
    folder.mkdir()
    days = [AS_OF, AS_OF - timedelta(days=1), AS_OF - timedelta(days=200), AS_OF + timedelta(days=1)]
    rows = {"user_id": ["u1", "u1", "u2", "u2"], "complained_on": pa.array(days, pa.date32())}
    pq.write_table(pa.table(rows), folder / "part-00000.parquet")
    (tmp_path / "features").mkdir()
    return tmp_path


def write(data: Path, sql: str = SQL, toml: str = TOML, name: str = "complaints") -> None:
    (data / "features" / f"{name}.sql").write_text(sql)
    (data / "features" / f"{name}.toml").write_text(toml)


def feature_rows(
    data: Path, as_of: date = AS_OF, product: str = "food"
) -> tuple[list[Mapping[str, Any]], Any]:
    settings = load_settings(data, data / "out")
    with closing(open_in_memory(settings)) as warehouse:
        plan = plan_dataset(warehouse, settings, product, as_of, "run_food")
        run_steps(warehouse, plan)
        return warehouse.fetch("select * from run_food.feature_set where purpose = 'score'").to_pylist(), plan


def test_the_page_s_example_is_a_feature_of_every_user(data: Path) -> None:
    write(data)
    rows, plan = feature_rows(data)
    assert {row["user_id"]: row["complaints_13w"] for row in rows if row["complaints_13w"]} == {"u1": 2}
    assert len(rows) == 20
    feature = next(f for f in plan.catalogue.features if f.name == "complaints_13w")
    assert (feature.group, feature.unit, feature.range.low) == ("complaints", "complaints", 0)


def test_a_phrase_is_optional(data: Path) -> None:
    write(data, toml=PLAIN)
    rows, _ = feature_rows(data)
    assert sum(row["complaints_13w"] or 0 for row in rows) == 2


def test_a_changed_file_makes_new_rows(data: Path) -> None:
    write(data)
    _, before = feature_rows(data)
    write(data, sql=SQL.replace("91", "300"))
    rows, after = feature_rows(data)
    assert before.tables.rows.digest != after.tables.rows.digest
    assert {row["user_id"]: row["complaints_13w"] for row in rows if row["complaints_13w"]} == {
        "u1": 2,
        "u2": 1,
    }


def test_features_of_other_products_are_left_out(data: Path) -> None:
    write(data, toml='products = ["tv"]\n' + TOML)
    _, plan = feature_rows(data)
    assert "complaints_13w" not in plan.catalogue.names


@pytest.mark.parametrize(
    ("sql", "toml", "fault"),
    [
        (SQL.replace("as complaints_13w", "as complaints"), TOML, "features/complaints.toml has no [columns.complaints]"),
        (SQL.replace("as complaints_13w", "as complaints"), TOML, "makes no column complaints_13w: name it"),
        (SQL.replace("    eligible.as_of_date,\n", ""), TOML, "makes no column as_of_date"),
        (SQL.replace("complaints_13w", "days_w2"), TOML.replace("complaints_13w", "days_w2"), "names that are taken: days_w2"),
        (SQL, TOML.replace("meaning", "meant"), "meant"),
        (SQL, TOML + 'unknown = 1\n', "unknown"),
        (SQL, TOML.replace("{value:times}", "{days}"), "may have {value} and {only}"),
        (SQL, "[columns", "complaints.toml"),
        (SQL.replace("eligible')", "eligibel')"), TOML, "eligibel"),
        (SQL.replace("{{ ref", "{% ref"), TOML, "features/complaints.sql"),
        (SQL.replace("91", ":days"), TOML, "features/complaints.sql: the statement binds unknown parameters: days"),
        ("drop table churn.scores", TOML, "features/complaints.sql"),
        ("select *\nfrom {{ ref('eligible') }}", TOML, "makes no column complaints_13w"),
    ],
)  # fmt: skip
def test_wrong_files_are_named_before_anything_is_computed(
    data: Path, sql: str, toml: str, fault: str
) -> None:
    write(data, sql, toml)
    with pytest.raises(ChurnError, match=re.escape(fault)):
        feature_rows(data)


@pytest.mark.parametrize(("gone", "kept"), [("sql", "toml"), ("toml", "sql")])
def test_a_file_without_its_other_half_is_named(data: Path, gone: str, kept: str) -> None:
    write(data)
    (data / "features" / f"complaints.{gone}").unlink()
    with pytest.raises(ConfigError, match=rf"complaints\.{gone} does not exist"):
        load_settings(data, data / "out")


def test_two_rows_of_a_user_and_date_are_refused(data: Path) -> None:
    write(data, sql=SQL.replace("count(*) as complaints_13w", "1 as complaints_13w").partition("group by")[0])
    with pytest.raises(ChurnError, match="several rows for one"):
        feature_rows(data)


def test_more_columns_of_a_log_become_features(tmp_path: Path) -> None:
    lines = ["uid,ts,plan,price"]
    lines += [
        f"u{user},{AS_OF - timedelta(days=4 + 7 * week)},{'gold' if week else ' free '},{week % 2 + user:.1f}"
        for user in range(20)
        for week in range(30)
    ]
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    columns = {"user_id": "uid", "occurred_at": "ts"}
    data = tmp_path / "data"
    log = ingest(tmp_path / "log.csv", data, columns=columns, features=["plan", "price"])
    assert log.features == (("plan_last", "plan"), ("price_mean_13w", "price"))
    rows, plan = feature_rows(data, product="main")
    assert {row["plan_last"] for row in rows} == {"free"}
    assert rows[0]["price_mean_13w"] == pytest.approx(int(rows[0]["user_id"][1:]) + 6 / 13)
    assert {"plan_last", "price_mean_13w"} <= set(plan.catalogue.names)

    (data / "features" / "plan.toml").write_text("[columns.plan_last]\nmeaning='my words'\ntype='text'\n")
    ingest(tmp_path / "log.csv", data, columns=columns, features=["plan"], force=True)
    assert "my words" in (data / "features" / "plan.toml").read_text()


@pytest.mark.parametrize(
    ("feature", "fault"), [("plam", "'plam' is no column of the log"), ("uid", "read as the user id")]
)
def test_a_column_that_cannot_become_a_feature_is_named(tmp_path: Path, feature: str, fault: str) -> None:
    (tmp_path / "log.csv").write_text("uid,ts,plan\na,2026-06-01,x\n")
    with pytest.raises(UsageError, match=fault):
        ingest(
            tmp_path / "log.csv",
            tmp_path / "data",
            columns={"user_id": "uid", "occurred_at": "ts"},
            features=[feature],
        )
    assert not (tmp_path / "data").exists()
