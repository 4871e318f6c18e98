"""The tables beside activity, content and accounts: true to the behaviour, and with the faults of real ones."""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import date, timedelta
from importlib import import_module
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from churn.core.errors import UsageError
from churn.sources.simulator import Simulated, mails, segments, side_tables, simulate, user_actions
from churn.sources.simulator.content import IPLAYER, SOUNDS
from churn.sources.simulator.faults import MISSING_TEXTS, add_unknown_users, replace_by_missing
from churn.sources.simulator.week import Week
from churn.sources.simulator.write import TABLES

ACTIVITY = "audience.audience_activity_daily_summary_enriched"
TEXT, DATE, MOMENT = pa.string(), pa.date32(), pa.timestamp("us")
MAIL = {"subscriberkey": TEXT, "sendid": TEXT, "eventdatetime": MOMENT}
SIDE_TABLES = {
    "central_insights.sg10026_info_individual_alltime": {
        "bbc_hid3": TEXT,
        "product": TEXT,
        "segvalue": TEXT,
        "date_of_segmentation": DATE,
    },
    "del.uas_profile_events": dict.fromkeys(
        ("hashedidentity", "cal_yyyymmdd", "activitytype", "resourcetype", "resourcedomain"), TEXT
    ),
    "prez.uasview": {
        "hashedidentity": TEXT,
        "cal_yyyymmdd": TEXT,
        "servertime": MOMENT,
        "action": TEXT,
        "activitytype": TEXT,
        "resourcetype": TEXT,
        "resourcedomain": TEXT,
        "resourceid": TEXT,
    },
    "research_measurement_data.rmd_salesforce_opens_src": MAIL,
    "research_measurement_data.rmd_salesforce_clicks_src": MAIL,
    "radio1_sandbox.sounds_activations_preagg": {
        "bbc_hid3": TEXT,
        "week_beginning": DATE,
        "episode_id": TEXT,
    },
    "central_insights_sandbox.iplayer_activations_postmigration_preagg": {
        "audience_id": TEXT,
        "week_beginning": DATE,
        "first_version_id": TEXT,
    },
    "central_insights_sandbox.gender_predictions": {"audience_id": TEXT, "predicted_gender": TEXT},
    "central_insights_sandbox.age1634_predictions": {"audience_id": TEXT, "predicted_age": TEXT},
    "central_insights_sandbox.dh_iplayer_item_matrix_enriched": {
        "content_id": TEXT,
        **{f"f{i}": pa.float64() for i in range(10)},
    },
    "central_insights_sandbox.dh_sounds_item_matrix_enriched": {
        "content_id": TEXT,
        **{f"f{i}": pa.float64() for i in range(20)},
    },
    "central_insights.sounds_podcasts_metadata_schedule_positions": {"tleo_id": TEXT},
    "central_insights.sounds_mixes_episodes_metadata_all": {"episode_id": TEXT},
    "central_insights.sounds_mixes_metadata_schedule_positions": {"episode_id": TEXT},
}
OF_CONTENT = list(SIDE_TABLES)[-5:]
SHORT = {
    "segments": "central_insights.sg10026_info_individual_alltime",
    "events": "del.uas_profile_events",
    "uasview": "prez.uasview",
    "opens": "research_measurement_data.rmd_salesforce_opens_src",
    "clicks": "research_measurement_data.rmd_salesforce_clicks_src",
    "sounds_activations": "radio1_sandbox.sounds_activations_preagg",
    "iplayer_activations": "central_insights_sandbox.iplayer_activations_postmigration_preagg",
    "genders": "central_insights_sandbox.gender_predictions",
    "ages": "central_insights_sandbox.age1634_predictions",
    "iplayer_factors": "central_insights_sandbox.dh_iplayer_item_matrix_enriched",
    "sounds_factors": "central_insights_sandbox.dh_sounds_item_matrix_enriched",
    "podcasts": "central_insights.sounds_podcasts_metadata_schedule_positions",
    "mixes": "central_insights.sounds_mixes_episodes_metadata_all",
    "mixes_on_show": "central_insights.sounds_mixes_metadata_schedule_positions",
    "content": "prez.scv_vmb",
    "profile": "prez.id_profile",
    "raw": ACTIVITY,
}


