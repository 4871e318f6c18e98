"""A product with a lead of one week and a target of two: labels, a back-test and the weekly run."""

from collections import defaultdict
from datetime import date, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from churn.config.load import load_settings
from churn.config.settings import Settings
from churn.core.errors import CheckError, SourceError
from churn.dataset.build import plan_dataset
from churn.explain.user import explain_user
from churn.jobs.backtest import backtest, prepare_snapshots
from churn.model.artifact import Model
from churn.model.rows import read_rows
from churn.model.splits import split
from churn.warehouse.duckdb.client import DuckDBWarehouse
from tests.support.churn_runs import Runs
from tests.support.data_folders import AS_OF, write_table
from tests.support.fixtures_weekly import PRODUCTS, leaving_people
from tests.support.weekly_jobs import Job

DAY, WEEK = timedelta(days=1), timedelta(weeks=1)
PAST = AS_OF - 3 * WEEK  # the latest as-of date whose two target weeks are over


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 weeks of activity of a product whose target is two weeks."""
    folder = tmp_path_factory.mktemp("windows") / "data"
    write_table(folder, "events.activity", leaving_people(weeks=24))
    products = PRODUCTS.replace("[products.food]\n", "[products.food]\nlead_weeks = 1\ntarget_weeks = 2\n")
    assert products != PRODUCTS
    (folder / "churn.toml").write_text(products, "utf-8")
    return folder


@pytest.fixture
def settings(data: Path, tmp_path: Path) -> Settings:
    return load_settings(data, tmp_path / "out")


@pytest.fixture
def warehouse(data: Path) -> DuckDBWarehouse:
    return DuckDBWarehouse(None, data, memory="1GB")


def churned_by_hand(as_of: date) -> dict[str, int]:
    """Who was there in the week to a Sunday, and whether they were away on all of days 8 to 21 after it."""
    days: dict[str, set[date]] = defaultdict(set)
    for row in leaving_people(weeks=24).select(["user_id", "occurred_at"]).to_pylist():
        days[row["user_id"]].add(row["occurred_at"].date())
    here = {as_of - n * DAY for n in range(7)}
    target = {as_of + n * DAY for n in range(8, 22)}
    return {user: int(not seen & target) for user, seen in days.items() if seen & here}


def test_labels_are_what_the_log_says_of_both_weeks(warehouse: DuckDBWarehouse, settings: Settings) -> None:
    made = prepare_snapshots(warehouse, settings, "food", PAST)
    labels: dict[date, dict[str, int]] = defaultdict(dict)
    for row in (*made.training.to_pylist(), *made.scored.to_pylist()):
        labels[row["as_of_date"]][row["user_id"]] = row["churned"]
    assert max(made.training["as_of_date"].to_pylist()) == PAST - 3 * WEEK
    assert sorted(labels)[-1] == PAST
    assert len(labels) > 3
    for as_of, of_date in labels.items():
        assert of_date == churned_by_hand(as_of), as_of


def test_no_label_is_used_before_it_is_known(warehouse: DuckDBWarehouse, settings: Settings) -> None:
    plan = plan_dataset(warehouse, settings, "food", AS_OF, "run_food")
    assert plan.training_dates[-1] == AS_OF - 3 * WEEK
    made = prepare_snapshots(warehouse, settings, "food", PAST)
    training, delay = settings.product("food").training, plan.windows.label_delay
    rows = read_rows(made.training, as_of=PAST, settings=training, stage="x", label_delay=delay)
    roles = split(rows, training).roles
    held = [day for day, role in roles.items() if role == "holdout"]
    fitted = [day for day, role in roles.items() if role in ("training", "validation")]
    assert min(held) - max(fitted) >= 3 * WEEK
    assert [day for day, role in roles.items() if role == "gap"] == [held[0] - 2 * WEEK, held[0] - WEEK]
    with pytest.raises(CheckError, match=f"whose label is not known on {PAST - WEEK}"):
        read_rows(made.training, as_of=PAST - WEEK, settings=training, stage="x", label_delay=delay)


def test_a_back_test_is_judged_by_both_weeks(settings: Settings, tmp_path: Path) -> None:
    figures = backtest(settings, "food", [PAST], tmp_path / "judged.parquet")
    judged = pq.read_table(tmp_path / "judged.parquet")
    assert judged["target_week_start_date"].unique().to_pylist() == [PAST + 8 * DAY]
    churned = dict(zip(judged["user_id"].to_pylist(), judged["churned"].to_pylist(), strict=True))
    assert churned == churned_by_hand(PAST)
    assert figures["dates"][0]["rows"] == len(churned)


def test_a_back_test_waits_until_both_weeks_are_over(settings: Settings, tmp_path: Path) -> None:
    too_late = PAST + WEEK
    target = f"the target is {too_late + 8 * DAY} to {too_late + 21 * DAY}"
    with pytest.raises(SourceError, match=target):
        backtest(settings, "food", [too_late], tmp_path / "judged.parquet")


def test_a_weekly_run_says_what_it_predicts(runs: Runs, data: Path, tmp_path: Path) -> None:
    job = Job(runs, data, tmp_path / "out")
    ended = job()
    assert ended.code == 0, ended.err
    run = job.run()
    manifest = run.manifest
    assert (manifest.target_week_start, manifest.lead_weeks, manifest.target_weeks) == (AS_OF + 8 * DAY, 1, 2)
    assert max(Model.load(run.path("model")).card.training_dates) == AS_OF - 3 * WEEK
    report = run.fs.cat_file(run.path("charts", "report.html")).decode()
    assert "expected to stay away in the 2 weeks from 8\u00a0July" in report
    assert "Target weeks" in report
    user = run.scores(columns=["margin"])["user_id"][0].as_py()
    assert "stay away from Food in the 2 weeks from 2024-07-08 (as of" in explain_user(run.path(), user)[0]
