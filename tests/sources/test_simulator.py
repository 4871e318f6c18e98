import copy
import hashlib
import json
import re
import subprocess
import sys
from dataclasses import fields
from datetime import date, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from churn.config.load import load_settings
from churn.core.errors import UsageError
from churn.sources.simulator import Simulated, behaviour, simulate
from churn.sources.simulator.activity_rows import ACTIVITY_COLUMNS
from churn.sources.simulator.content import CONTENT_COLUMNS, IPLAYER, SOUNDS, make_catalogue
from churn.sources.simulator.people import EXTENSION_COLUMNS, PROFILE_COLUMNS, make_people
from churn.sources.simulator.write import TABLES

START = date(2026, 3, 2)
ACTIVITY = "audience.audience_activity_daily_summary_enriched"


def warehouse(data: Path) -> duckdb.DuckDBPyConnection:
    """Views activity (with product), content, profile, extension, truth, and active_weeks."""
    con = duckdb.connect()
    con.execute("set threads = 1")
    for name, table in (
        ("raw", ACTIVITY),
        ("content", "prez.scv_vmb"),
        ("profile", "prez.id_profile"),
        ("extension", "prez.profile_extension"),
    ):
        con.execute(f"create view {name} as select * from '{data}/tables/{table}/*.parquet'")
    con.execute(
        """create view activity as select *, case when destination = 'PS_IPLAYER' then 'iplayer'
        when page_name like 'radio.%' then 'radio' else 'sounds' end as product from raw"""
    )
    con.execute(
        f"""create view truth as
        select user_id, cast(as_of_date as date) as as_of_date, churn_probability, product
        from read_parquet('{data}/truth/*/*/*.parquet', hive_partitioning = true)"""
    )
    con.execute(
        """create view active_weeks as
        with weeks as (
            select audience_id as user_id, cast(date_trunc('week', date_of_event) as date) as week, product
            from activity
        )
        select distinct user_id, week, product from weeks where product <> 'radio'
        union select distinct user_id, week, 'pan' from weeks"""
    )
    return con


