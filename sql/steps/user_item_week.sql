-- Makes: user_item_week, which items of which series each user used in each week.
-- Grain: user, week (Monday) and item.
-- From: activity.
select
    user_id,
    cast(date_trunc('week', activity_date) as date) as week_start,
    item_id,
    max(series_id) as series_id,
    count(*) as events,
    sum(cast(value as decimal(18, 4))) as value
from {{ ref('activity') }}
where
    activity_date between :history_start and :known_until
    and item_id is not null
{% if matches %}
    and product in ({% for match in matches %}:match_{{ match }}{{ ", " if not loop.last }}{% endfor %})
{% else %}
    and product is not null
{% endif %}
group by user_id, cast(date_trunc('week', activity_date) as date), item_id
