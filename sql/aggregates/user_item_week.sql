-- Makes: user_item_week, which items of which series each user used in each week, on which days, live or not.
-- Grain: product of the activity, user, week (Monday) and item. Days are bits, Monday's being 1 and Sunday's 64.
-- From: week_activity, without the rows that break the source contract: a run stops at those. What is not known to
-- be live counts as on demand, and an event without a value adds nothing.
select
    product,
    user_id,
    week_start,
    item_id,
    max(series_id) as series_id,
    max(content_id) as content_id,
    count(*) as events,
    cast(sum(coalesce(cast(value as decimal(18, 4)), 0)) as decimal(18, 4)) as value,
    bit_or(day_bit) as days,
    cast(sum(case when is_live = 1 then coalesce(cast(value as decimal(18, 4)), 0) else 0 end) as decimal(18, 4)) as live_value,
    bit_or(case when is_live = 1 then day_bit else 0 end) as live_days,
    bit_or(case when is_live = 1 then 0 else day_bit end) as demand_days,
    cast(sum(is_long_play) as bigint) as long_plays
from {{ ref('week_activity') }}
where
    product is not null
    and user_id is not null
    and item_id is not null
    and (value is null or (value >= 0 and value < 1e10 and value - value = 0))
group by product, user_id, week_start, item_id