def digests(data: Path) -> dict[str, str]:
    return {
        str(path.relative_to(data)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(data.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Simulated, duckdb.DuckDBPyConnection]:
    data = tmp_path_factory.mktemp("small") / "data"
    done = simulate(data, users=1_500, weeks=16, seed=3)
    return done, warehouse(data)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Simulated, duckdb.DuckDBPyConnection]:
    data = tmp_path_factory.mktemp("large") / "data"
    done = simulate(data, users=20_000, weeks=19, seed=1)
    return done, warehouse(data)


def test_tables_have_the_source_columns_and_types(small: tuple[Simulated, duckdb.DuckDBPyConnection]) -> None:
    tables = small[0].into / "tables"
    expected = {
        ACTIVITY: ACTIVITY_COLUMNS,
        "prez.scv_vmb": CONTENT_COLUMNS,
        "prez.id_profile": PROFILE_COLUMNS,
        "prez.profile_extension": EXTENSION_COLUMNS,
    }
    other = {
        "date_of_event": pa.date32(),
        "event_datetime_min": pa.timestamp("us"),
        "playback_time_total": pa.int32(),
        "page_views_total": pa.int32(),
        "cal_createdate": pa.date32(),
        "age": pa.int32(),
    }
    assert set(expected) < {path.name for path in tables.iterdir()} == set(TABLES)
    for name, columns in expected.items():
        schema = pq.read_schema(tables / name / "part-00000.parquet")
        assert tuple(schema.names) == columns
        assert {n: schema.field(n).type for n in columns} == {n: other.get(n, pa.string()) for n in columns}


def test_source_columns_are_those_of_the_warehouse() -> None:
    assert ACTIVITY_COLUMNS[:3] == ("audience_id", "destination", "app_name")
    assert {"version_id", "episode_id", "series_id", "brand_id", "clip_id"} <= set(ACTIVITY_COLUMNS)
    assert (len(ACTIVITY_COLUMNS), len(CONTENT_COLUMNS), len(PROFILE_COLUMNS), len(EXTENSION_COLUMNS)) == (
        17,
        22,
        8,
        8,
    )


def test_config_names_the_source_and_nothing_unknown(
    small: tuple[Simulated, duckdb.DuckDBPyConnection],
) -> None:
    done = small[0]
    settings = load_settings(done.into, done.into)
    assert settings.source == "bbc"
    # A small audience is trained on at every date.
    assert settings.products["iplayer"].training.sampling == "all"
    description = json.loads((done.into / "simulation.json").read_text("utf-8"))
    assert (description["seed"], description["users"], description["weeks"]) == (3, 1_500, 16)
    assert (description["start"], description["end"]) == ("2026-03-09", "2026-06-28")


def test_activity_is_one_row_per_user_day_page_version_and_device(
    small: tuple[Simulated, duckdb.DuckDBPyConnection],
) -> None:
    done, con = small
    key = "audience_id, date_of_event, destination, page_name, version_id, device_type, browser_brand"
    assert (
        con.execute(f"select count(*), count(distinct ({key})) from raw").fetchone()
        == (done.activity_rows,) * 2
    )
    bad = """select count(*) from raw where playback_time_total + page_views_total <= 0
        or playback_time_total < 0 or cast(event_datetime_min as date) <> date_of_event"""
    assert con.execute(bad).fetchone() == (0,)


def test_dates_lie_within_the_weeks_and_the_schedule_covers_the_last_target_week(
    small: tuple[Simulated, duckdb.DuckDBPyConnection],
) -> None:
    done, con = small
    assert con.execute("select min(date_of_event), max(date_of_event) from raw").fetchone() == (
        done.start,
        done.end,
    )
    first, last = con.execute(
        "select min(cast(tx_date as date)), max(cast(tx_date as date)) from content"
    ).fetchone()
    assert first == done.start - timedelta(weeks=14)
    assert last == done.end + timedelta(weeks=2)
    assert (
        con.execute("select count(*) from content").fetchone()
        == con.execute("select count(distinct version_id) from content").fetchone()
    )


def test_nobody_is_active_before_the_account_exists_and_newcomers_start_on_that_day(
    small: tuple[Simulated, duckdb.DuckDBPyConnection],
) -> None:
    done, con = small
    first = """select min(date_of_event - cal_createdate), count(*) filter (where f > cal_createdate)
        from (select audience_id, min(date_of_event) as f from raw group by 1) a
        join profile on bbc_hid3 = a.audience_id join raw using (audience_id) where cal_createdate >= ?"""
    lag, late = con.execute(first, [done.start]).fetchone()
    assert (lag, late) == (0, 0)


def test_nothing_is_watched_before_it_is_published(
    small: tuple[Simulated, duckdb.DuckDBPyConnection],
) -> None:
    con = small[1]
    early = (
        "select count(*) from raw join content using (version_id) where cast(tx_date as date) > date_of_event"
    )
    assert con.execute(early).fetchone() == (0,)
    unknown = """select count(*) from raw
        where version_id <> 'null' and version_id not in (select version_id from content)"""
    assert con.execute(unknown).fetchone() == (0,)


def test_radio_pages_are_seen_only_in_weeks_with_other_use(
    small: tuple[Simulated, duckdb.DuckDBPyConnection],
) -> None:
    con = small[1]
    week = "audience_id, date_trunc('week', date_of_event)"
    radio = con.execute(f"select count(distinct ({week})) from activity where product = 'radio'").fetchone()[
        0
    ]
    both = con.execute(
        f"""select count(*) from (select {week} from activity where product = 'radio'
        intersect select {week} from activity where product <> 'radio')"""
    ).fetchone()[0]
    assert radio == both > 100
    lone = f"""select count(*) from (select {week} from activity where product = 'radio'
        except select {week} from activity where product = 'sounds')"""
    assert con.execute(lone).fetchone()[0] > 20  # so a pipeline that counts radio as Sounds gets other labels


def test_truth_covers_exactly_the_users_active_in_the_week(
    small: tuple[Simulated, duckdb.DuckDBPyConnection],
) -> None:
    done, con = small
    dates = [row[0] for row in con.execute("select distinct as_of_date from truth order by 1").fetchall()]
    assert dates == [done.end - timedelta(weeks=3 - i) for i in range(4)]
    difference = """with known as (select product, user_id, as_of_date - 6 as week from truth),
        seen as (select product, user_id, week from active_weeks where week >= (select min(week) from known))
        select (select count(*) from (select * from known except select * from seen)),
            (select count(*) from (select * from seen except select * from known))"""
    assert con.execute(difference).fetchone() == (0, 0)
    schema = pq.read_schema(done.into / f"truth/product=pan/as_of_date={done.end}/part-00000.parquet")
    assert schema.names == ["user_id", "as_of_date", "churn_probability"]
    assert schema.types == [pa.string(), pa.date32(), pa.float64()]
    assert not any(field.nullable for field in schema)


@pytest.mark.parametrize("product", ["iplayer", "sounds", "pan"])
def test_truth_is_calibrated(product: str, large: tuple[Simulated, duckdb.DuckDBPyConnection]) -> None:
    done, con = large
    # As-of dates two weeks apart: their target weeks, and so the errors, are independent given the states.
    rows = con.execute(
        """select churn_probability as p, cast(w.user_id is null as integer) as y from truth t
        left join active_weeks w
            on w.user_id = t.user_id and w.product = t.product and w.week = t.as_of_date + 8
        where t.product = ? and t.as_of_date in (?, ?, ?)""",
        [product, *(done.end - timedelta(weeks=w) for w in (6, 4, 2))],
    ).fetchnumpy()
    p, y = rows["p"], rows["y"]
    assert len(p) > 12_000
    assert 0.12 < y.mean() < 0.30
    order = np.argsort(p)
    for part in (order, *np.array_split(order, 10)):
        error = np.sqrt((p[part] * (1 - p[part])).sum())
        assert abs(y[part].sum() - p[part].sum()) < 3 * error
    # The best possible model separates people well, and knowing the truth is worth much.
    best = -(p * np.log(p.clip(1e-12)) + (1 - p) * np.log(1 - p)).mean()
    rate = p.mean()
    assert -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate)) - best > 0.12


