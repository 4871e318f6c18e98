"""Bad input is refused before any SQL step runs, in words that say what is wrong, where, and what to do."""

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from churn.config.load import load_settings
from churn.config.settings import Settings
from churn.core.errors import ChurnError, ConfigError, RunError, SourceError, UsageError
from churn.dataset.build import plan_dataset, run_steps
from churn.dataset.plan import DatasetPlan
from churn.sources.availability import ABSENT, Availability, resolve_views
from churn.sources.contract import OPTIONAL, VIEWS
from churn.warehouse.duckdb.client import DuckDBWarehouse
from tests.support.data_folders import (
    ACTIVITY,
    AS_OF,
    BBC,
    EVENTS,
    TODAY,
    broadcaster_folder,
    broadcaster_rows,
    event,
    event_folder,
    event_settings,
    files_below,
    weekly_events,
    write_table,
)

Open = Callable[..., DuckDBWarehouse]
ROOT = Path(__file__).parents[2]
DAY = timedelta(days=1)
GOOD = weekly_events(["a", "b", "c"], 24)


def planned(
    data: Path, open_warehouse: Open, chosen: Settings | None = None, as_of: date = AS_OF, name: str = "food"
) -> DatasetPlan:
    opened = open_warehouse(data)
    return plan_dataset(opened, chosen or event_settings(data), name, as_of, "run", today=TODAY)


def refused(kind: type[ChurnError], *arguments: Any, **more: Any) -> str:
    with pytest.raises(kind) as refusal:
        planned(*arguments, **more)
    return str(refusal.value)


def test_good_input_is_planned(tmp_path: Path, open_warehouse: Open) -> None:
    made = planned(event_folder(tmp_path, GOOD), open_warehouse)
    assert (made.facts.rows, made.facts.first_date, made.facts.last_date) == (
        72,
        AS_OF - 4 * DAY - 23 * 7 * DAY,
        AS_OF - 4 * DAY,
    )


# --- tables, columns, types ---


def test_a_missing_table_is_named(tmp_path: Path, open_warehouse: Open) -> None:
    write_table(tmp_path, "prez.scv_vmb", [])
    message = refused(SourceError, tmp_path, open_warehouse)
    assert message == "the source tables cannot be used:\n  - table events.activity is missing"


def test_a_missing_file_is_an_empty_folder(tmp_path: Path, open_warehouse: Open) -> None:
    (tmp_path / "tables" / "events.activity").mkdir(parents=True)
    assert "holds no tables" in refused(SourceError, tmp_path, open_warehouse)


@pytest.mark.parametrize("column", EVENTS.names)
def test_a_missing_column_is_named_with_those_that_are_there(
    tmp_path: Path, open_warehouse: Open, column: str
) -> None:
    table = pa.Table.from_pylist(GOOD, schema=EVENTS).drop_columns([column])
    write_table(tmp_path, "events.activity", table)
    message = refused(SourceError, tmp_path, open_warehouse)
    assert (
        f"table events.activity has no column {column} (it has: {', '.join(table.column_names)})" in message
    )


@pytest.mark.parametrize(
    ("column", "type_", "says"),
    [
        ("user_id", pa.int64(), "events.activity.user_id is bigint, but should be text"),
        ("user_id", pa.binary(), "events.activity.user_id is blob, but should be text"),
        ("user_id", pa.list_(pa.string()), "events.activity.user_id is varchar[], but should be text"),
        ("occurred_at", pa.string(), "events.activity.occurred_at is varchar, but should be timestamp"),
        ("occurred_at", pa.date32(), "events.activity.occurred_at is date, but should be timestamp"),
        (
            "occurred_at",
            pa.timestamp("us", "Europe/London"),
            "events.activity.occurred_at carries a time zone",
        ),
        ("value", pa.string(), "events.activity.value is varchar, but should be number"),
        ("value", pa.bool_(), "events.activity.value is boolean, but should be number"),
        ("category", pa.int32(), "events.activity.category is integer, but should be text"),
    ],
)
def test_a_column_of_a_wrong_type_is_named(
    tmp_path: Path, open_warehouse: Open, column: str, type_: pa.DataType, says: str
) -> None:
    table = pa.Table.from_pylist(GOOD, schema=EVENTS)
    wrong = pa.nulls(table.num_rows, type_)
    write_table(
        tmp_path, "events.activity", table.set_column(table.column_names.index(column), column, wrong)
    )
    assert says in refused(SourceError, tmp_path, open_warehouse)


