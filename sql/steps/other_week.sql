-- Makes: other_week, what each user did in each week with each product beside this one.
-- Grain: user, week (Monday) and product of the activity, up to the day until which activity is known.
-- From: activity. Only for products that match something: beside any product there is no other.
with other_activity as (
    select
        user_id,
        product,
        activity_date,
        cast(value as decimal(18, 4)) as value,
        cast(date_trunc('week', activity_date) as date) as week_start
    from {{ ref('activity') }}
    where
        activity_date between :history_start and :known_until
        and product not in ({% for match in matches %}:match_{{ match }}{{ ", " if not loop.last }}{% endfor %})
)

select
    user_id,
    week_start,
    product,
    -- The days of the week as bits of a number, Monday's the lowest: days with several products count once.
{% for weekday in weekdays %}
    {{ 2 ** loop.index0 }} * max(case when activity_date - week_start = {{ loop.index0 }} then 1 else 0 end){{ " +" if not loop.last else " as days," }}
{% endfor %}
    sum(value) as value,
    max(activity_date) as last_date
from other_activity
group by user_id, week_start, product