def test_a_few_accounts_are_deleted_or_have_two_rows(
    large: tuple[Simulated, duckdb.DuckDBPyConnection],
) -> None:
    con = large[1]
    deleted, rows, users = con.execute(
        """select count(distinct bbc_hid3) filter (where status = 'deleted'),
            count(*), count(distinct bbc_hid3) from profile"""
    ).fetchone()
    assert 40 < deleted < 140
    assert users == 20_000
    assert 20 < rows - users < 70
    assert con.execute("select count(*), count(distinct bbc_hid3) from extension").fetchone() == (
        20_000,
        20_000,
    )


@pytest.mark.parametrize("product", [IPLAYER, SOUNDS])
def test_stay_away_probability_equals_the_frequency_in_repeated_futures(product: int) -> None:
    rng = np.random.default_rng(5)
    weeks, n, futures = 8, 400, 500
    catalogue, season = make_catalogue(rng, START, weeks), behaviour.make_season(START, weeks)
    people = make_people(rng, 0, n, weeks)
    schedule = catalogue.schedules[product]
    state = behaviour.ProductState(rng, people, product)

    def live(state: behaviour.ProductState, week: int) -> np.ndarray:
        days = behaviour.draw_days(rng, people, catalogue, season, state, week)
        behaviour.choose_follows(rng, people, schedule, state, days, week)
        state.advance(days, people.created < 7 * (week + 1))
        return days

    for week in range(weeks - 2):
        live(state, week)
    known = people.created < 7 * (weeks - 2)
    expected = behaviour.stay_away_probability(people, catalogue, season, state, weeks - 3)
    quiet = np.zeros(n)
    for _ in range(futures):
        future = copy.deepcopy(state)
        live(future, weeks - 2)
        quiet += live(future, weeks - 1) == 0
    p, seen = expected[known], quiet[known]
    spread = np.sqrt(futures * p * (1 - p)).clip(1e-9)
    scores = ((seen - futures * p) / spread)[(p > 0.02) & (p < 0.98)]
    assert len(scores) > 150
    assert abs(scores.mean()) < 3 / np.sqrt(len(scores))
    assert 0.8 < scores.std() < 1.2
    assert np.all(seen[p == 1] == futures)