@pytest.mark.parametrize("type_", [pa.int32(), pa.float32(), pa.decimal128(12, 2), pa.uint8(), pa.int64()])
def test_any_number_is_a_value(tmp_path: Path, open_warehouse: Open, type_: pa.DataType) -> None:
    table = pa.Table.from_pylist(GOOD, schema=EVENTS)
    values = pa.array([Decimal(1)] * table.num_rows).cast(type_)
    write_table(tmp_path, "events.activity", table.set_column(3, "value", values))
    assert planned(tmp_path, open_warehouse).facts.rows == 72


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_any_precision_is_a_time(tmp_path: Path, open_warehouse: Open, unit: str) -> None:
    table = pa.Table.from_pylist(GOOD, schema=EVENTS)
    times = table["occurred_at"].cast(pa.timestamp(unit))
    write_table(tmp_path, "events.activity", table.set_column(2, "occurred_at", times))
    opened = open_warehouse(tmp_path)
    made = plan_dataset(opened, event_settings(tmp_path), "food", AS_OF, "run", today=TODAY)
    assert run_steps(opened, made)["feature_set"] > 0


def test_everything_that_is_wrong_with_the_tables_is_listed(tmp_path: Path, open_warehouse: Open) -> None:
    write_table(tmp_path, "events.activity", pa.table({"user_id": [1], "occurred_at": ["now"]}))
    assert len(refused(SourceError, tmp_path, open_warehouse).splitlines()) == 8


def test_faults_of_optional_tables_are_listed_too(tmp_path: Path, open_warehouse: Open) -> None:
    write_table(tmp_path, ACTIVITY, [])
    write_table(tmp_path, "prez.scv_vmb", BBC["prez.scv_vmb"].empty_table().drop_columns(["tx_date"]))
    chosen = load_settings(tmp_path, tmp_path, optional=True)
    message = refused(SourceError, tmp_path, open_warehouse, chosen, name="iplayer")
    assert "table prez.scv_vmb has no column tx_date" in message


BROADCASTER = broadcaster_rows(users=6)


def broadcaster(
    data: Path, open_warehouse: Open, tables: Mapping[str, Sequence[Mapping[str, Any]]]
) -> DatasetPlan:
    folder = broadcaster_folder(data, tables)
    chosen = load_settings(folder, folder / "out", {"sql_memory": "1GB"})
    return planned(folder, open_warehouse, chosen, name="iplayer")


@pytest.mark.parametrize("without", ["missing", "empty"])
def test_a_required_table_that_is_missing_or_empty_stops_the_run(
    tmp_path: Path, open_warehouse: Open, without: str
) -> None:
    tables = {**BROADCASTER, ACTIVITY: []}
    if without == "missing":
        del tables[ACTIVITY]
    with pytest.raises(SourceError, match=f"\n  - table {ACTIVITY} is {without}$"):
        broadcaster(tmp_path, open_warehouse, tables)


@pytest.mark.parametrize("table", [table for table in BBC if table != ACTIVITY])
def test_what_a_missing_table_is_needed_for_is_left_out_with_its_name(
    tmp_path: Path, open_warehouse: Open, table: str
) -> None:
    tables = {name: rows for name, rows in BROADCASTER.items() if name != table}
    available = broadcaster(tmp_path, open_warehouse, tables).facts.available
    lacking = {part for part, needed in VIEWS["bbc"].items() if table in needed}
    assert lacking
    assert {flag for flag in ABSENT if not getattr(available, flag)} == lacking
    assert available.reasons == dict.fromkeys(lacking, f"table {table} is missing")


def test_what_an_empty_table_is_needed_for_is_left_out_with_its_name(
    tmp_path: Path, open_warehouse: Open
) -> None:
    tables = {table: rows if table == ACTIVITY else [] for table, rows in BROADCASTER.items()}
    made = broadcaster(tmp_path, open_warehouse, tables)
    available = made.facts.available
    assert {flag for flag in ABSENT if not getattr(available, flag)} == set(OPTIONAL)
    assert available.reasons == {part: f"table {VIEWS['bbc'][part][0]} is empty" for part in OPTIONAL}
    needed = {
        "content": "content",
        "episodes": "content",
        "schedule match": "content",
        "last week": "content",
        "profile": "profile",
        "segments": "segments",
        "activations": "activations",
        "activation titles": "activations",
        "favourite titles": "titles",
        "favourite of other products": "titles",
        "item factors": "factors",
        "newsletter": "newsletter",
        "e-mail": "mails",
        "follows": "follows",
    }
    left_out = {group: available.reasons[part] for group, part in needed.items()}
    assert made.catalogue.left_out == {
        **left_out,
        "listening": "the product's definition does not say listening",
    }


