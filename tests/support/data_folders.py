"""Small data folders, as `churn ingest` and the broadcaster's warehouse would leave them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from churn.config.settings import Product, Settings

AS_OF = date(2024, 6, 30)  # its target week is 8 to 14 July 2024
TODAY = date(2024, 8, 1)

EVENTS = pa.schema(
    [
        ("user_id", pa.string()),
        ("product", pa.string()),
        ("occurred_at", pa.timestamp("us")),
        ("value", pa.float64()),
        ("category", pa.string()),
        ("item_id", pa.string()),
        ("device", pa.string()),
    ]
)
ACTIVITY = "audience.audience_activity_daily_summary_enriched"
GENDERS = "central_insights_sandbox.gender_predictions"
AGES = "central_insights_sandbox.age1634_predictions"
SEGMENTS = "central_insights.sg10026_info_individual_alltime"
FOLLOWS = "del.uas_profile_events"
NEWSLETTER = "prez.uasview"
OPENS = "research_measurement_data.rmd_salesforce_opens_src"
CLICKS = "research_measurement_data.rmd_salesforce_clicks_src"
PODCASTS = "central_insights.sounds_podcasts_metadata_schedule_positions"
MIXES = (
    "central_insights.sounds_mixes_episodes_metadata_all",
    "central_insights.sounds_mixes_metadata_schedule_positions",
)
SOUNDS_ACTIVATIONS = "radio1_sandbox.sounds_activations_preagg"
IPLAYER_ACTIVATIONS = "central_insights_sandbox.iplayer_activations_postmigration_preagg"
IPLAYER_FACTORS = "central_insights_sandbox.dh_iplayer_item_matrix_enriched"
SOUNDS_FACTORS = "central_insights_sandbox.dh_sounds_item_matrix_enriched"


def _columns(texts: str, **others: pa.DataType) -> pa.Schema:
    """Columns of text, and those of other types."""
    return pa.schema([*((name, pa.string()) for name in texts.split()), *others.items()])


BBC: Mapping[str, pa.Schema] = {
    ACTIVITY: _columns(
        "audience_id destination app_name page_name pips_genre_level_1_names version_id episode_id series_id"
        " brand_id clip_id broadcast_type device_type browser_brand",
        date_of_event=pa.date32(),
        event_datetime_min=pa.timestamp("us"),
        playback_time_total=pa.int32(),
        page_views_total=pa.int32(),
    ),
    "prez.scv_vmb": _columns(
        "version_id episode_id series_id brand_id clip_id brand_title series_title programme_title"
        " episode_title clip_title pips_genre_level_1_names master_brand_id tx_date"
    ),
    "prez.id_profile": _columns(
        "bbc_hid3 status gender location enablepersonalisation mailverified",
        cal_createdate=pa.date32(),
        age=pa.int32(),
    ),
    "prez.profile_extension": _columns(
        "bbc_hid3 nation barb_region acorn_type_description acorn_group_description"
        " acorn_category_description"
    ),
    GENDERS: _columns("audience_id predicted_gender"),
    AGES: _columns("audience_id predicted_age"),
    SEGMENTS: _columns("bbc_hid3 product segvalue", date_of_segmentation=pa.date32()),
    FOLLOWS: _columns("hashedidentity cal_yyyymmdd activitytype resourcetype resourcedomain"),
    NEWSLETTER: _columns(
        "hashedidentity cal_yyyymmdd action activitytype resourcetype resourcedomain resourceid",
        servertime=pa.timestamp("us"),
    ),
    **{
        mails: _columns("subscriberkey", sendid=pa.int32(), eventdatetime=pa.timestamp("us"))
        for mails in (OPENS, CLICKS)
    },
    PODCASTS: _columns("tleo_id"),
    **{mixes: _columns("episode_id") for mixes in MIXES},
    SOUNDS_ACTIVATIONS: _columns("bbc_hid3 episode_id", week_beginning=pa.date32()),
    IPLAYER_ACTIVATIONS: _columns("audience_id first_version_id", week_beginning=pa.date32()),
    **{
        table: _columns("content_id", **{f"f{factor}": pa.float64() for factor in range(factors)})
        for table, factors in ((IPLAYER_FACTORS, 10), (SOUNDS_FACTORS, 20))
    },
}


def event(user: str | None, day: date | datetime, **columns: Any) -> dict[str, Any]:
    """One event of ``food``, at noon where no time is given, worth 1."""
    at = day if isinstance(day, datetime) else datetime.combine(day, time(12))
    return {"product": "food", "value": 1.0, **columns, "user_id": user, "occurred_at": at}


def write_table(data: Path, name: str, rows: pa.Table | Sequence[Mapping[str, Any]], part: int = 0) -> Path:
    """Write one file of a source table; rows given as mappings may leave columns out."""
    folder = data / "tables" / name
    folder.mkdir(parents=True, exist_ok=True)
    if not isinstance(rows, pa.Table):
        schema = EVENTS if name == "events.activity" else BBC[name]
        rows = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    path = folder / f"part-{part:05d}.parquet"
    pq.write_table(rows, path)
    return path


def event_folder(data: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Make a data folder from events."""
    write_table(data, "events.activity", rows)
    (data / "churn.toml").write_text('source = "events"\n[products.food]\ntitle = "food"\n', "utf-8")
    return data