def connect(data: Path) -> duckdb.DuckDBPyConnection:
    """The tables; activity has product and week, and side tables a known_* table of real accounts."""
    con = duckdb.connect()
    con.execute("set threads = 1")
    for name, table in SHORT.items():
        con.execute(f"create table {name} as select * from '{data}/tables/{table}/*.parquet'")
    con.execute(
        """create table activity as select *, cast(date_trunc('week', date_of_event) as date) as week,
        case when destination = 'PS_IPLAYER' then 'iplayer'
        when page_name like 'radio.%' then 'radio' else 'sounds' end as product from raw"""
    )
    for name in ("segments", "events", "uasview", "opens", "clicks", "sounds_activations"):
        key = pq.read_schema(data / "tables" / SHORT[name] / "part-00000.parquet").names[0]
        con.execute(
            f"create table known_{name} as from {name} semi join profile on profile.bbc_hid3 = {name}.{key}"
        )
    con.execute(
        """create view newsletter as select hashedidentity, servertime, action,
            cast(strptime(cal_yyyymmdd, '%Y%m%d') as date) as day
        from known_uasview where resourcetype = 'newsletter' and resourceid = 'pan_bbc'
            and activitytype = 'follows' and resourcedomain = 'profile'"""
    )
    return con


@dataclass(frozen=True)
class World:
    """A simulation, its tables, and the weeks that were lived in it."""

    done: Simulated
    con: duckdb.DuckDBPyConnection
    weeks: list[Week]

    def one(self, query: str) -> tuple[float, ...]:
        row = self.con.execute(query).fetchone()
        assert row is not None
        return row

    def none(self, query: str) -> bool:
        return self.con.execute(query).fetchone() is None


def live(data: Path, users: int, weeks: int, seed: int) -> World:
    lived: list[Week] = []
    write = side_tables.SideTables.write

    def spy(self: side_tables.SideTables, week: Week) -> None:
        lived.append(week)
        write(self, week)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(side_tables.SideTables, "write", spy)
        done = simulate(data, users=users, weeks=weeks, seed=seed)
    return World(done, connect(data), lived)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return live(tmp_path_factory.mktemp("world") / "data", users=1_500, weeks=24, seed=4)


def values_digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths):
        for column in pq.ParquetFile(path).read().to_pydict().values():
            texts = [round(value, 6) if isinstance(value, float) else str(value) for value in column]
            digest.update(json.dumps(texts).encode())
    return digest.hexdigest()[:12]


def test_activity_content_accounts_and_truth_are_what_they_were_before_there_were_side_tables(
    tmp_path: Path,
) -> None:
    simulate(tmp_path / "data", users=300, weeks=16, seed=3)
    found = {
        name: values_digest((tmp_path / "data" / name).rglob("*.parquet"))
        for name in (
            f"tables/{ACTIVITY}",
            "tables/prez.scv_vmb",
            "tables/prez.id_profile",
            "tables/prez.profile_extension",
            "truth",
        )
    }
    assert found == {
        f"tables/{ACTIVITY}": "5627c0cb3e88",
        "tables/prez.scv_vmb": "d520010c2e83",
        "tables/prez.id_profile": "031445444586",
        "tables/prez.profile_extension": "e906c424eb9e",
        "truth": "698e12b6dbf6",
    }


def test_side_tables_have_the_warehouses_names_columns_and_types(world: World) -> None:
    tables = world.done.into / "tables"
    assert {path.name for path in tables.iterdir()} == set(TABLES) >= set(SIDE_TABLES)
    for name, columns in SIDE_TABLES.items():
        parts = sorted((tables / name).iterdir())
        assert [part.name for part in parts] == ["part-00000.parquet"]
        schema = pq.read_schema(parts[0])
        assert dict(zip(schema.names, schema.types, strict=True)) == columns, name
        assert pq.read_metadata(parts[0]).num_rows > 0, name


def test_each_chunk_writes_one_part_and_the_content_is_written_once(tmp_path: Path) -> None:
    simulate(tmp_path / "data", users=25, weeks=13, chunk_users=10)
    for name in SIDE_TABLES:
        parts = len(list((tmp_path / "data" / "tables" / name).iterdir()))
        assert parts == (1 if name in OF_CONTENT else 3), name


