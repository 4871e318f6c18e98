"""The raw tables of each source: columns, type families, and the views that are made from them.

Other tables and columns may exist; they are not read.
"""

from collections.abc import Mapping
from dataclasses import dataclass

ACTIVITY = "audience.audience_activity_daily_summary_enriched"
CONTENT = "prez.scv_vmb"
PREDICTIONS = "predictions"


def _texts(*columns: str) -> dict[str, str]:
    return dict.fromkeys(columns, "text")


def _numbers(*columns: str) -> dict[str, str]:
    return dict.fromkeys(columns, "number")


def _factors(number: int) -> dict[str, str]:
    return _texts("content_id") | _numbers(*(f"f{factor}" for factor in range(number)))


# Source -> table -> column -> family of types (churn.sources.availability). "any" is read as text.
TABLES: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "events": {
        "events.activity": {
            "user_id": "text",
            "product": "text",
            "occurred_at": "timestamp",
            "value": "number",
            "category": "text",
            "item_id": "text",
            "device": "text",
        },
    },
    "bbc": {
        ACTIVITY: {
            **_texts("audience_id", "destination", "app_name", "page_name"),
            "date_of_event": "date",
            "event_datetime_min": "timestamp",
            **_numbers("playback_time_total", "page_views_total"),
            **_texts("pips_genre_level_1_names", "episode_id", "series_id", "brand_id", "clip_id"),
            **_texts("broadcast_type", "device_type", "browser_brand"),
        },
        CONTENT: {
            **_texts("version_id", "episode_id", "series_id", "brand_id", "clip_id"),
            **_texts("brand_title", "series_title", "programme_title", "episode_title", "clip_title"),
            **_texts("pips_genre_level_1_names", "master_brand_id", "tx_date"),
        },
        "prez.id_profile": {
            **_texts("bbc_hid3", "status"),
            "cal_createdate": "any",
            "age": "any",
            **_texts("gender", "location"),
            "enablepersonalisation": "any",
            "mailverified": "any",
        },
        "prez.profile_extension": {
            **_texts("bbc_hid3", "nation", "barb_region"),
            **_texts("acorn_type_description", "acorn_group_description", "acorn_category_description"),
        },
        "central_insights_sandbox.gender_predictions": _texts("audience_id", "predicted_gender"),
        "central_insights_sandbox.age1634_predictions": {**_texts("audience_id"), "predicted_age": "any"},
        "central_insights.sg10026_info_individual_alltime": {
            **_texts("bbc_hid3", "product", "segvalue"),
            "date_of_segmentation": "any",
        },
        "del.uas_profile_events": {
            **_texts("hashedidentity"),
            "cal_yyyymmdd": "any",
            **_texts("activitytype", "resourcetype", "resourcedomain"),
        },
        "prez.uasview": {
            **_texts("hashedidentity"),
            "cal_yyyymmdd": "any",
            "servertime": "any",
            **_texts("action", "activitytype", "resourcetype", "resourcedomain", "resourceid"),
        },
        "research_measurement_data.rmd_salesforce_opens_src": {
            **_texts("subscriberkey"),
            "sendid": "any",
            "eventdatetime": "any",
        },
        "research_measurement_data.rmd_salesforce_clicks_src": {
            **_texts("subscriberkey"),
            "sendid": "any",
            "eventdatetime": "any",
        },
        "central_insights.sounds_podcasts_metadata_schedule_positions": _texts("tleo_id"),
        "central_insights.sounds_mixes_episodes_metadata_all": _texts("episode_id"),
        "central_insights.sounds_mixes_metadata_schedule_positions": _texts("episode_id"),
        "radio1_sandbox.sounds_activations_preagg": {
            **_texts("bbc_hid3"),
            "week_beginning": "any",
            **_texts("episode_id"),
        },
        "central_insights_sandbox.iplayer_activations_postmigration_preagg": {
            **_texts("audience_id"),
            "week_beginning": "any",
            **_texts("first_version_id"),
        },
        "central_insights_sandbox.dh_iplayer_item_matrix_enriched": _factors(10),
        "central_insights_sandbox.dh_sounds_item_matrix_enriched": _factors(20),
    },
}


@dataclass(frozen=True)
class KeyedTable:
    """A raw table in which a key should have one row, or rows that say the same.

    Attributes:
        keys: the columns of the key.
        facts: the columns that a key's rows should agree on.
        what: what a key stands for, in the plural.
        effect: what happens to what the rows of a key contradict each other about.
        latest: a column; only rows with its greatest value are compared.
    """

    keys: tuple[str, ...]
    facts: tuple[str, ...]
    what: str
    effect: str
    latest: str = ""


