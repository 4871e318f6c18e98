-- Makes: activity, the source contract's events.
-- Grain: user, day, product page, programme version and device, as in the raw table.
-- From: audience.audience_activity_daily_summary_enriched. The texts 'null', 'N/A', 'n/a' and '' mean missing.
select
    audience_id as user_id,
    central_insights.udf_destination_prod(destination, app_name, page_name) as product,
    date_of_event as activity_date,
    event_datetime_min as occurred_at,
    cast(playback_time_total as double precision) as value,
    case when lower(pips_genre_level_1_names) not in ('null', 'n/a', '') then pips_genre_level_1_names end
        as category,
    case when lower(episode_id) not in ('null', 'n/a', '') then episode_id end as item_id,
    case
        when lower(brand_id) not in ('null', 'n/a', '') then brand_id
        when lower(series_id) not in ('null', 'n/a', '') then series_id
    end as series_id,
    case
        when device_type = 'Smart TV' then 'smart-tv'
        when device_type = 'Desktop' then 'desktop-web'
        when device_type = 'Smartphone' and browser_brand = 'Applications' then 'mobile-app'
        when device_type = 'Smartphone' then 'mobile-web'
        when device_type = 'Tablet' and browser_brand = 'Applications' then 'tablet-app'
        when device_type = 'Tablet' then 'tablet-web'
        else 'other-web'
    end as device
from audience.audience_activity_daily_summary_enriched
