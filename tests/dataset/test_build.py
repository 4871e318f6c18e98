"""From source tables to snapshots in DuckDB: rows read, snapshots made, and no leak from later dates."""

import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, datetime, timedelta
from graphlib import TopologicalSorter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn.config.load import load_settings
from churn.config.settings import Settings
from churn.core.errors import RunError, SourceError
from churn.dataset.build import plan_dataset, run_step, run_steps
from churn.dataset.checks import check_snapshots
from churn.dataset.labels import plan_labels, read_labels
from churn.dataset.plan import DatasetPlan, rendered_steps
from churn.dataset.run_schemas import drop_schema, leftover_schemas
from churn.dataset.unload import read_snapshots, rows_by, snapshot_schema, unload
from churn.features.catalogue import DOUBLE, INTEGER, TEXT
from churn.jobs import backtest
from churn.warehouse.duckdb.client import DuckDBWarehouse
from tests.support.data_folders import (
    ACTIVITY,
    AS_OF,
    CLICKS,
    FOLLOWS,
    IPLAYER_ACTIVATIONS,
    NEWSLETTER,
    OPENS,
    SEGMENTS,
    SOUNDS_ACTIVATIONS,
    TODAY,
    broadcaster_folder,
    broadcaster_rows,
    event,
    event_folder,
    event_settings,
    files_below,
    weekly_events,
)

Open = Callable[..., DuckDBWarehouse]
Rows = Sequence[Mapping[str, Any]]
Tables = dict[str, list[dict[str, Any]]]
WEEK = timedelta(days=7)
ROOT = Path(__file__).parents[2]


def broadcaster_settings(data: Path, sampling: str = "all", **changes: Any) -> Settings:
    product = {
        "minimum_value": 60,
        "listening": True,
        "training": {"sampling": sampling, "max_dates": 5},
        **changes,
    }
    return load_settings(data, data / "out", {"products": {"iplayer": product}, "sql_memory": "1GB"})


def prepared(
    warehouse: DuckDBWarehouse, chosen: Settings, as_of: date = AS_OF, name: str = "iplayer"
) -> DatasetPlan:
    plan = plan_dataset(warehouse, chosen, name, as_of, f"run_{name}_{as_of:%Y%m%d}", today=TODAY)
    check_snapshots(warehouse, plan, run_steps(warehouse, plan))
    return plan


def snapshots(warehouse: DuckDBWarehouse, plan: DatasetPlan) -> pa.Table:
    """Every snapshot with its features, in order."""
    return warehouse.fetch(f"select * from {plan.schema}.feature_set order by as_of_date, user_id")


def by_key(table: pa.Table, *without: str) -> dict[tuple[str, date], dict[str, Any]]:
    rows = table.drop_columns([name for name in without if name in table.column_names]).to_pylist()
    return {(row["user_id"], row["as_of_date"]): row for row in rows}


@pytest.fixture(scope="module")
def rows() -> Tables:
    return broadcaster_rows()