def test_a_broadcaster_with_all_its_tables_lacks_nothing(tmp_path: Path, open_warehouse: Open) -> None:
    made = broadcaster(tmp_path, open_warehouse, BROADCASTER)
    assert made.facts.available == Availability()
    opened = open_warehouse(tmp_path)
    plan_dataset(opened, load_settings(tmp_path, tmp_path / "out"), "iplayer", AS_OF, "views", today=TODAY)
    for view in resolve_views("bbc", {}).views:
        found = opened.fetch(f"select * from views.{view}")
        assert found.num_rows > 0, view
        for column in found.column_names:
            assert view == "factors" or found[column].null_count < found.num_rows, f"{view}.{column}"


def test_one_damaged_file_among_good_ones_is_named(tmp_path: Path, open_warehouse: Open) -> None:
    data = event_folder(tmp_path, GOOD)
    (data / "tables" / "events.activity" / "part-00001.parquet").write_bytes(b"PAR1 and then nothing")
    assert "part-00001.parquet cannot be read as Parquet" in refused(SourceError, data, open_warehouse)


# --- dates and history ---


@pytest.mark.parametrize("day", [AS_OF + n * DAY for n in range(-6, 0)])
def test_a_day_that_is_no_sunday_is_refused_with_the_sundays_near_it(
    tmp_path: Path, open_warehouse: Open, day: date
) -> None:
    message = refused(UsageError, event_folder(tmp_path, GOOD), open_warehouse, as_of=day)
    assert message.endswith(f"the Sundays near it are {AS_OF - 7 * DAY} and {AS_OF}")


def test_a_sunday_that_is_not_over_is_refused_with_the_last_one_that_is(
    tmp_path: Path, open_warehouse: Open
) -> None:
    data = event_folder(tmp_path, GOOD)
    opened = open_warehouse(data)
    for today in (AS_OF, AS_OF - DAY):
        with pytest.raises(UsageError, match=f"{AS_OF} is not over yet .*latest as-of date is 2024-06-23"):
            plan_dataset(opened, event_settings(data), "food", AS_OF, "run", today=today)
    assert (
        plan_dataset(opened, event_settings(data), "food", AS_OF, "run", today=AS_OF + DAY).windows.as_of
        == AS_OF
    )


@pytest.mark.parametrize(("weeks", "enough"), [(17, False), (18, True)])
def test_too_little_history_says_how_much_is_needed_and_from_when_there_is_enough(
    tmp_path: Path, open_warehouse: Open, weeks: int, enough: bool
) -> None:
    monday = AS_OF - 6 * DAY
    start = monday - (weeks - 1) * 7 * DAY
    events = [event(user, start + n * 7 * DAY) for user in "ab" for n in range(weeks + 3)]
    data = event_folder(tmp_path, events)
    if enough:
        assert len(planned(data, open_warehouse).training_dates) == 4
        return
    message = refused(SourceError, data, open_warehouse)
    assert message == (
        f"product 'food' has 17 full weeks of history on {AS_OF} (activity starts on {start}), but 18 are "
        "needed: 13 to observe, 2 until the label is known, and 3 more for 4 as-of dates to train and judge on. "
        f"The earliest as-of date is {AS_OF + 7 * DAY}"
    )
    # What the message promises holds.
    assert len(planned(data, open_warehouse, as_of=AS_OF + 7 * DAY).training_dates) == 4


def test_a_first_week_that_starts_late_does_not_count(tmp_path: Path, open_warehouse: Open) -> None:
    tuesday = AS_OF - 6 * DAY - 17 * 7 * DAY + DAY
    data = event_folder(tmp_path, [event(user, tuesday + n * 7 * DAY) for user in "ab" for n in range(18)])
    assert "has 17 full weeks of history" in refused(SourceError, data, open_warehouse)


