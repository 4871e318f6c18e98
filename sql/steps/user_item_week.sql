-- Makes: user_item_week, which items of which series each user used in each week, on which days, live or not.
-- Grain: user, week (Monday) and item. Days are bits, Monday's being 1 and Sunday's 64.
-- From: activity. What is not known to be live counts as on demand. Items of no series are content of their own.
{% from 'steps/days.jinja' import day_bit %}
with product_activity as (
    select
        user_id,
        item_id,
        series_id,
        cast(value as decimal(18, 4)) as value,
        is_live,
        is_long_play,
        cast(date_trunc('week', activity_date) as date) as week_start,
        {{ day_bit("activity_date", "cast(date_trunc('week', activity_date) as date)") }} as day_bit
    from {{ ref('activity') }}
    where
        activity_date between :history_start and :known_until
        and item_id is not null
{% if matches %}
        and product in ({% for match in matches %}:match_{{ match }}{{ ", " if not loop.last }}{% endfor %})
{% else %}
        and product is not null
{% endif %}
),

weekly as (
    select
        user_id,
        week_start,
        item_id,
        max(series_id) as series_id,
        count(*) as events,
        sum(value) as value,
        sum(case when is_live = 1 then value else 0 end) as live_value,
        bit_or(case when is_live = 1 then day_bit else 0 end) as live_days,
        bit_or(case when is_live = 1 then 0 else day_bit end) as demand_days,
        sum(is_long_play) as long_plays
    from product_activity
    group by user_id, week_start, item_id
)

select
    user_id,
    week_start,
    item_id,
    series_id,
    coalesce(series_id, item_id) as content_id,
    events,
    value,
    cast(live_days | demand_days as smallint) as days,
    live_value,
    cast(live_days as smallint) as live_days,
    cast(demand_days as smallint) as demand_days,
    long_plays
from weekly