def event_settings(data: Path, **products: Mapping[str, Any] | Product) -> Settings:
    """Settings for a folder of events: ``food`` alone unless told otherwise, every user at every date."""
    chosen = products or {"food": {}}
    filled = {
        name: {"title": name, "match": [name], "training": {"sampling": "all"}, **dict(values)}
        if isinstance(values, Mapping)
        else values
        for name, values in chosen.items()
    }
    return Settings.model_validate(
        {"data": data, "out": data / "out", "source": "events", "products": filled, "sql_memory": "1GB"}
    )


def weekly_events(
    users: Iterable[str], weeks: int, last: date = AS_OF, **columns: Any
) -> list[dict[str, Any]]:
    """One event a user and week, on the Wednesday, for ``weeks`` weeks that end on the Sunday ``last``."""
    return [
        event(user, last - timedelta(days=4 + 7 * back), **columns) for user in users for back in range(weeks)
    ]


def files_below(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def as_text(value: Any) -> str:
    """A value as JSON, to compare rows of any kind by."""
    return json.dumps(value, default=str, sort_keys=True)


def broadcaster_rows(users: int = 40, weeks: int = 26, seed: int = 1) -> dict[str, list[dict[str, Any]]]:
    """A tiny broadcaster up to the Sunday two weeks after ``AS_OF``: rows of all its source tables."""
    rng, more = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    end = AS_OF + timedelta(days=14)
    start = end - timedelta(days=7 * weeks - 1)
    genres = ["Drama", "Comedy;Drama", "News", "null", "Religion & Ethics"]
    kinds = [("Smart TV", "HbbTV"), ("Smartphone", "Applications"), ("Tablet", "Safari"), ("Console", "Edge")]
    activity: list[dict[str, Any]] = []
    for user in range(users):
        rate = rng.uniform(0.02, 0.6)
        for day in range(7 * weeks):
            if rng.random() > rate:
                continue
            for _ in range(rng.integers(1, 3)):
                series, episode = rng.integers(6), rng.integers(weeks)
                device, browser = kinds[rng.integers(len(kinds))]
                at = start + timedelta(days=day)
                activity.append(
                    {
                        "audience_id": f"user{user:03d}",
                        "destination": "PS_IPLAYER" if rng.random() < 0.7 else "PS_SOUNDS",
                        "page_name": "radio.live.page" if rng.random() < 0.1 else "play.page",
                        "date_of_event": at,
                        "event_datetime_min": datetime.combine(at, time(int(rng.integers(24)), 30)),
                        "playback_time_total": int(rng.integers(0, 4000)),
                        "page_views_total": int(more.integers(1, 5)),
                        "pips_genre_level_1_names": genres[rng.integers(len(genres))],
                        "version_id": f"v{series}_{episode}",
                        "episode_id": "null" if rng.random() < 0.1 else f"e{series}_{episode}",
                        "series_id": f"s{series}",
                        "brand_id": "N/A" if series % 2 else f"b{series}",
                        "clip_id": "null",
                        "broadcast_type": ("On Demand", "Live", "null")[more.integers(3)],
                        "device_type": device,
                        "browser_brand": browser,
                    }
                )
    content = [
        {
            "version_id": f"v{series}_{week}",
            "episode_id": f"e{series}_{week}",
            "series_id": f"s{series}",
            "brand_id": "N/A" if series % 2 else f"b{series}",
            "clip_id": "null",
            "brand_title": "null" if series % 2 else f"Brand {series}",
            "series_title": f"Series {series}",
            "episode_title": f"Episode {week}",
            "pips_genre_level_1_names": genres[series % len(genres)],
            "master_brand_id": ("bbc_one", "bbc_sounds_podcasts", "null")[series % 3],
            "tx_date": (start + timedelta(days=7 * week + series)).isoformat(),
        }
        for series in range(6)
        for week in range(4 * series, weeks - series)
    ]
    profile = [
        {
            "bbc_hid3": f"user{user:03d}",
            "status": "deleted" if user % 13 == 12 else "active",
            "cal_createdate": start + timedelta(days=int(rng.integers(-300, 7 * weeks))),
            "age": int(rng.integers(10, 90)),
            "gender": ("female", "male", "null")[user % 3],
            "location": ("gb", "fr", "N/A")[user % 3],
            "enablepersonalisation": "true",
            "mailverified": "false",
        }
        for user in range(users)
        if user % 7
    ]
    extension = [
        {
            "bbc_hid3": f"user{user:03d}",
            "nation": ("England", "Wales", "n/a")[user % 3],
            "barb_region": "London",
            "acorn_type_description": ("Terraces", "Flats")[user % 2],
            "acorn_group_description": ("Starters", "null")[user % 2],
            "acorn_category_description": "Urban",
        }
        for user in range(users)
        if user % 5
    ]
    return {
        ACTIVITY: activity,
        "prez.scv_vmb": content,
        "prez.id_profile": [*profile, *profile[3:5]],
        "prez.profile_extension": extension,
        **_rows_of_people(more, users, start, 7 * weeks),
        **_rows_of_content(more, weeks),
    }


def _rows_of_people(
    rng: np.random.Generator, users: int, start: date, days: int
) -> dict[str, list[dict[str, Any]]]:
    """What people were predicted to be, follow, were sent, and came for: on 3 days each."""
    tables: dict[str, list[dict[str, Any]]] = {
        name: []
        for name in (
            GENDERS,
            AGES,
            SEGMENTS,
            FOLLOWS,
            NEWSLETTER,
            OPENS,
            CLICKS,
            SOUNDS_ACTIVATIONS,
            IPLAYER_ACTIVATIONS,
        )
    }
    for number in range(users):
        user = f"user{number:03d}"
        tables[GENDERS].append({"audience_id": user, "predicted_gender": ("female", "male")[number % 2]})
        tables[AGES].append({"audience_id": user, "predicted_age": ("16-34", "35+", "null")[number % 3]})
        for turn in range(3):
            day = start + timedelta(days=int(rng.integers(days)))
            at = datetime.combine(day, time(int(rng.integers(24))))
            tables[SEGMENTS].append(
                {
                    "bbc_hid3": user,
                    "product": ("iplayer", "sounds", "panbbc")[turn],
                    "segvalue": ("A. Daily", "B. Weekly", "X. Inactive")[rng.integers(3)],
                    "date_of_segmentation": day,
                }
            )
            tables[FOLLOWS].append(
                {
                    "hashedidentity": user,
                    "cal_yyyymmdd": day.isoformat(),
                    "activitytype": ("FOLLOWS", "FOLLOWS", "FAVOURITES")[turn],
                    "resourcetype": ("brand", "brand", "episode")[turn],
                    "resourcedomain": ("tv", "radio", "radio")[turn],
                }
            )
            tables[NEWSLETTER].append(
                {
                    "hashedidentity": user,
                    "cal_yyyymmdd": day.isoformat(),
                    "servertime": at,
                    "action": ("followed", "unfollowed")[rng.integers(2)],
                    "activitytype": "follows",
                    "resourcetype": "newsletter",
                    "resourcedomain": "profile",
                    "resourceid": "pan_bbc",
                }
            )
            for kind in (OPENS, CLICKS)[: 1 + turn % 2]:
                tables[kind].append(
                    {"subscriberkey": user, "sendid": int(rng.integers(9)), "eventdatetime": at}
                )
            monday = day - timedelta(days=day.weekday())
            # What brought people was out by then; some of it is not in the catalogue.
            series, week = int(rng.integers(6)), int(rng.integers(1 + (monday - start).days // 7))
            if any(
                row["bbc_hid3"] == user and row["week_beginning"] == monday
                for row in tables[SOUNDS_ACTIVATIONS]
            ):
                continue  # people come back once a week at most
            tables[SOUNDS_ACTIVATIONS].append(
                {"bbc_hid3": user, "week_beginning": monday, "episode_id": f"e{series}_{week}"}
            )
            tables[IPLAYER_ACTIVATIONS].append(
                {"audience_id": user, "week_beginning": monday, "first_version_id": f"v{series}_{week}"}
            )
    return tables


def _rows_of_content(rng: np.random.Generator, weeks: int) -> dict[str, list[dict[str, Any]]]:
    """Which of the six programmes are podcasts, which episodes are mixes, and the programmes' factors."""
    programmes = [f"s{series}" if series % 2 else f"b{series}" for series in range(6)]
    return {
        PODCASTS: [{"tleo_id": programmes[2]}, {"tleo_id": programmes[3]}],
        MIXES[0]: [{"episode_id": f"e0_{week}"} for week in range(weeks)],
        MIXES[1]: [{"episode_id": f"e5_{week}"} for week in range(weeks)],
        **{
            table: [
                {"content_id": content} | {f"f{factor}": rng.normal() for factor in range(factors)}
                for content in programmes
            ]
            for table, factors in ((IPLAYER_FACTORS, 10), (SOUNDS_FACTORS, 20))
        },
    }


def broadcaster_folder(data: Path, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> Path:
    """Make a data folder from rows of the broadcaster's tables."""
    for name, rows in tables.items():
        write_table(data, name, rows)
    (data / "churn.toml").write_text('source = "bbc"\n', "utf-8")
    return data