def test_a_follow_is_recorded_for_half_of_the_brands_that_people_begin_to_follow(world: World) -> None:
    begun: set[tuple[str, str, date]] = set()
    for week in world.weeks:
        monday = world.done.start + timedelta(weeks=week.number)
        for product in (IPLAYER, SOUNDS):
            user, slot = np.nonzero(week.begun[product] >= 0)
            brands = week.begun[product][user, slot]
            begun |= {(f"u{u:08d}", f"b{product}{b:06x}", monday) for u, b in zip(user, brands, strict=True)}
    recorded = world.con.execute(
        """select hashedidentity, resourceid,
            cast(date_trunc('week', strptime(cal_yyyymmdd, '%Y%m%d')) as date)
        from known_uasview where resourcetype = 'brand' and action = 'followed'"""
    ).fetchall()
    assert len(set(recorded)) == len(recorded) > 1_000
    assert set(recorded) <= begun
    assert len(recorded) / len(begun) == pytest.approx(user_actions.RECORDED, abs=0.04)


def test_who_begins_to_follow_a_brand_watches_it(world: World) -> None:
    watched = world.one(
        """select avg(cast(exists (
            select 1 from activity a where a.audience_id = u.hashedidentity and a.brand_id = u.resourceid
                and a.week between date_trunc('week', servertime) and date_trunc('week', servertime) + interval 7 day
        ) as integer)) from known_uasview u where resourcetype = 'brand'"""
    )
    assert watched[0] > 0.9


def test_profile_events_hold_the_same_follows(world: World) -> None:
    for domains, domain in (("'tv'", "tv"), ("'radio', 'music'", "radio")):
        here = f"""select hashedidentity, cal_yyyymmdd from known_events where activitytype = 'FOLLOWS'
            and resourcetype in ('brand', 'series') and resourcedomain in ({domains})"""
        there = f"""select hashedidentity, cal_yyyymmdd from known_uasview
            where resourcetype = 'brand' and resourcedomain = '{domain}'"""
        assert world.one(f"select count(*) from ({here})")[0] > 400
        assert world.none(f"({here} except all {there}) union all ({there} except all {here})")


def test_actions_fall_on_days_with_use_of_the_product(world: World) -> None:
    assert world.none(
        """select 1 from known_events e where not exists (
            select 1 from activity a where a.audience_id = e.hashedidentity
                and strftime(a.date_of_event, '%Y%m%d') = e.cal_yyyymmdd
                and a.product = case when e.resourcedomain = 'tv' then 'iplayer' else 'sounds' end
        )"""
    )
    bookmarks, bare = world.one(
        """select count(*), count(*) filter (where not exists (
            select 1 from activity a where a.audience_id = e.hashedidentity
                and strftime(a.date_of_event, '%Y%m%d') = e.cal_yyyymmdd and a.product = 'sounds'
                and case e.resourcetype when 'clip' then a.clip_id else a.episode_id end <> 'null'
        )) from known_events e where activitytype = 'FAVOURITES' and resourcedomain = 'radio'"""
    )
    assert bookmarks > 200
    assert bare == 0


def test_newsletter_changes_alternate_from_an_opt_in_on(world: World) -> None:
    assert world.none(
        """with changes as (
            select hashedidentity, action, day, cast(servertime as date) as server_day,
                lag(action, 1, 'unfollowed') over (partition by hashedidentity order by servertime) as before
            from newsletter
        )
        select 1 from changes where action = before or day <> server_day"""
    )
    assert world.none(
        "select 1 from newsletter join profile on bbc_hid3 = hashedidentity where day < cal_createdate"
    )
    ins, outs = world.one(
        "select count(*) filter (where action = 'followed'), count(*) filter (where action <> 'followed') from newsletter"
    )
    assert ins > 500
    assert outs > 20


def test_mails_go_to_reachable_people_who_have_opted_in(world: World) -> None:
    # The last change on a day before the Tuesday on which it is sent.
    assert world.none(
        """with received as (
            select subscriberkey as u, cast(date_trunc('week', eventdatetime) as date) + 1 as sent
            from (from known_opens union all from known_clicks)
        )
        select 1 from received asof left join newsletter n on n.hashedidentity = u and n.day < sent
        where coalesce(action, 'never') <> 'followed'"""
    )
    assert world.none(
        """select 1 from known_opens join profile on bbc_hid3 = subscriberkey
        where status = 'deleted' or mailverified <> 'true'"""
    )
    assert world.none(
        """select 1 from known_clicks c where not exists (
            select 1 from known_opens o where o.subscriberkey = c.subscriberkey and o.sendid = c.sendid
                and o.eventdatetime <= c.eventdatetime)"""
    )
    one_week = (
        "select sendid from opens group by 1 having count(distinct date_trunc('week', eventdatetime)) > 1"
    )
    assert world.none(one_week)