def test_a_limit_on_training_dates_is_not_a_lack_of_history(tmp_path: Path, open_warehouse: Open) -> None:
    data = event_folder(tmp_path, GOOD)
    chosen = event_settings(data, food={"training": {"max_dates": 2}})
    assert len(planned(data, open_warehouse, chosen).training_dates) == 2


def test_a_date_before_the_data_is_refused(tmp_path: Path, open_warehouse: Open) -> None:
    message = refused(SourceError, event_folder(tmp_path, GOOD), open_warehouse, as_of=date(2020, 1, 5))
    assert "product 'food' has no activity up to 2020-01-05" in message


def test_a_date_after_the_data_is_refused_with_the_latest_that_they_reach(
    tmp_path: Path, open_warehouse: Open
) -> None:
    data = event_folder(tmp_path, weekly_events("abc", 30, last=AS_OF - 14 * DAY))
    message = refused(SourceError, data, open_warehouse)
    assert message == (
        f"product 'food' has no activity in the week that ends on {AS_OF}: its activity ends on "
        f"{AS_OF - 18 * DAY}, so the latest as-of date is {AS_OF - 21 * DAY}"
    )
    assert planned(data, open_warehouse, as_of=AS_OF - 21 * DAY).windows.as_of == AS_OF - 21 * DAY


# --- products ---


def test_an_unknown_product_is_refused_with_the_known_ones(tmp_path: Path, open_warehouse: Open) -> None:
    data = event_folder(tmp_path, GOOD)
    chosen = event_settings(data, food={}, drink={})
    message = refused(UsageError, data, open_warehouse, chosen, name="foood")
    assert message.startswith("unknown product 'foood'; ")
    assert message.endswith("knows: drink, food")


def test_an_empty_product_is_refused_with_the_products_in_the_data(
    tmp_path: Path, open_warehouse: Open
) -> None:
    data = event_folder(
        tmp_path, [*GOOD, event("a", AS_OF, product="it's; --"), event("a", AS_OF, product=None)]
    )
    chosen = event_settings(data, drink={"match": ["beer", "wine"]})
    message = refused(SourceError, data, open_warehouse, chosen, name="drink")
    assert message.startswith(f"product 'drink' has no activity up to {AS_OF}: it matches beer, wine, and")
    assert "the products in the data are food (72 events), it's; -- (1 events)." in message


def test_a_log_without_events_is_refused(tmp_path: Path, open_warehouse: Open) -> None:
    message = refused(SourceError, event_folder(tmp_path, []), open_warehouse)
    assert message == "the source tables cannot be used:\n  - table events.activity is empty"


@pytest.mark.parametrize("name", ["x'; drop table scores; --", "../../etc", "a b", "Ünsafe", "a" * 64])
def test_an_unsafe_product_name_gets_no_further_than_the_settings(tmp_path: Path, name: str) -> None:
    data = event_folder(tmp_path, GOOD)
    (data / "churn.toml").write_text(f'source = "events"\n[products."{name}"]\ntitle = "x"\n', "utf-8")
    before = files_below(tmp_path)
    with pytest.raises(ConfigError, match=r"cannot be used as a name in SQL and paths"):
        load_settings(data, tmp_path / "out")
    assert files_below(tmp_path) == before


# --- rows ---


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (event(None, AS_OF), "1 rows have no user id (null or blank): remove them, or give them one"),
        (event(" ", AS_OF), "1 rows have no user id"),
        (event("ж" * 126, AS_OF), "1 rows have a user id of more than 250 bytes"),
        (event("a", AS_OF, value=-1.0), "1 rows have a negative value"),
        (
            event("a", AS_OF, value=float("nan")),
            "1 rows have a value that is not a number, or is 10^10 or more",
        ),
        (event("a", AS_OF, value=float("inf")), "1 rows have a value that is not a number"),
        (event("a", AS_OF, value=1e300), "1 rows have a value that is not a number, or is 10^10 or more"),
        (event("a", date(1970, 1, 1)), "1 rows are dated before 1970-01-02"),
        (event("a", date(1900, 1, 1)), "1 rows are dated before 1970-01-02"),
        (event("a", date(2099, 1, 1)), "1 rows are dated after today (2024-08-01), up to 2099-01-01"),
        ({**event("a", AS_OF), "occurred_at": None}, "1 rows have no date: remove them"),
    ],
)
def test_rows_that_break_the_contract_are_counted_and_refused(
    tmp_path: Path, open_warehouse: Open, row: Mapping[str, Any], says: str
) -> None:
    data = event_folder(tmp_path, [*GOOD, row])
    message = refused(SourceError, data, open_warehouse)
    assert message.startswith("the activity of product 'food' breaks the source contract:\n  - ")
    assert says in message