def test_what_ends_makes_people_leave_and_what_airs_keeps_them() -> None:
    def leaves(airing: float, ended: float, habit: float) -> float:
        trait = behaviour.WeekTraits(np.zeros(1), np.full(1, 0.5), 1.0)
        pulled = behaviour.FollowedBrands(np.full(1, airing), np.full(1, ended))
        here = behaviour.presence_probability(
            behaviour.IPLAYER_RATES,
            trait,
            pulled,
            np.full(1, habit),
            np.array([True]),
            np.zeros(1, dtype=np.int32),
        )
        return float(1 - here[0])

    for habit in (0.1, 0.4, 0.7):
        assert leaves(0, 1, habit) > leaves(0, 0, habit) > leaves(1, 0, habit) > leaves(2, 0, habit)
        assert leaves(1, 1, habit) < leaves(0, 1, habit)
    assert leaves(0, 0, 0.1) > 2 * leaves(0, 0, 0.5)


def test_finales_show_in_the_data_as_higher_churn(large: tuple[Simulated, duckdb.DuckDBPyConnection]) -> None:
    con = large[1]
    rates = con.execute(
        """with episodes as (
            select brand_id, cast(date_trunc('week', cast(tx_date as date)) as date) as week
            from content where series_id <> 'null'
        ),
        watched as (
            select distinct audience_id, brand_id, cast(date_trunc('week', date_of_event) as date) as week
            from activity where product = 'iplayer' and series_id <> 'null'
        ),
        due as (
            select w.audience_id, w.week, count(e.week) as due, count(*) as brands
            from watched w left join episodes e on e.brand_id = w.brand_id and e.week = w.week + 14
            group by w.audience_id, w.week
        )
        select avg(churn_probability) filter (where due = 0), avg(churn_probability) filter (where due > 0)
        from truth join due on user_id = audience_id and week = as_of_date - 6
        where product = 'iplayer' and brands = 1"""
    ).fetchone()
    assert rates[0] > 1.3 * rates[1]


def test_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        simulate(tmp_path / name, users=300, weeks=13, seed=seed)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert digests(tmp_path / "a") != digests(tmp_path / "c")


def test_more_programmes_a_day_are_more_rows_of_the_same_habits(tmp_path: Path) -> None:
    rows, days = {}, {}
    for extra in (0.25, 2.5):
        done = simulate(tmp_path / f"{extra}", users=3_000, weeks=13, extra_rows=extra)
        days[extra], rows[extra] = (
            warehouse(done.into)
            .execute(
                "select count(distinct (audience_id, destination, date_of_event)), count(*) from activity"
                " where page_name not like 'radio%'"
            )
            .fetchone()
        )
    assert days[2.5] == pytest.approx(days[0.25], rel=0.03)
    more = rows[2.5] / days[2.5] - rows[0.25] / days[0.25]
    assert 0.9 * 2.25 < more < 2.25, "two rows of one programme, page and device are one"