def test_opens_depend_on_use_and_are_modest(world: World) -> None:
    busy, idle = world.one(
        """with weeks as (select unnest(generate_series(date '2026-02-02', date '2026-06-22', interval 7 day)) as w),
        people as (
            select distinct hashedidentity as u from newsletter join profile on bbc_hid3 = hashedidentity
            where mailverified = 'true' and status = 'active' and cal_createdate < date '2026-01-01'
        ),
        seen as (
            select w, u,
                exists (select 1 from activity where audience_id = u and week = w - interval 7 day) as busy,
                exists (select 1 from known_opens where subscriberkey = u
                    and date_trunc('week', eventdatetime) = w) as opened
            from weeks, people
        )
        select avg(cast(opened as integer)) filter (where busy), avg(cast(opened as integer)) filter (where not busy)
        from seen"""
    )
    assert 1.3 * idle < busy < 0.5
    rows, users = world.one("select count(*), (select count(distinct bbc_hid3) from profile) from opens")
    assert 0.02 < rows / users / world.done.weeks < 0.3


@pytest.mark.parametrize(
    ("product", "table", "key", "content", "column"),
    [
        ("iplayer", "iplayer_activations", "audience_id", "first_version_id", "version_id"),
        ("sounds", "sounds_activations", "bbc_hid3", "episode_id", "episode_id"),
    ],
)
def test_activations_are_the_new_and_those_who_come_back_after_13_weeks(
    world: World, product: str, table: str, key: str, content: str, column: str
) -> None:
    known = f"select {key} as u, week_beginning as w, {content} as c from {table} semi join profile on profile.bbc_hid3 = {table}.{key}"
    used = f"select distinct audience_id as u, week as w from activity where product = '{product}'"
    due = f"""with used as ({used}),
        gaps as (select u, w, lag(w) over (partition by u order by w) as before from used)
        select u, w from gaps join profile on bbc_hid3 = u
        where w - before > 13 * 7 or w = date_trunc('week', cal_createdate)"""
    # Everybody whose gap can be seen is there; who was away before the first week may be there too.
    assert world.none(f"({due}) except select u, w from ({known})")
    assert world.none(f"select u, w from ({known}) except {used}")
    seen_use = f"""select 1 from ({known}) k join ({used}) a on a.u = k.u
        and a.w < k.w and a.w >= k.w - 13 * 7"""
    assert world.none(seen_use)
    assert world.none(f"select u, w from ({known}) group by all having count(*) > 1")
    # The content is that of the first programme in the week; without any, a text for missing.
    firsts = f"""with plays as (
            select audience_id as u, week as w, event_datetime_min as moment, {column} as c from activity
            where product = '{product}' and version_id <> 'null'
        )
        select u, w, c from plays qualify moment = min(moment) over (partition by u, w)"""
    assert world.none(
        f"""select 1 from ({known}) k left join ({firsts}) f using (u, w)
        group by k.u, k.w, k.c having not coalesce(bool_or(f.c = k.c), k.c in {MISSING_TEXTS})"""
    )
    due_rows, returning = world.one(
        f"""select count(*), count(*) filter (where w <> date_trunc('week', cal_createdate))
        from ({due}) join profile on bbc_hid3 = u"""
    )
    assert due_rows > 150
    assert returning > 3