_MISSING = "what they disagree about is missing"
_FACTORS = {count: tuple(f"f{factor}" for factor in range(count)) for count in (10, 20)}
# Source -> raw table whose rows contradict each other where one key has several of them. Accounts
# (prez.id_profile) are counted by ``churn.dataset.conflicts``: those of present users are left out of a run.
KEYED_TABLES: Mapping[str, Mapping[str, KeyedTable]] = {
    "events": {},
    "bbc": {
        CONTENT: KeyedTable(
            ("version_id",),
            (
                *("episode_id", "series_id", "brand_id", "clip_id"),
                *("pips_genre_level_1_names", "master_brand_id"),
            ),
            "programme versions",
            "all of them count",
        ),
        "prez.profile_extension": KeyedTable(
            ("bbc_hid3",),
            (
                *("nation", "barb_region", "acorn_type_description"),
                *("acorn_group_description", "acorn_category_description"),
            ),
            "users",
            _MISSING,
        ),
        "central_insights_sandbox.gender_predictions": KeyedTable(
            ("audience_id",), ("predicted_gender",), "users", _MISSING
        ),
        "central_insights_sandbox.age1634_predictions": KeyedTable(
            ("audience_id",), ("predicted_age",), "users", _MISSING
        ),
        "central_insights.sg10026_info_individual_alltime": KeyedTable(
            ("bbc_hid3", "product"),
            ("segvalue",),
            "users and products on the latest date",
            "the last by name counts",
            latest="date_of_segmentation",
        ),
        "prez.uasview": KeyedTable(
            ("hashedidentity", "servertime", "activitytype", "resourcetype", "resourcedomain", "resourceid"),
            ("action",),
            "choices of one moment",
            "opting out counts",
        ),
        "radio1_sandbox.sounds_activations_preagg": KeyedTable(
            ("bbc_hid3", "week_beginning"), ("episode_id",), "users and weeks", "the last by id counts"
        ),
        "central_insights_sandbox.iplayer_activations_postmigration_preagg": KeyedTable(
            ("audience_id", "week_beginning"),
            ("first_version_id",),
            "users and weeks",
            "the last by id counts",
        ),
        **{
            f"central_insights_sandbox.dh_{product}_item_matrix_enriched": KeyedTable(
                ("content_id",), _FACTORS[count], "programmes", "one whole row counts"
            )
            for product, count in (("iplayer", 10), ("sounds", 20))
        },
    },
}

# A run needs these tables, with rows.
REQUIRED: Mapping[str, tuple[str, ...]] = {"events": ("events.activity",), "bbc": (ACTIVITY,)}

# Source -> view of the contract -> the tables it is made from. ``predictions`` has no view: its tables become
# columns of ``profile``.
VIEWS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "events": {"activity": ("events.activity",)},
    "bbc": {
        "activity": (ACTIVITY,),
        "content": (CONTENT,),
        "titles": (CONTENT,),
        "formats": (
            CONTENT,
            "central_insights.sounds_podcasts_metadata_schedule_positions",
            "central_insights.sounds_mixes_episodes_metadata_all",
            "central_insights.sounds_mixes_metadata_schedule_positions",
        ),
        "profile": ("prez.id_profile", "prez.profile_extension"),
        PREDICTIONS: (
            "central_insights_sandbox.gender_predictions",
            "central_insights_sandbox.age1634_predictions",
        ),
        "segments": ("central_insights.sg10026_info_individual_alltime",),
        "follows": ("del.uas_profile_events",),
        "newsletter": ("prez.uasview",),
        "mails": (
            "research_measurement_data.rmd_salesforce_opens_src",
            "research_measurement_data.rmd_salesforce_clicks_src",
        ),
        "activations": (
            CONTENT,
            "radio1_sandbox.sounds_activations_preagg",
            "central_insights_sandbox.iplayer_activations_postmigration_preagg",
        ),
        "factors": (
            "central_insights_sandbox.dh_iplayer_item_matrix_enriched",
            "central_insights_sandbox.dh_sounds_item_matrix_enriched",
        ),
    },
}
# Parts of the contract that a source may lack.
OPTIONAL = tuple(part for part in VIEWS["bbc"] if part != "activity")
