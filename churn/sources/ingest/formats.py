"""What exports of analytics tools look like: one declarative record for each.

Fields are paths (``churn.sources.ingest.paths``), tried in order: the first that holds something in a row is
taken, so one record covers the shapes in which a tool exports (JSON lines, Parquet, a warehouse's table).
Sources: GA4's BigQuery export schema and its automatically collected events (support.google.com/analytics,
answers 7029846 and 9234069); Segment's common fields and warehouse schemas; Snowplow's enriched TSV format;
PostHog's S3 batch exports; Mixpanel's raw event export; Amplitude's Export API.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Format:
    """How an export is read.

    Attributes:
        title: its name for people.
        user: where the id of a known user is.
        anonymous: where the id of a device or an anonymous visitor is.
        time: where the time of the event is.
        event: where the event's name is.
        fields: contract column to where it is, for the other columns.
        not_activity: names of events that are no activity of a person, or that repeat one.
        utc: whether times without a zone are UTC.
        header: columns of files without a first line that names them.
    """

    title: str
    user: tuple[str, ...]
    anonymous: tuple[str, ...]
    time: tuple[str, ...]
    event: tuple[str, ...]
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    not_activity: frozenset[str] = frozenset()
    utc: bool = False
    header: tuple[str, ...] = ()


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _param(key: str) -> str:
    return f"event_params[key={key}].value.string_value"


_SNOWPLOW_HEADER = _words(
    "app_id platform etl_tstamp collector_tstamp dvce_created_tstamp event event_id txn_id name_tracker "
    "v_tracker v_collector v_etl user_id user_ipaddress user_fingerprint domain_userid domain_sessionidx "
    "network_userid geo_country geo_region geo_city geo_zipcode geo_latitude geo_longitude "
    "geo_region_name ip_isp ip_organization ip_domain ip_netspeed page_url page_title page_referrer "
    "page_urlscheme page_urlhost page_urlport page_urlpath page_urlquery page_urlfragment refr_urlscheme "
    "refr_urlhost refr_urlport refr_urlpath refr_urlquery refr_urlfragment refr_medium refr_source "
    "refr_term mkt_medium mkt_source mkt_term mkt_content mkt_campaign contexts se_category se_action "
    "se_label se_property se_value unstruct_event tr_orderid tr_affiliation tr_total tr_tax tr_shipping "
    "tr_city tr_state tr_country ti_orderid ti_sku ti_name ti_category ti_price ti_quantity "
    "pp_xoffset_min pp_xoffset_max pp_yoffset_min pp_yoffset_max useragent br_name br_family br_version "
    "br_type br_renderengine br_lang br_features_pdf br_features_flash br_features_java "
    "br_features_director br_features_quicktime br_features_realplayer br_features_windowsmedia "
    "br_features_gears br_features_silverlight br_cookies br_colordepth br_viewwidth br_viewheight "
    "os_name os_family os_manufacturer os_timezone dvce_type dvce_ismobile dvce_screenwidth "
    "dvce_screenheight doc_charset doc_width doc_height tr_currency tr_total_base tr_tax_base "
    "tr_shipping_base ti_currency ti_price_base base_currency geo_timezone mkt_clickid mkt_network "
    "etl_tags dvce_sent_tstamp refr_domain_userid refr_device_tstamp derived_contexts domain_sessionid "
    "derived_tstamp event_vendor event_name event_format event_version event_fingerprint true_tstamp"
)

FORMATS: Mapping[str, Format] = {
    "ga4": Format(
        title="Google Analytics 4 (BigQuery export)",
        user=("user_id",),
        anonymous=("user_pseudo_id",),
        time=("event_timestamp",),
        event=("event_name",),
        fields={
            "category": ("event_name",),
            "item_id": (_param("page_location"), _param("firebase_screen"), _param("firebase_screen_class")),
            "device": ("device.category",),
        },
        # The first row repeats a visit that other events show; the others happen without the person.
        not_activity=frozenset(
            _words(
                "session_start first_visit first_open user_engagement "
                "app_clear_data app_exception app_remove app_update os_update "
                "notification_receive notification_dismiss firebase_campaign"
            )
        ),
    ),
    "segment": Format(
        title="Segment (raw logs of the S3 destination, or a table of its warehouse schema)",
        user=("userId", "user_id"),
        anonymous=("anonymousId", "anonymous_id"),
        time=("timestamp", "originalTimestamp", "original_timestamp", "receivedAt", "received_at"),
        event=("event", "type"),
        fields={
            "category": ("event", "type"),
            "item_id": ("context.page.path", "context_page_path", "path"),
            "device": ("context.device.type", "context_device_type", "context.os.name", "context_os_name"),
        },
        not_activity=frozenset({"identify", "group", "alias", "delete"}),
        utc=True,
    ),
    "snowplow": Format(
        title="Snowplow (enriched TSV, or a table of its canonical event model)",
        user=("user_id",),
        anonymous=("domain_userid", "network_userid"),
        time=("derived_tstamp", "collector_tstamp"),
        event=("event_name", "event"),
        fields={
            "category": ("event_name", "event"),
            "item_id": ("page_urlpath",),
            "device": ("dvce_type", "platform"),
        },
        not_activity=frozenset({"page_ping"}),
        utc=True,
        header=_SNOWPLOW_HEADER,
    ),
    "posthog": Format(
        title="PostHog (batch export of events)",
        user=("distinct_id",),
        anonymous=("properties.$device_id",),
        time=("timestamp",),
        event=("event",),
        fields={
            "category": ("event",),
            "item_id": ("properties.$pathname", "properties.$screen_name"),
            "device": ("properties.$device_type", "properties.$os"),
        },
        not_activity=frozenset(
            _words(
                "$identify $create_alias $merge_dangerously $groupidentify $set $unset $feature_flag_called "
                "$pageleave $web_vitals $exception $$heatmap"
            )
        ),
        utc=True,
    ),
    "mixpanel": Format(
        title="Mixpanel (raw event export)",
        user=("properties.distinct_id", "distinct_id"),
        anonymous=("properties.$device_id", "device_id"),
        time=("properties.time", "time"),
        event=("event", "event_name"),
        fields={
            "category": ("event", "event_name"),
            "item_id": ("properties.$current_url",),
            "device": ("properties.$device", "properties.$os"),
        },
        not_activity=frozenset({"$identify", "$create_alias", "$merge"}),
        utc=True,
    ),
    "amplitude": Format(
        title="Amplitude (Export API)",
        user=("user_id",),
        anonymous=("amplitude_id", "device_id"),
        time=("event_time",),
        event=("event_type",),
        fields={"category": ("event_type",), "device": ("platform", "device_family")},
        not_activity=frozenset(
            {
                "session_start",
                "session_end",
                "[Amplitude] Start Session",
                "[Amplitude] End Session",
                "$identify",
                "$groupidentify",
            }
        ),
        utc=True,
    ),
}
