-- Makes: activity, the source contract's events.
-- Grain: user, day, product page, programme version and device, as in the raw table.
-- From: audience.audience_activity_daily_summary_enriched. The texts 'null', 'N/A', 'n/a' and '' mean missing.
{% from 'sources/bbc/texts.jinja' import known %}
select
    {{ known('audience_id') }} as user_id,
    central_insights.udf_destination_prod(destination, app_name, page_name) as product,
    date_of_event as activity_date,
    event_datetime_min as occurred_at,
    cast(playback_time_total as double precision) as value,
    cast(page_views_total as integer) as page_views,
    {{ known('pips_genre_level_1_names') }} as category,
    {{ known('episode_id') }} as item_id,
    coalesce({{ known('brand_id') }}, {{ known('series_id') }}) as series_id,
    -- What people call a programme: the brand or series of an episode that has one.
    coalesce({{ known('brand_id') }}, {{ known('series_id') }}, {{ known('episode_id') }}, {{ known('clip_id') }})
        as content_id,
    case
        when device_type = 'Smart TV' then 'smart-tv'
        when device_type = 'Desktop' then 'desktop-web'
        when device_type = 'Smartphone' and browser_brand = 'Applications' then 'mobile-app'
        when device_type = 'Smartphone' then 'mobile-web'
        when device_type = 'Tablet' and browser_brand = 'Applications' then 'tablet-app'
        when device_type = 'Tablet' then 'tablet-web'
        else 'other-web'
    end as device,
    cast(case
        when lower(broadcast_type) = 'live' then 1
        when lower(broadcast_type) not in ('null', 'n/a', '') then 0
    end as smallint) as is_live,
    cast(case when playback_time_total >= 180 then 1 else 0 end as smallint) as is_play,
    cast(case when playback_time_total >= 600 then 1 else 0 end as smallint) as is_long_play
from audience.audience_activity_daily_summary_enriched
