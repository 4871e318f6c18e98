"""Weeks that are not like others: clocks that are wrong, clocks that change, years of 53 weeks."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from churn.config.load import load_settings
from churn.config.settings import Settings
from churn.core.calendar import monday_of
from churn.core.errors import SourceError
from churn.dataset.build import plan_dataset, run_steps
from churn.dataset.run_schemas import drop_schema
from churn.features.catalogue import DAYPARTS
from churn.sources.ingest import ingest
from churn.warehouse.base import Warehouse
from churn.warehouse.duckdb.client import DuckDBWarehouse
from churn.warehouse.redshift.client import RedshiftWarehouse
from tests.support.data_folders import (
    ACTIVITY,
    AS_OF,
    broadcaster_folder,
    event,
    event_folder,
    event_settings,
    weekly_events,
)
from tests.support.fixtures_aws import Bucket, Redshift
from tests.support.weekly_jobs import fill

Open = Callable[[Path], Warehouse]
Row = Mapping[str, Any]
DAY, WEEK = timedelta(days=1), timedelta(days=7)
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@pytest.fixture(params=["duckdb", "redshift"])
def open_either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Open a data folder's tables in either warehouse."""
    with ExitStack() as stack:

        def open_(data: Path) -> Warehouse:
            if request.param == "duckdb":
                opened: Warehouse = DuckDBWarehouse(None, data, memory="1GB", threads=2)
            else:
                redshift: Redshift = request.getfixturevalue("redshift")
                bucket: Bucket = request.getfixturevalue("bucket")
                monkeypatch.setenv("CHURN_REDSHIFT_USER", "churn")
                monkeypatch.setenv("CHURN_REDSHIFT_PASSWORD", "unused")
                opened = RedshiftWarehouse(redshift.settings())
                fill(opened, data, bucket)
            stack.callback(opened.close)
            return opened

        yield open_


def features(
    warehouse: Warehouse, chosen: Settings, as_of: date = AS_OF, name: str = "food", today: date | None = None
) -> dict[tuple[str, date], Row]:
    """Make a product's features; return them by user and as-of date, as plain numbers and texts."""
    plan = plan_dataset(warehouse, chosen, name, as_of, "run_bad_weeks", today=today or as_of + 2 * WEEK)
    run_steps(warehouse, plan)
    assert plan.warnings == ()
    rows = warehouse.fetch(f"select * from {plan.schema}.feature_set").to_pylist()
    drop_schema(warehouse, plan.schema)
    return {(row.pop("user_id"), row.pop("as_of_date")): row for row in rows}


def of_day(result: Mapping[tuple[str, date], Row], as_of: date = AS_OF) -> dict[str, Row]:
    return {user: row for (user, day), row in result.items() if day == as_of}