def check_segments(world: World) -> None:
    """Recompute the segments of iPlayer and Sounds, and those of everything, from activity."""
    sundays = [world.done.start + timedelta(weeks=w + 1, days=-1) for w in range(world.done.weeks)]
    last = [day for day in sundays if (day + timedelta(weeks=1)).month != day.month]
    dated = world.con.execute("select distinct date_of_segmentation from segments order by 1").fetchall()
    assert [row[0] for row in dated] == last
    assert world.none(
        "select 1 from known_segments group by bbc_hid3, product, date_of_segmentation having count(*) > 1"
    )
    rows = world.con.execute(
        """select s.product, segvalue, count(distinct week) filter (where week > date_of_segmentation - 13 * 7),
            count(week) as ever
        from known_segments s left join activity a on a.audience_id = s.bbc_hid3 and a.product = s.product
            and a.date_of_event <= s.date_of_segmentation
        where s.product in ('iplayer', 'sounds') group by s.bbc_hid3, s.product, s.date_of_segmentation, segvalue"""
    ).fetchall()
    assert all(ever for *_, ever in rows)
    assert {name for _, name, *_ in rows} <= {
        *MISSING_TEXTS,
        segments.INACTIVE,
        *dict(segments.SEGMENT_WEEKS),
    }
    assert all(name in (*MISSING_TEXTS, segments.segment_of(weeks)) for _, name, weeks, _ in rows)
    # Nobody who has used a product is left out.
    assert world.none(
        """select distinct a.audience_id, a.product, s.d from activity a
        join (select distinct date_of_segmentation as d from segments) s on a.date_of_event <= s.d
        where a.product <> 'radio' except select bbc_hid3, product, date_of_segmentation from known_segments"""
    )
    # The segment of everything is at least as frequent as that of any product.
    assert world.none(
        f"""select 1 from known_segments a join known_segments s using (bbc_hid3, date_of_segmentation)
        where a.product = 'panbbc' and a.segvalue > s.segvalue
            and a.segvalue not in {MISSING_TEXTS} and s.segvalue not in {MISSING_TEXTS}"""
    )


def test_segments_come_from_the_weeks_of_use_up_to_their_date(world: World) -> None:
    check_segments(world)
    found = {row[0] for row in world.con.execute("select distinct product from segments").fetchall()}
    assert found == set(segments.PRODUCTS)
    assert world.one(f"select avg(cast(segvalue in {MISSING_TEXTS} as integer)) from segments")[0] < 0.01
    assert world.one("select count(*) from segments where segvalue = 'X. Inactive'")[0] > 50


@settings(max_examples=3, phases=[Phase.generate])  # to shrink would take minutes
@given(seed=st.integers(0, 10_000), weeks=st.integers(13, 20))
def test_every_seed_keeps_segments_and_follows_true(
    tmp_path_factory: pytest.TempPathFactory, seed: int, weeks: int
) -> None:
    world = live(tmp_path_factory.mktemp("seed") / "data", users=40, weeks=weeks, seed=seed)
    check_segments(world)
    off_days = """select 1 from known_events e where not exists (
        select 1 from activity a where a.audience_id = e.hashedidentity
            and strftime(a.date_of_event, '%Y%m%d') = e.cal_yyyymmdd)"""
    assert world.none(off_days)
    early = "select 1 from newsletter join profile on bbc_hid3 = hashedidentity where day < cal_createdate"
    assert world.none(early)


def content_ids(world: World, media: str) -> dict[str, str]:
    """Content (brand, else series, else episode) and its first genre."""
    rows = world.con.execute(
        f"""select coalesce(nullif(nullif(brand_id, 'null'), 'N/A'), nullif(series_id, 'null'),
            nullif(episode_id, 'null')) as c, min(pips_genre_level_1_names)
        from content where media_type = '{media}' group by 1 having c is not null"""
    ).fetchall()
    return dict(rows)