def test_users_whose_sums_are_too_large_are_counted_and_refused(tmp_path: Path, open_warehouse: Open) -> None:
    bots = [event(user, AS_OF, value=9.9e9) for user in ("bot", "spider") for _ in range(11)]
    data = event_folder(tmp_path, [*GOOD, *bots])
    message = refused(SourceError, data, open_warehouse)
    assert "2 users have values that add up to 100,000,000,000 or more in a week" in message
    assert "`value_decimals`, now 4" in message
    chosen = event_settings(data, food={}).model_copy(update={"value_decimals": 2})
    assert planned(data, open_warehouse, chosen).facts.rows == 72 + 22


def test_every_kind_of_broken_row_is_listed(tmp_path: Path, open_warehouse: Open) -> None:
    rows = [
        event(None, AS_OF),
        event(None, AS_OF),
        event("a", AS_OF, value=-1),
        event("a", date(2099, 1, 1)),
    ]
    message = refused(SourceError, event_folder(tmp_path, [*GOOD, *rows]), open_warehouse)
    assert "  - 2 rows have no user id" in message
    assert len(message.splitlines()) == 4


def test_broken_rows_of_another_product_are_not_this_products_fault(
    tmp_path: Path, open_warehouse: Open
) -> None:
    rows = [event(None, AS_OF, product="drink"), event("a", AS_OF, product="drink", value=-1)]
    data = event_folder(tmp_path, [*GOOD, *rows])
    assert planned(data, open_warehouse).facts.rows == 72
    chosen = event_settings(data, every={"match": []})
    assert "2 rows" not in refused(SourceError, data, open_warehouse, chosen, name="every")


def test_a_zero_or_missing_value_is_no_fault(tmp_path: Path, open_warehouse: Open) -> None:
    rows = [event("a", AS_OF, value=0.0), event("b", AS_OF, value=None)]
    data = event_folder(tmp_path, [*GOOD, *rows])
    opened = open_warehouse(data)
    made = plan_dataset(opened, event_settings(data), "food", AS_OF, "run", today=TODAY)
    assert made.facts.rows == 74
    assert run_steps(opened, made)["feature_set"] > 0


def test_a_row_that_is_there_twice_counts_twice_and_breaks_nothing(
    tmp_path: Path, open_warehouse: Open
) -> None:
    data = event_folder(tmp_path, [*GOOD, *GOOD])
    opened = open_warehouse(data)
    made = plan_dataset(opened, event_settings(data), "food", AS_OF, "run", today=TODAY)
    rows = run_steps(opened, made)
    assert rows["feature_set"] == rows["snapshots"] > 0
    found = opened.fetch("select distinct events, active_days from run.user_week").to_pylist()
    assert found == [{"events": 2, "active_days": 1}]


# --- the output folder ---


@pytest.mark.process
def test_an_output_folder_in_use_is_refused_and_nothing_there_changes(
    tmp_path: Path, open_warehouse: Open
) -> None:
    data = event_folder(tmp_path / "data", GOOD)
    file = tmp_path / "out" / "warehouse.duckdb"
    code = (
        "import sys; from pathlib import Path; from churn.warehouse.duckdb.client import DuckDBWarehouse\n"
        "held = DuckDBWarehouse(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "held.execute('create schema mine'); print('open', flush=True); sys.stdin.read()"
    )
    command: Sequence[str] = [sys.executable, "-c", code, str(file), str(data)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(RunError, match=f"{file} cannot be opened: another run is using this output"):
            open_warehouse(data, file)
        holder.kill()  # a run that dies lets go of the file
        holder.wait(60)
    opened = open_warehouse(data, file)
    assert plan_dataset(opened, event_settings(data), "food", AS_OF, "run", today=TODAY).facts.rows == 72


def test_times_at_midnight_are_not_mistaken_for_the_day_before(tmp_path: Path, open_warehouse: Open) -> None:
    midnight = datetime(2024, 7, 1)
    data = event_folder(tmp_path, [*GOOD, event("late", midnight)])
    assert planned(data, open_warehouse).facts.rows == 72