def observed(events: Sequence[tuple[datetime, float]], as_of: date) -> dict[str, Any]:
    """What a user's features are, reckoned from wall times and values."""
    weeks: dict[int, list[tuple[datetime, float]]] = defaultdict(list)
    for at, value in events:
        weeks[(monday_of(as_of) - monday_of(at.date())).days // 7 + 2].append((at, value))
    within = [each for offset in range(2, 15) for each in weeks[offset]]
    total = sum(value for _, value in within)

    def share(values: list[float]) -> Any:
        return pytest.approx(sum(values) / total, rel=1e-12)

    return {
        **{f"value_w{offset}": sum(value for _, value in weeks[offset]) for offset in range(2, 15)},
        **{f"events_w{offset}": len(weeks[offset]) for offset in range(2, 15)},
        **{f"days_w{offset}": len({at.date() for at, _ in weeks[offset]}) for offset in range(2, 15)},
        **{
            f"share_daypart_{name}": share([value for at, value in within if first <= at.hour <= last])
            for name, first, last in DAYPARTS
        },
        **{
            f"share_weekday_{name}": share([value for at, value in within if at.weekday() == weekday])
            for weekday, name in enumerate(WEEKDAYS)
        },
    }


def assert_has(row: Row, expected: Row) -> None:
    assert {name: row[name] for name in expected} == expected


# --- clocks that are wrong ---


def test_what_is_dated_after_the_last_day_counts_in_its_own_week_alone(
    tmp_path: Path, open_either: Open
) -> None:
    """Clocks that are hours ahead, or a day: a run on Monday morning sees Tuesday."""
    good = weekly_events(["a", "b", "c"], 20)
    last_moment = event("a", datetime.combine(AS_OF, time(23, 59, 59, 999999)), value=5.0)
    ahead = [
        event("a", datetime.combine(AS_OF + DAY, time(0, 0)), value=7.0),
        event("a", datetime.combine(AS_OF + DAY, time(3, 30)), value=11.0),
        event("b", datetime.combine(AS_OF + 2 * DAY, time(23, 59, 59)), value=13.0),
    ]
    # Of another product, and further ahead than any clock: those rows are that product's fault.
    far = [event("z", AS_OF + 3 * DAY, product="drink"), *weekly_events(["z"], 20, product="drink")]
    sane = event_folder(tmp_path / "sane", [*good, last_moment])
    skewed = event_folder(tmp_path / "skewed", [*good, last_moment, *ahead, *far])
    chosen = event_settings(skewed, food={}, drink={})
    monday, next_monday = AS_OF + DAY, AS_OF + WEEK + DAY
    with_them = open_either(skewed)
    then = of_day(features(with_them, chosen, today=monday))
    without = DuckDBWarehouse(None, sane, memory="1GB", threads=2)
    assert then["a"]["value_w2"] == 6.0
    other_products = {"drink", "other"}
    expected = of_day(features(without, event_settings(sane, food={}, drink={}), today=monday))
    without.close()
    for user, row in expected.items():
        assert_has(
            then[user],
            {name: value for name, value in row.items() if name.partition("_")[0] not in other_products},
        )
    with pytest.raises(
        SourceError, match=rf"1 rows are dated after today \({monday}\), up to {AS_OF + 3 * DAY}"
    ):
        plan_dataset(with_them, chosen, "drink", AS_OF, "refused", today=monday)
    drop_schema(with_them, "refused")
    later = of_day(features(with_them, chosen, AS_OF + WEEK, today=next_monday), AS_OF + WEEK)
    assert {user: (row["value_w2"], row["days_w2"], row["value_w3"]) for user, row in later.items()} == {
        "a": (18.0, 1, 6.0),
        "b": (13.0, 1, 1.0),
    }
    drinks = of_day(features(with_them, chosen, AS_OF + WEEK, "drink", next_monday), AS_OF + WEEK)
    assert {user: (row["value_w2"], row["value_w3"]) for user, row in drinks.items()} == {"z": (1.0, 1.0)}


def played(user: str, day: date, at: datetime | None) -> Row:
    return {
        "audience_id": user,
        "destination": "PS_IPLAYER",
        "page_name": "play.page",
        "date_of_event": day,
        "event_datetime_min": at,
        "playback_time_total": 700,
        "page_views_total": 1,
        "pips_genre_level_1_names": "Drama",
        "version_id": "v1",
        "episode_id": "e1",
        "series_id": "s1",
        "brand_id": "b1",
        "clip_id": "null",
        "broadcast_type": "Live",
        "device_type": "Tablet",
        "browser_brand": "Safari",
    }


def test_a_time_that_disagrees_with_its_day_moves_nothing_to_another_day(
    tmp_path: Path, open_either: Open
) -> None:
    """Of a row that has both, the date says the day and the week, and the time the hour only."""
    days = [AS_OF - n * WEEK - (n % 7) * DAY for n in range(20)]
    shifts = {"right": 0, "day before": -1, "day after": 1, "years ahead": 9999, "empty": -19900}
    rows = [
        played(user, day, datetime.combine(day + shift * DAY, time(21, 15)))
        for user, shift in shifts.items()
        for day in days
    ]
    rows += [played("unknown", day, None) for day in days]
    data = broadcaster_folder(tmp_path, {ACTIVITY: rows})
    chosen = load_settings(
        data, data / "out", {"sql_memory": "1GB", "products": {"iplayer": {"training": {"sampling": "all"}}}}
    )
    by_user = features(open_either(data), chosen, name="iplayer")
    assert {user for user, _ in by_user} == {*shifts, "unknown"}
    expected = observed([(datetime.combine(day, time(21, 15)), 700) for day in days], AS_OF)
    assert_has(by_user["right", AS_OF], expected)
    assert expected["share_daypart_peak"] == 1
    for (user, day), row in by_user.items():
        same = dict(by_user["right", day])
        if user == "unknown":
            same |= {name: 0 for name in same if name.startswith("share_daypart_")}
        assert row == same, user


# --- clocks that change ---

LONDON = "Europe/London"


@pytest.mark.parametrize("zone", [LONDON, "UTC"])
@pytest.mark.parametrize(("change", "hours"), [(date(2024, 3, 31), 23), (date(2024, 10, 27), 25)])
def test_events_about_a_clock_change_count_by_the_clock_on_the_wall(
    tmp_path: Path, open_either: Open, change: date, hours: int, zone: str
) -> None:
    """Clocks change on a Sunday, which is an as-of date: the day has 23 or 25 hours, and ends an hour beside UTC's."""
    assert change.weekday() == 6
    first = datetime.combine(change - DAY, time(20), UTC)
    instants = [first + n * timedelta(minutes=30) for n in range(2 * 36)]
    instants += [datetime.combine(change - n * WEEK, time(22, 45), UTC) for n in range(-1, 20)]
    log = tmp_path / "log.csv"
    values = [1.0 + index / 16 for index in range(len(instants))]
    lines = [f"a,food,{at:%Y-%m-%dT%H:%M:%SZ},{value}" for at, value in zip(instants, values, strict=True)]
    log.write_text("\n".join(["user_id,product,occurred_at,value", *lines]) + "\n", "utf-8")
    data = tmp_path / "data"
    ingest(log, data, columns={}, timezone=zone)
    walls = [at.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for at in instants]
    chosen = event_settings(data)
    row = features(open_either(data), chosen, change)["a", change]
    expected = observed(list(zip(walls, values, strict=True)), change)
    assert_has(row, expected)
    on_the_day = sum(at.date() == change for at in walls)
    assert on_the_day == 2 * (hours if zone == LONDON else 24) + 1 - (
        zone == LONDON and hours == 23 and walls[72 + 1].hour == 0
    )


@pytest.mark.parametrize("change", [date(2024, 3, 31), date(2024, 10, 27)])
def test_the_broadcasters_days_and_times_are_taken_as_they_stand(tmp_path: Path, change: date) -> None:
    """The hour that comes twice in October is one hour of the day; the one that March leaves out may still be written."""
    times = [datetime.combine(change, time(hour, 30)) for hour in (0, 1, 1, 2, 6, 23)]
    times += [datetime.combine(change + DAY, time(0, 30))]
    times += [datetime.combine(change - n * WEEK, time(12)) for n in range(1, 20)]
    data = broadcaster_folder(tmp_path, {ACTIVITY: [played("a", at.date(), at) for at in times]})
    chosen = load_settings(data, data / "out", {"sql_memory": "1GB"})
    warehouse = DuckDBWarehouse(None, data, memory="1GB", threads=2)
    row = features(warehouse, chosen, change, "iplayer")["a", change]
    warehouse.close()
    assert_has(row, observed([(at, 700) for at in times], change))
    assert (row["events_w2"], row["days_w2"]) == (6, 1)


# --- years of 53 weeks ---


@pytest.mark.parametrize("last_week", [date(2020, 12, 28), date(2026, 12, 28)])
def test_weeks_are_counted_through_the_53rd_of_a_year(
    tmp_path: Path, open_either: Open, last_week: date
) -> None:
    assert last_week.isocalendar()[1:] == (53, 1)
    mondays = [last_week + n * WEEK for n in range(-30, 6)]
    rows, active = [], defaultdict(set)
    for index, monday in enumerate(mondays):
        days = {"every": monday + (6 * DAY if index % 2 else 0 * DAY), "grows": monday + 3 * DAY}
        days |= {("even", "odd")[index % 2]: monday + 6 * DAY, "thirds" if index % 3 else "every": monday}
        for user, day in days.items():
            active[user].add(monday)
            events = index if user == "grows" else 1
            rows += [event(user, day, value=1.0 + index)] * events
    data = event_folder(tmp_path, rows)
    last = mondays[-3] + 6 * DAY  # of the third week: past as-of dates are those of the weeks about the 53rd
    by_user = features(open_either(data), event_settings(data), last, today=mondays[-1] + WEEK)
    for monday in mondays[28:34]:
        as_of, index = monday + 6 * DAY, mondays.index(monday)
        if last - as_of < 2 * WEEK and as_of != last:
            continue  # its label is not known, so nothing is learnt from it
        day_rows = of_day(by_user, as_of)
        assert day_rows.keys() == {user for user in active if monday in active[user]}
        for user, row in day_rows.items():
            events = [(each["occurred_at"], each["value"]) for each in rows if each["user_id"] == user]
            assert_has(row, observed(events, as_of))
            known = None if as_of == last else int(as_of + 8 * DAY not in active[user])
            assert row["churned"] == known, (user, as_of)
        grows = day_rows["grows"]
        assert (grows["events_slope"], grows["events_intercept"]) == (
            pytest.approx(1),
            pytest.approx(index - 12),
        )
        assert (day_rows["every"]["longest_gap_weeks"], day_rows["every"]["streak_weeks"]) == (0, index + 1)
        assert grows["days_since_last"] == 3
    of_53rd = {row["churned"] for row in of_day(by_user, last_week - 8 * DAY).values()}
    assert of_53rd == {0, 1}