@pytest.fixture(scope="module")
def data(rows: Tables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return broadcaster_folder(tmp_path_factory.mktemp("broadcaster") / "data", rows)


@pytest.fixture(scope="module")
def warehouse(data: Path) -> Iterator[DuckDBWarehouse]:
    opened = DuckDBWarehouse(None, data, memory="1GB", threads=2)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def plan(warehouse: DuckDBWarehouse, data: Path) -> DatasetPlan:
    return prepared(warehouse, broadcaster_settings(data))


INTEGERS = ("integer", "bigint", "hugeint")
FITS = {DOUBLE: ("double", "decimal(18,4)", "decimal(38,4)"), INTEGER: INTEGERS, TEXT: ("varchar",)}


def test_the_catalogue_names_the_columns_that_each_step_makes_with_their_types(
    warehouse: DuckDBWarehouse, plan: DatasetPlan
) -> None:
    assert plan.catalogue.left_out == {}
    for step in plan.catalogue.steps:
        wanted = {feature.name: feature.type for feature in plan.catalogue.features if feature.step == step}
        columns = warehouse.columns(f"{plan.schema}.{step}")
        assert list(columns)[:2] == ["user_id", "as_of_date"]
        assert set(columns) - {"user_id", "as_of_date"} == set(wanted)
        for name, type_ in wanted.items():
            assert columns[name] in FITS[type_], f"{step}.{name} is {columns[name]}"


def test_the_feature_set_has_the_catalogues_columns_in_order(
    warehouse: DuckDBWarehouse, plan: DatasetPlan
) -> None:
    columns = warehouse.columns(f"{plan.schema}.feature_set")
    assert tuple(columns) == ("user_id", "as_of_date", "purpose", "churned", *plan.catalogue.names)
    spelled = {DOUBLE: "double", INTEGER: "integer", TEXT: "varchar"}
    for feature in plan.catalogue.features:
        assert columns[feature.name] == spelled[feature.type]


def test_features_of_a_varied_audience_vary(warehouse: DuckDBWarehouse, plan: DatasetPlan) -> None:
    table = snapshots(warehouse, plan)
    assert table.num_rows > 100
    constant = {name for name in plan.catalogue.names if len(table[name].unique()) < 2}
    # What the rows of this test do not vary, plus shares of categories that nobody uses.
    categories = ("entertainment", "children_s", "factual", "learning", "comedy", "music", "sport", "weather")
    devices = ("desktop_web", "mobile_web", "tablet_app")
    unused = {f"{what}_{name}" for what in ("share_category", "schedule_match") for name in categories}
    unused |= {f"{what}_{name}" for what in ("share_device", "share_days_device") for name in devices}
    # Of the last year only what a longer history would tell.
    unused |= {"active_weeks_26w", "active_weeks_52w", "active_year_ago", "active_weeks_year_ago"}
    unused |= {f"segment_{name}" for name in ("news", "sport", "cbbc", "cbeebies", "weather")}
    assert constant - unused <= {"acorn_category", "personalisation", "mail_verified", "region", "series_13w"}


def test_numbers_lie_within_the_ranges_of_the_catalogue(
    warehouse: DuckDBWarehouse, plan: DatasetPlan
) -> None:
    table = snapshots(warehouse, plan)
    for feature in plan.catalogue.features:
        if feature.type != TEXT:
            bounds = pa.compute.min_max(table[feature.name]).as_py()
            low, high = feature.range
            assert low is None or bounds["min"] is None or bounds["min"] >= low, feature.name
            assert high is None or bounds["max"] is None or bounds["max"] <= high, feature.name


def test_training_dates_know_their_label_and_saw_their_window(
    warehouse: DuckDBWarehouse, plan: DatasetPlan
) -> None:
    assert plan.training_dates == tuple(AS_OF - n * WEEK for n in (6, 5, 4, 3, 2))
    rows = snapshots(warehouse, plan)
    dates = {(row["purpose"], row["as_of_date"]) for row in rows.to_pylist()}
    assert dates == {("score", AS_OF), *(("train", day) for day in plan.training_dates)}


def test_scored_users_are_told_apart_from_trained_ones(warehouse: DuckDBWarehouse, plan: DatasetPlan) -> None:
    for row in snapshots(warehouse, plan).to_pylist():
        assert (row["churned"] is None) == (row["purpose"] == "score")
        assert (row["as_of_date"] == AS_OF) == (row["purpose"] == "score")


def test_accounts_that_are_deleted_are_nowhere_and_those_listed_twice_are_there(
    rows: Tables, warehouse: DuckDBWarehouse, plan: DatasetPlan
) -> None:
    profiles = [row["bbc_hid3"] for row in rows["prez.id_profile"]]
    twice = {user for user in profiles if profiles.count(user) > 1}
    deleted = {row["bbc_hid3"] for row in rows["prez.id_profile"] if row["status"] == "deleted"}
    found = set(snapshots(warehouse, plan)["user_id"].to_pylist())
    assert twice & found
    assert deleted
    assert not deleted & found


# --- nothing from after the as-of date ---


def after(rows: Rows, day: date) -> list[int]:
    return [index for index, row in enumerate(rows) if row["date_of_event"] > day]


@st.composite
def futures(draw: st.DrawFn) -> tuple[date, int, str]:
    """A day, a seed, and what happens to the activity after that day."""
    cut = AS_OF - WEEK * draw(st.integers(0, 4))
    return cut, draw(st.integers(0, 2**16)), draw(st.sampled_from(["removed", "changed", "added", "all"]))


def another_future(rows: Rows, cut: date, seed: int, what: str) -> list[dict[str, Any]]:
    """The same activity up to ``cut``, and another one after it, in another order of rows."""
    rng = random.Random(seed)
    later = set(after(rows, cut))
    kept = [dict(row) for index, row in enumerate(rows) if index not in later]
    future = [dict(rows[index]) for index in sorted(later)]
    if what in ("removed", "all"):
        future = [row for row in future if rng.random() < 0.5]
    if what in ("changed", "all"):
        for row in future:
            row["playback_time_total"] = rng.choice([0, 1, 100_000, None])
            row["episode_id"] = rng.choice(["null", "e9_9"])
            row["pips_genre_level_1_names"] = rng.choice(["Weather", "Drama", None])
            row["audience_id"] = rng.choice([row["audience_id"], "user001", "somebody new"])
            row["destination"] = rng.choice(["PS_IPLAYER", "PS_SOUNDS", None])
    if what in ("added", "all"):
        for _ in range(40):
            day = cut + timedelta(days=rng.randint(1, 30))
            future.append({**rng.choice(rows), "date_of_event": day, "event_datetime_min": None})
    rng.shuffle(kept)
    return kept + future


# The small tables beside activity, and when their rows are from.
SIDE_DATES = {
    SEGMENTS: "date_of_segmentation",
    FOLLOWS: "cal_yyyymmdd",
    NEWSLETTER: "cal_yyyymmdd",
    OPENS: "eventdatetime",
    CLICKS: "eventdatetime",
    SOUNDS_ACTIVATIONS: "week_beginning",
    IPLAYER_ACTIVATIONS: "week_beginning",
}


def another_side(rows: Rows, column: str, cut: date, seed: int) -> list[dict[str, Any]]:
    """The same rows of a small table up to ``cut``, and others after it."""
    rng = random.Random(seed)
    known = [dict(row) for row in rows if str(row[column])[:10] <= cut.isoformat()]
    future = [dict(row) for row in rows if str(row[column])[:10] > cut.isoformat() and rng.random() < 0.5]
    for _ in range(40):
        day = cut + timedelta(days=rng.choice([1, 1, 7, 8, 30]))
        of_type = {str: day.isoformat(), datetime: datetime(day.year, day.month, day.day)}
        row = rng.choice(rows)
        future.append({**row, column: of_type.get(type(row[column]), day)})
    rng.shuffle(known)
    return known + future


@settings(max_examples=8)
@given(futures())
def test_nothing_after_a_date_changes_what_is_known_on_it(
    rows: Tables,
    warehouse: DuckDBWarehouse,
    plan: DatasetPlan,
    future: tuple[date, int, str],
) -> None:
    cut, seed, what = future
    other_rows = {**rows, ACTIVITY: another_future(rows[ACTIVITY], cut, seed, what)}
    for table, column in SIDE_DATES.items():
        other_rows[table] = another_side(rows[table], column, cut, seed)
    # What is published later than any target week known on the day is not read, whatever it is. (That an episode is
    # a podcast, for example, is read where somebody used it all the same: these rows do not wait for the publication.)
    late, later = ((cut + timedelta(days=days)).isoformat() for days in (15, 16))
    every_series = {row["series_id"]: row for row in rows["prez.scv_vmb"]}.values()
    other_rows["prez.scv_vmb"] = [
        *({**row, "tx_date": min(row["tx_date"], late)} for row in rows["prez.scv_vmb"]),
        *(
            {**row, "episode_id": f"coming{n}", "tx_date": later}
            | {"pips_genre_level_1_names": "Weather", "master_brand_id": "bbc_four"}
            for row in every_series
            for n in range(40)
        ),
    ]
    with TemporaryDirectory() as folder:
        data = broadcaster_folder(Path(folder), other_rows)
        other = DuckDBWarehouse(None, data, memory="1GB", threads=2)
        try:
            # Later weeks would say which weeks look incomplete.
            right = [f"{AS_OF - n * WEEK - timedelta(days=6)}" for n in range(30)]
            chosen = broadcaster_settings(data, quiet_weeks=right)
            known_later = snapshots(other, prepared(other, chosen))
        finally:
            other.close()
    before, changed = by_key(snapshots(warehouse, plan)), by_key(known_later)
    assert plan.left_out == ()
    known = {key: row for key, row in before.items() if key[1] <= cut}
    assert known.keys() == {key for key in changed if key[1] <= cut}
    for key, row in known.items():
        # The label of a date is known 14 days later.
        label = {} if key[1] + 2 * WEEK <= cut else {"churned": None}
        assert {**row, **label} == {**changed[key], **label}


def test_the_schedule_that_is_published_beforehand_is_read(
    rows: Tables, warehouse: DuckDBWarehouse, plan: DatasetPlan, tmp_path: Path
) -> None:
    """The one exception, so that the test above cannot pass for the wrong reason."""
    until = AS_OF.isoformat()
    data = broadcaster_folder(
        tmp_path / "data",
        {
            **rows,
            "prez.scv_vmb": [
                row | ({} if row["tx_date"] <= until else {"tx_date": "null"}) for row in rows["prez.scv_vmb"]
            ],
        },
    )
    other = DuckDBWarehouse(None, data, memory="1GB", threads=2)
    try:
        table = snapshots(other, prepared(other, broadcaster_settings(data)))
    finally:
        other.close()
    before = snapshots(warehouse, plan)
    differing = {name for name in before.column_names if before[name] != table[name]}
    assert {"series_due_target", "share_due_lead", "series_ended_4w", "episodes_due_target"} <= differing
    reading = {"features_content", "features_episodes", "features_last_week", "features_schedule"}
    assert differing <= {f.name for f in plan.catalogue.features if f.step in reading}
    assert "schedule_match" in differing


def test_a_snapshot_is_the_same_for_training_and_for_scoring(
    warehouse: DuckDBWarehouse, data: Path, plan: DatasetPlan
) -> None:
    trained = by_key(snapshots(warehouse, plan), "purpose", "churned")
    for day in (AS_OF - 2 * WEEK, AS_OF - 3 * WEEK):
        serving = prepared(warehouse, broadcaster_settings(data), day)
        assert serving.catalogue == plan.catalogue
        scored = by_key(snapshots(warehouse, serving), "purpose", "churned")
        scored = {key: row for key, row in scored.items() if key[1] == day}
        then = {key: row for key, row in trained.items() if key[1] == day}
        assert then == scored
        # Accounts without a date, or dated after the as-of date, are among them.
        assert None in [row["account_age_days"] for row in then.values()]
        drop_schema(warehouse, serving.schema)


def test_a_cohort_is_a_part_of_everybody_and_every_user_is_in_one(
    warehouse: DuckDBWarehouse, data: Path, plan: DatasetPlan
) -> None:
    chosen = broadcaster_settings(data, "cohort")
    cohort = plan_dataset(warehouse, chosen, "iplayer", AS_OF, "cohort", today=TODAY)
    run_steps(warehouse, cohort)
    everybody, sampled = by_key(snapshots(warehouse, plan)), by_key(snapshots(warehouse, cohort))
    assert all(everybody[key] == row for key, row in sampled.items())
    assert {k for k in sampled if k[1] == AS_OF} == {k for k in everybody if k[1] == AS_OF}
    trained = [user for user, day in sampled if day < AS_OF]
    assert len(trained) == len(set(trained))
    drop_schema(warehouse, "cohort")


def test_outcomes_are_learned_by_the_same_rule_as_labels(
    warehouse: DuckDBWarehouse, data: Path, plan: DatasetPlan
) -> None:
    day = AS_OF - 2 * WEEK
    then = plan_dataset(warehouse, broadcaster_settings(data), "iplayer", day, "past", today=TODAY)
    later = plan_labels(warehouse, broadcaster_settings(data), then, "past_outcomes", today=TODAY)
    assert later.known_until == AS_OF
    run_steps(warehouse, later)
    learned = read_labels(warehouse, later)
    labels = {
        user: row["churned"] for (user, d), row in by_key(snapshots(warehouse, plan)).items() if d == day
    }
    assert labels
    assert {user: learned[user] for user in labels} == labels
    assert set(labels.values()) == {0, 1}
    for schema in ("past", "past_outcomes"):
        drop_schema(warehouse, schema)


@pytest.mark.parametrize(("log_goes_on", "known"), [(True, True), (False, False)])
def test_a_quiet_weekend_is_not_the_end_of_the_data(
    tmp_path: Path, open_warehouse: Open, log_goes_on: bool, known: bool
) -> None:
    """Everybody comes on Wednesdays; that the target week was over shows in what came later."""
    last = AS_OF + (3 if log_goes_on else 2) * WEEK
    events = [*weekly_events(["a"], 30, last=last), *weekly_events(["b"], 24)]
    data = event_folder(tmp_path, events)
    opened = open_warehouse(data)
    if not known:
        with pytest.raises(SourceError, match=r"the target is 2024-07-08 to 2024-07-14, and the activ"):
            backtest.prepare_snapshots(opened, event_settings(data), "food", AS_OF)
        return
    scored = backtest.prepare_snapshots(opened, event_settings(data), "food", AS_OF).scored
    outcomes = dict(zip(scored["user_id"].to_pylist(), scored["churned"].to_pylist(), strict=True))
    assert outcomes == {"a": 0, "b": 1}


# --- weeks and labels at their edges ---


def food(
    data: Path, open_warehouse: Open, events: Rows, **product: Any
) -> tuple[DuckDBWarehouse, DatasetPlan]:
    folder = event_folder(data, events)
    chosen = event_settings(folder, food=product)
    opened = open_warehouse(folder)
    return opened, prepared(opened, chosen, name="food")


def test_the_target_week_starts_on_its_monday_and_ends_on_its_sunday(
    tmp_path: Path, open_warehouse: Open
) -> None:
    day = AS_OF - 2 * WEEK
    returns = {
        "lead_sunday": datetime(2024, 6, 23, 23, 59, 59),
        "target_monday": datetime(2024, 6, 24, 0, 0, 0),
        "target_sunday": datetime(2024, 6, 30, 23, 59, 59),
    }
    events = weekly_events(["steady"], 24)
    for user, at in returns.items():
        events += [*weekly_events([user], 20, last=day), event(user, at)]
    opened, plan = food(tmp_path, open_warehouse, events)
    labels = {user: row["churned"] for (user, d), row in by_key(snapshots(opened, plan)).items() if d == day}
    assert labels == {"steady": 0, "lead_sunday": 1, "target_monday": 0, "target_sunday": 0}


def test_the_last_observed_week_starts_on_its_monday_and_ends_on_its_sunday(
    tmp_path: Path, open_warehouse: Open
) -> None:
    events = [
        *weekly_events(["steady"], 24),
        event("week_before", datetime(2024, 6, 23, 23, 59, 59)),
        event("monday", datetime(2024, 6, 24)),
        event("sunday", datetime(2024, 6, 30, 23, 59, 59)),
        event("too_late", datetime(2024, 7, 1)),
    ]
    opened, plan = food(tmp_path, open_warehouse, events)
    scored = {user for user, day in by_key(snapshots(opened, plan)) if day == AS_OF}
    assert scored == {"steady", "monday", "sunday"}


@pytest.mark.parametrize("clocks_change", [date(2024, 3, 31), date(2023, 10, 29)])
def test_a_day_on_which_clocks_change_is_a_day(
    clocks_change: date, tmp_path: Path, open_warehouse: Open
) -> None:
    hours = [datetime(clocks_change.year, clocks_change.month, clocks_change.day, hour) for hour in range(24)]
    events = weekly_events(["steady"], 44) + [event("night", hour) for hour in hours]
    opened, plan = food(tmp_path, open_warehouse, events)
    rows = opened.fetch(f"select * from {plan.schema}.user_week where user_id = 'night'").to_pylist()
    assert len(rows) == 1
    assert (rows[0]["events"], rows[0]["active_days"]) == (24, 1)
    assert (rows[0]["value_weekday_sunday"], rows[0]["value_daypart_overnight"]) == (24, 6)


def test_groups_without_data_are_left_out_with_the_reason(tmp_path: Path, open_warehouse: Open) -> None:
    events = weekly_events(["a", "b"], 24)
    for row in events:
        row["occurred_at"] = row["occurred_at"].replace(hour=0)
    opened, plan = food(tmp_path, open_warehouse, events, categories=["fruit"], devices=["web"])
    assert plan.catalogue.left_out == {
        "page views": "activity has no page views",
        "category": "activity has no category",
        "schedule match": "there is no content catalogue",
        "device": "activity has no device",
        "time of day": "activity has dates without times",
        "items": "activity has no item ids",
        "favourite": "activity has no item ids",
        "favourite titles": "activity has no item ids",
        "item factors": "activity has no item ids",
        "content": "there is no content catalogue",
        "last week": "there is no content catalogue",
        "listening": "the product's definition does not say listening",
        "episodes": "there is no content catalogue",
        "other products": "activity is of one product",
        "devices of other products": "activity is of one product",
        "favourite of other products": "activity is of one product",
        "profile": "there is no profile table",
        "segments": "there is no table of segments",
        "activations": "there are no tables of activations",
        "activation titles": "there are no tables of activations",
        "newsletter": "there is no table of newsletter choices",
        "e-mail": "there are no tables of e-mails",
        "follows": "there is no table of follows",
    }
    assert set(plan.catalogue.names) == set(opened.columns(f"{plan.schema}.feature_set")) - {
        "user_id",
        "as_of_date",
        "purpose",
        "churned",
    }


# --- values are values ---

HOSTILE = "x'); drop table feature_set; --"


def test_hostile_values_are_counted_like_any_other(tmp_path: Path, open_warehouse: Open) -> None:
    columns = {"category": HOSTILE, "device": "$as_of", "item_id": "{{ ref('x') }}", "product": ":as_of '%s'"}
    events = weekly_events(["a';--", "日本 | b"], 24, **columns) + weekly_events(["c"], 24, category="fruit")
    opened, plan = food(
        tmp_path,
        open_warehouse,
        events,
        match=[columns["product"], "food"],
        categories=[HOSTILE, "fruit"],
        devices=["$as_of", "web"],
    )
    by_user = by_key(snapshots(opened, plan))
    share = "share_category_x_drop_table_feature_set"
    assert {user: row[share] for (user, day), row in by_user.items() if day == AS_OF} == {
        "a';--": 1,
        "日本 | b": 1,
        "c": 0,
    }
    assert by_user["a';--", AS_OF]["share_device_as_of"] == 1
    assert by_user["a';--", AS_OF]["items_13w"] == 1


def test_statements_written_out_for_reading_make_the_same_rows(
    warehouse: DuckDBWarehouse, plan: DatasetPlan
) -> None:
    pasted = replace(plan, schema="pasted")
    warehouse.execute("create schema pasted")
    for text in rendered_steps(pasted, "duckdb").values():
        warehouse.execute(text)
    assert snapshots(warehouse, pasted) == snapshots(warehouse, plan)
    drop_schema(warehouse, "pasted")


# --- the same every time ---


def run_as_graph(warehouse: DuckDBWarehouse, plan: DatasetPlan) -> None:
    """Run the steps as soon as what they need is there, several at a time."""
    steps = {step.name: step for step in plan.steps}
    sorter = TopologicalSorter({name: step.needs for name, step in steps.items()})
    sorter.prepare()
    with ThreadPoolExecutor(4) as pool:
        while sorter.is_active():
            ready = sorter.get_ready()
            list(pool.map(lambda name: run_step(warehouse, plan, steps[name]), ready))
            sorter.done(*ready)


def test_the_same_plan_gives_the_same_files_to_the_byte(
    rows: Tables,
    warehouse: DuckDBWarehouse,
    plan: DatasetPlan,
    tmp_path: Path,
    open_warehouse: Open,
) -> None:
    shuffled = {name: random.Random(3).sample(table, len(table)) for name, table in rows.items()}
    again = broadcaster_folder(tmp_path / "data", shuffled)
    other = open_warehouse(again, tmp_path / "out" / "warehouse.duckdb", threads=4)
    twin = plan_dataset(other, broadcaster_settings(again), "iplayer", AS_OF, "run_x", today=TODAY)
    run_as_graph(other, twin)
    folders = []
    for purpose in ("train", "score"):
        for opened, planned, name in ((warehouse, plan, "one"), (other, twin, "two")):
            folder = tmp_path / name / purpose
            folder.mkdir(parents=True)
            unload(opened, planned, purpose, folder, 40)
            folders.append(folder)
    assert len(files_below(tmp_path / "one")) > 3
    assert files_below(tmp_path / "one") == files_below(tmp_path / "two")


# --- unloading ---


@pytest.mark.parametrize(
    ("purpose", "rows_per_file"),
    [("score", 1), ("train", 7), ("train", 1_000_000), ("score", 1_000_000)],
)
def test_files_hold_every_row_once_in_order(
    warehouse: DuckDBWarehouse, plan: DatasetPlan, tmp_path: Path, purpose: str, rows_per_file: int
) -> None:
    files = unload(warehouse, plan, purpose, tmp_path, rows_per_file)
    assert [Path(path).name for path, _ in files] == [f"part-{n:05d}.parquet" for n in range(len(files))]
    assert sorted(Path(path) for path, _ in files) == sorted(tmp_path.iterdir())
    assert all(rows == pq.read_metadata(path).num_rows for path, rows in files)
    assert all(rows == rows_per_file for _, rows in files[:-1])
    assert 0 < files[-1][1] <= rows_per_file
    table = read_snapshots(files)
    assert rows_by(files) == table.num_rows
    assert table.schema == snapshot_schema(plan, labelled=purpose == "train")
    whole = snapshots(warehouse, plan)
    expected = whole.filter(pa.compute.equal(whole["purpose"], purpose)).select(table.column_names)
    assert table == expected.cast(table.schema)
    if purpose == "train":
        assert table["churned"].null_count == 0


@pytest.mark.parametrize("rows_per_file", [10_000, 16_384, 39_999, 40_000])
def test_files_are_filled_across_the_batches_that_they_come_in(
    warehouse: DuckDBWarehouse, plan: DatasetPlan, tmp_path: Path, rows_per_file: int
) -> None:
    few = plan.catalogue.features[:3]
    features = ", ".join(f"cast(null as {feature.type}) as {feature.name}" for feature in few)
    warehouse.execute("create schema if not exists large")
    warehouse.execute(
        "create or replace table large.feature_set as"
        " select right('0000' || cast(range as varchar), 5) as user_id, date '2024-06-30' as as_of_date,"
        f" 'score' as purpose, null as churned, {features} from range(40000)"
    )
    large = replace(plan, schema="large", catalogue=replace(plan.catalogue, features=few))
    files = unload(warehouse, large, "score", tmp_path, rows_per_file)
    sizes = [rows for _, rows in files]
    assert sizes == [min(rows_per_file, 40_000 - start) for start in range(0, 40_000, rows_per_file)]
    users = read_snapshots(files, ["user_id"])["user_id"].to_pylist()
    assert users == [f"{n:05d}" for n in range(40_000)]


def test_nobody_to_unload_makes_no_file(
    warehouse: DuckDBWarehouse, plan: DatasetPlan, tmp_path: Path
) -> None:
    assert unload(warehouse, plan, "nobody", tmp_path, 10) == []
    with pytest.raises(RunError, match="no user was eligible"):
        read_snapshots([])


FULL_DISK = """
import resource, signal, sys
from datetime import date
from pathlib import Path
from churn.config.load import load_settings
from churn.core.errors import RunError, SourceError
from churn.dataset.build import plan_dataset, run_steps
from churn.dataset.unload import unload
from churn.warehouse.duckdb.client import DuckDBWarehouse
data, out = Path(sys.argv[1]), Path(sys.argv[2])
training = {"sampling": "all", "max_dates": 5}
settings = load_settings(data, out, {"products": {"iplayer": {"training": training}}})
warehouse = DuckDBWarehouse(None, data, memory="500MB", threads=1)
plan = plan_dataset(warehouse, settings, "iplayer", date(2024, 6, 30), "run", today=date(2024, 8, 1))
run_steps(warehouse, plan)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for room in (2, 30_000):  # full when the file is opened, and in the middle of writing it
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    try:
        unload(warehouse, plan, "train", out, 1_000)
    except RunError as error:
        print(error)
"""


@pytest.mark.process
def test_a_full_disk_is_said_to_be_full(data: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(data), str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"{tmp_path} cannot be written: ") == 2
    assert done.stdout.count("free some space and run again") == 2


# --- what runs leave behind ---


def test_only_what_dead_runs_of_the_very_product_left_behind_is_found(
    data: Path, open_warehouse: Open
) -> None:
    opened = open_warehouse(data)
    for name in (
        "run_food_20240701t180000z_aaaaaa",
        "run_food_20240708t180000z_bbbbbb",
        "run_food_fresh_20240701t180000z_cccccc",
        "run_foo_20240701t180000z_dddddd",
        "run_food_notes",
        "churn",
    ):
        opened.execute(f"create schema {name}")
    schemas = leftover_schemas(opened, "food")
    assert schemas == ["run_food_20240701t180000z_aaaaaa", "run_food_20240708t180000z_bbbbbb"]
    assert len(leftover_schemas(opened)) == 4
    opened.execute(f"create table {schemas[0]}.t as select 1 as a")
    for name in schemas:
        drop_schema(opened, name)
    assert leftover_schemas(opened, "food") == []
    assert leftover_schemas(opened, "food_fresh") == ["run_food_fresh_20240701t180000z_cccccc"]
