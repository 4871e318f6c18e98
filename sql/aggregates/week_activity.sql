-- Makes: week_activity, the raw activity of the weeks that are being aggregated.
-- Grain: as in the raw activity. Days are bits: Monday 1, Sunday 64.
-- From: activity. All aggregates are made from this table, so that each raw row is read once. It is dropped afterwards.
{% from 'aggregates/days.jinja' import day_bit %}
select
    product,
    user_id,
    activity_date,
    cast(date_trunc('week', activity_date) as date) as week_start,
    {{ day_bit("activity_date", "cast(date_trunc('week', activity_date) as date)") }} as day_bit,
    occurred_at,
    value,
    page_views,
    category,
    item_id,
    series_id,
    content_id,
    device,
    is_live,
    is_play,
    is_long_play
from {{ ref('activity') }}
where activity_date between :first_day and :last_day
