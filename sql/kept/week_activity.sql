-- Makes: week_activity, the raw activity of the weeks that are being aggregated: what is kept of them is made from it,
-- so that each raw row is read once. Dropped when they are.
-- Grain: as in the raw activity.
-- From: activity.
select
    product,
    user_id,
    activity_date,
    cast(date_trunc('week', activity_date) as date) as week_start,
    occurred_at,
    value,
    category,
    item_id,
    series_id,
    device
from {{ ref('activity') }}
where activity_date between :first_day and :last_day
