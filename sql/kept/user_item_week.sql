-- Makes: user_item_week, which items of which series each user used in each week.
-- Grain: product of the activity, user, week (Monday) and item.
-- From: week_activity, without the rows that break the source contract: a run stops at those.
select
    product,
    user_id,
    week_start,
    item_id,
    max(series_id) as series_id,
    count(*) as events,
    sum(cast(value as decimal(18, 4))) as value
from {{ ref('week_activity') }}
where
    product is not null
    and user_id is not null
    and item_id is not null
    and (value is null or (value >= 0 and value < 1e13 and value - value = 0))
group by product, user_id, week_start, item_id