def test_people_come_in_chunks_with_one_part_each(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    done = simulate(
        tmp_path / "data",
        users=250,
        weeks=13,
        chunk_users=100,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert [path.name for path in sorted((done.into / "tables" / ACTIVITY).iterdir())] == [
        f"part-{i:05d}.parquet" for i in range(3)
    ]
    con = warehouse(done.into)
    assert con.execute("select count(distinct bbc_hid3) from profile").fetchone() == (250,)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert calls[-1] == (250 * 13, 250 * 13)


def test_the_smallest_broadcaster_has_one_account(tmp_path: Path) -> None:
    done = simulate(tmp_path / "data", users=1, weeks=13)
    assert pq.read_table(done.into / "tables/prez.id_profile").num_rows >= 1
    assert (done.into / "tables" / ACTIVITY / "part-00000.parquet").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"end": date(2026, 6, 26)}, "2026-06-21 and 2026-06-28"),
        ({"weeks": 12}, "weeks is 12, but must be from 13"),
        ({"users": 0, "seed": -1}, "users is 0.*seed is -1"),
        ({"chunk_users": 0}, "chunk_users is 0"),
        ({"extra_rows": 20.5}, "extra_rows is 20.5, but must be from 0 to 20"),
    ],
)
def test_arguments_out_of_range_are_refused(
    arguments: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        simulate(tmp_path / "data", **{"users": 10, "weeks": 13, **arguments})  # type: ignore[arg-type]  # any argument
    assert not list(tmp_path.iterdir())


def test_foreign_content_is_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    for target, message in ((file, "is a file"), (folder, "not empty and holds no earlier simulation")):
        with pytest.raises(UsageError, match=message):
            simulate(target, users=10, weeks=13)
    assert (folder / "thesis.txt").read_text() == file.read_text() == "mine"


def test_an_earlier_simulation_is_replaced_unless_something_was_added(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    simulate(data, users=10, weeks=13)
    (tmp_path / ".data.simulating" / "tables").mkdir(parents=True)  # what a killed process leaves
    assert simulate(data, users=20, weeks=13).users == 20
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    before = digests(data)
    for path in (data / "notes.txt", data / "tables" / "prez.other" / "x.parquet"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
        with pytest.raises(UsageError, match=r"also (notes\.txt|tables/prez\.other)"):
            simulate(data, users=10, weeks=13)
        path.unlink()
        if path.parent != data:
            path.parent.rmdir()
    assert digests(data) == before
    (data / "churn.toml").write_text('source = "bbc"\nseed = 4\n')
    with pytest.raises(UsageError, match="was edited"):
        simulate(data, users=10, weeks=13)


def test_a_failure_on_the_way_leaves_the_earlier_simulation(tmp_path: Path) -> None:
    data = tmp_path / "data"
    simulate(data, users=10, weeks=13)
    before = digests(data)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(data, users=20, weeks=13, progress=stop)
    assert digests(data) == before
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_an_exchange_that_was_cut_off_is_undone_at_the_next_start(tmp_path: Path) -> None:
    data = tmp_path / "data"
    simulate(data, users=10, weeks=13)
    before = digests(data)
    data.rename(
        tmp_path / ".data.replaced"
    )  # killed after moving the old aside, before the new took its place

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(data, users=20, weeks=13, progress=stop)
    assert digests(data) == before
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.process
def test_a_full_disk_is_a_clear_error_and_leaves_nothing(tmp_path: Path) -> None:
    # A limit on file sizes stands for the full disk: writing fails in the middle of the activity table.
    program = """
import resource, signal, sys
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
from churn.core.errors import RunError
from churn.sources.simulator import simulate
try:
    simulate(Path(sys.argv[1]), users=2_000, weeks=30)
except RunError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "data")], capture_output=True, text=True, check=True
    )
    assert "could not be written" in done.stdout
    assert "Free space" in done.stdout
    assert not list(tmp_path.iterdir())


def test_the_documentation_states_the_coefficients_in_use() -> None:
    text = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text("utf-8")
    stated = {
        name: (float(iplayer), float(sounds))
        for name, iplayer, sounds in re.findall(
            r"^\| `(\w+)` \|[^|]*\| (-?[\d.]+) \| (-?[\d.]+) \|$", text, re.M
        )
    }
    used = {
        f.name: (getattr(behaviour.IPLAYER_RATES, f.name), getattr(behaviour.SOUNDS_RATES, f.name))
        for f in fields(behaviour.Rates)
    }
    assert stated == used
