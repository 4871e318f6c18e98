"""Names, columns and types of the source tables other than activity, content and accounts."""

from collections.abc import Mapping

import pyarrow as pa

SEGMENTS = "central_insights.sg10026_info_individual_alltime"
PROFILE_EVENTS = "del.uas_profile_events"
UAS_VIEW = "prez.uasview"
OPENS = "research_measurement_data.rmd_salesforce_opens_src"
CLICKS = "research_measurement_data.rmd_salesforce_clicks_src"
IPLAYER_ACTIVATIONS = "central_insights_sandbox.iplayer_activations_postmigration_preagg"
SOUNDS_ACTIVATIONS = "radio1_sandbox.sounds_activations_preagg"
IPLAYER_FACTORS = "central_insights_sandbox.dh_iplayer_item_matrix_enriched"
SOUNDS_FACTORS = "central_insights_sandbox.dh_sounds_item_matrix_enriched"
PODCASTS = "central_insights.sounds_podcasts_metadata_schedule_positions"
MIXES = "central_insights.sounds_mixes_episodes_metadata_all"
MIXES_ON_SHOW = "central_insights.sounds_mixes_metadata_schedule_positions"
GENDERS = "central_insights_sandbox.gender_predictions"
AGES = "central_insights_sandbox.age1634_predictions"

FACTORS = {IPLAYER_FACTORS: 10, SOUNDS_FACTORS: 20}  # number of factors of each recommender


def _table(**types: pa.DataType) -> pa.Schema:
    return pa.schema(list(types.items()))


_TEXT, _MOMENT = pa.string(), pa.timestamp("us")
_MAILS = _table(subscriberkey=_TEXT, sendid=_TEXT, eventdatetime=_MOMENT)

# Tables with one part per chunk of people.
PEOPLE_TABLES: Mapping[str, pa.Schema] = {
    SEGMENTS: _table(bbc_hid3=_TEXT, product=_TEXT, segvalue=_TEXT, date_of_segmentation=pa.date32()),
    PROFILE_EVENTS: _table(
        hashedidentity=_TEXT, cal_yyyymmdd=_TEXT, activitytype=_TEXT, resourcetype=_TEXT, resourcedomain=_TEXT
    ),
    UAS_VIEW: _table(
        hashedidentity=_TEXT,
        cal_yyyymmdd=_TEXT,
        servertime=_MOMENT,
        action=_TEXT,
        activitytype=_TEXT,
        resourcetype=_TEXT,
        resourcedomain=_TEXT,
        resourceid=_TEXT,
    ),
    OPENS: _MAILS,
    CLICKS: _MAILS,
    IPLAYER_ACTIVATIONS: _table(audience_id=_TEXT, week_beginning=pa.date32(), first_version_id=_TEXT),
    SOUNDS_ACTIVATIONS: _table(bbc_hid3=_TEXT, week_beginning=pa.date32(), episode_id=_TEXT),
    GENDERS: _table(audience_id=_TEXT, predicted_gender=_TEXT),
    AGES: _table(audience_id=_TEXT, predicted_age=_TEXT),
}

# Tables about content, with one part.
CONTENT_TABLES: Mapping[str, pa.Schema] = {
    **{
        name: _table(content_id=_TEXT, **{f"f{i}": pa.float64() for i in range(count)})
        for name, count in FACTORS.items()
    },
    PODCASTS: _table(tleo_id=_TEXT),
    MIXES: _table(episode_id=_TEXT),
    MIXES_ON_SHOW: _table(episode_id=_TEXT),
}