@pytest.mark.parametrize(("table", "media"), [("iplayer_factors", "video"), ("sounds_factors", "audio")])
def test_item_factors_are_near_those_of_the_same_genre(world: World, table: str, media: str) -> None:
    genre_of = content_ids(world, media)
    found = world.con.execute(f"select * from {table}").fetchall()
    ids = [row[0] for row in found]
    assert len(set(ids)) == len(ids)
    known = [row for row in found if row[0] in genre_of]
    assert 0.97 < len(known) / len(found) < 1  # a few that the catalogue does not have
    assert 0.85 < len(known) / len(genre_of) < 0.95
    factors = np.array([row[1:] for row in known], dtype=float)
    genres = np.array([genre_of[row[0]] for row in known])
    names = [name for name in np.unique(genres) if ";" not in name]
    centres = np.array([factors[genres == name].mean(axis=0) for name in names])
    nearest = ((factors[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    plain = np.isin(genres, names)
    assert (np.array(names)[nearest] == genres)[plain].mean() > 0.9
    assert factors.std(axis=0).min() > 0.4


def test_podcasts_and_mixes_are_different_recorded_sounds_content(world: World) -> None:
    genre_of = content_ids(world, "audio")
    listed = [row[0] for row in world.con.execute("select * from podcasts").fetchall()]
    podcasts = set(listed) - set(MISSING_TEXTS)
    assert podcasts <= set(genre_of)
    assert len(listed) > 1.3 * len(podcasts)  # by places in the schedule
    assert any(name.startswith("b") for name in podcasts)
    assert any(name.startswith("m") for name in podcasts)
    in_content = """select coalesce(nullif(nullif(brand_id, 'null'), 'N/A'), episode_id) as tleo, episode_id,
        master_brand_id, pips_genre_level_1_names from content where media_type = 'audio'"""
    own = world.con.execute(
        f"""select count(distinct tleo) filter (where tleo in (from podcasts)), count(distinct tleo)
        from ({in_content}) where master_brand_id = 'bbc_sounds_podcasts' and tleo like 'b%' and tleo not like 'b1f%'"""
    ).fetchone()
    assert own is not None
    assert own[0] > 0.85 * own[1] > 20
    rows = world.con.execute(
        f"""select count(distinct episode_id), bool_and(pips_genre_level_1_names like '%Music%'),
            bool_or(tleo in (from podcasts))
        from ({in_content}) where episode_id <> 'null' and episode_id in (from mixes union from mixes_on_show)"""
    ).fetchone()
    assert rows is not None
    mixes, music, also_podcasts = rows
    assert (mixes > 50, music, also_podcasts) == (True, True, False)
    named = world.one(
        f"select count(distinct episode_id) from (from mixes union from mixes_on_show) where episode_id not in {MISSING_TEXTS}"
    )
    assert named == (mixes,)
    live = "select 1 from activity where product = 'sounds' and broadcast_type = 'Live' and episode_id in (from mixes)"
    assert world.none(live)
    assert not world.none("select 1 from activity where product = 'sounds' and episode_id in (from mixes)")


def test_predictions_are_mostly_right(world: World) -> None:
    gender = world.one(
        f"""select avg(cast(predicted_gender = gender as integer)), count(*)
        from (select distinct * from genders) join (select distinct bbc_hid3, gender, age from profile)
            on bbc_hid3 = audience_id
        where predicted_gender not in {MISSING_TEXTS} and gender in ('female', 'male')"""
    )
    assert gender[0] == pytest.approx(side_tables.RIGHT_GENDER, abs=0.05)
    age = world.one(
        f"""select avg(cast((predicted_age = '16-34') = (age between 16 and 34) as integer))
        from ages join profile on bbc_hid3 = audience_id where predicted_age not in {MISSING_TEXTS} and age is not null"""
    )
    assert age[0] == pytest.approx(side_tables.RIGHT_AGE, abs=0.05)
    guessed = world.one(
        """select count(*) from genders join profile on bbc_hid3 = audience_id
        where gender not in ('female', 'male') and predicted_gender in ('female', 'male')"""
    )
    assert guessed[0] > 50


def test_real_faults_are_there_and_few(world: World) -> None:
    strangers: set[str] = set()
    for name in ("segments", "events", "uasview", "opens", "genders"):
        key = world.con.execute(f"describe {name}").fetchall()[0][0]
        rows, ids = world.one(
            f"select (select count(*) from {name}), list({key}) from {name} anti join profile on profile.bbc_hid3 = {name}.{key}"
        )
        assert 0 < len(ids) < 0.02 * rows, name  # type: ignore[arg-type]  # a list of ids
        strangers |= set(ids)  # type: ignore[arg-type]  # texts
    assert strangers & set(MISSING_TEXTS)
    assert any(name.startswith("x") for name in strangers)
    rows, distinct = world.one(
        "select count(*), (select count(*) from (select distinct * from opens)) from opens"
    )
    assert 0.005 < 1 - distinct / rows < 0.04
    for column, table in (
        ("predicted_gender", "genders"),
        ("predicted_age", "ages"),
        ("segvalue", "segments"),
        ("tleo_id", "podcasts"),
        ("episode_id", "sounds_activations"),
        ("first_version_id", "iplayer_activations"),
    ):
        share = world.one(f"select avg(cast({column} in {MISSING_TEXTS} as integer)) from {table}")[0]
        assert 0 < share < 0.2, column


@settings(max_examples=30)
@given(st.lists(st.text(max_size=3), max_size=50), st.floats(0, 1), st.integers(0, 100))
def test_blanks_and_strangers_leave_the_rest_as_it_is(texts: list[str], share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    blanked = replace_by_missing(rng, np.array(texts, dtype=object), share)
    assert len(blanked) == len(texts)
    assert all(new == old or new in MISSING_TEXTS for new, old in zip(blanked, texts, strict=True))
    table = pa.table({"id": pa.array(texts, pa.string()), "row": pa.array(range(len(texts)), pa.int32())})
    more = add_unknown_users(rng, table)
    assert more.slice(0, len(texts)).equals(table)
    assert set(more["row"].to_pylist()) == set(range(len(texts)))


@given(st.integers(0, 13))
def test_more_weeks_of_use_never_make_a_rarer_segment(weeks: int) -> None:
    names = [name for name, _ in segments.SEGMENT_WEEKS] + [segments.INACTIVE]
    assert names == sorted(names)
    assert segments.segment_of(weeks) >= segments.segment_of(min(weeks + 1, 13))
    assert (segments.segment_of(weeks) == segments.INACTIVE) == (weeks == 0)


def test_late_rows_come_in_files_of_the_week_after_and_nothing_else_changes(tmp_path: Path) -> None:
    arguments = {"users": 200, "weeks": 13, "seed": 5, "chunk_users": 120}
    plain = simulate(tmp_path / "plain", **arguments)  # type: ignore[arg-type]  # of several types
    late = simulate(tmp_path / "late", late_share=0.03, **arguments)  # type: ignore[arg-type]
    assert late.activity_rows == plain.activity_rows
    folder = late.into / "tables" / ACTIVITY
    files = sorted(folder.glob("*-late-*"))
    mondays = [plain.start + timedelta(weeks=w + 1) for w in range(13)]
    assert [file.name for file in files] == [
        f"part-{part:05d}-late-{monday}.parquet" for part in range(2) for monday in mondays
    ]
    rows = 0
    for file in files:
        arrival = date.fromisoformat(file.stem[-10:])
        days = pq.read_table(file, columns=["date_of_event"])["date_of_event"].to_pylist()
        assert all(arrival - timedelta(weeks=1) <= day < arrival for day in days)
        rows += len(days)
    assert rows / plain.activity_rows == pytest.approx(0.03, abs=0.008)
    con = duckdb.connect()
    both = [f"select * from '{done.into}/tables/{ACTIVITY}/*.parquet'" for done in (plain, late)]
    for one, other in (both, both[::-1]):
        assert con.execute(f"{one} except all {other}").fetchone() is None
    for path in sorted(plain.into.rglob("*.parquet")):
        name = path.relative_to(plain.into)
        if path.parent.name != ACTIVITY:
            assert path.read_bytes() == (late.into / name).read_bytes(), name
    assert not list(plain.into.rglob("*-late-*"))


@pytest.mark.parametrize("share", [-0.1, 0.6, float("nan")])
def test_an_impossible_share_of_late_rows_is_refused(share: float, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"late_share is .*, but must be from 0 to 0\.5"):
        simulate(tmp_path / "data", users=10, weeks=13, late_share=share)


def test_a_week_has_one_value_a_row(world: World) -> None:
    for week in world.weeks:
        lengths = {len(getattr(week.rows, field.name)) for field in fields(week.rows)}
        assert lengths == {len(week.destination)}
        assert week.active.shape == week.before.gap.shape == (1_500, 2)


def test_the_newsletter_is_the_same_mail_for_everybody_in_a_week(world: World) -> None:
    ids = world.con.execute("select distinct sendid from opens order by 1").fetchall()
    assert [row[0] for row in ids] == [mails.send_id(week) for week in range(world.done.weeks)]


def test_the_documentation_states_the_constants_in_use() -> None:
    text = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text("utf-8")
    stated = re.findall(r"^\| `(\w+)\.(\w+)` \|[^|]*\| (-?[\d.]+) \|$", text, re.M)
    assert len(stated) > 20
    for module, name, value in stated:
        assert getattr(import_module(f"churn.sources.simulator.{module}"), name) == float(value), name
    assert all(f"`{name}`" in text for name in (segments.INACTIVE, *dict(segments.SEGMENT_WEEKS)))
    assert all(f"tables/{name}/" in text for name in TABLES if "clicks" not in name)
