-- Makes: user_week, what each user did in each week with each product.
-- Grain: product of the activity, user and week (Monday).
-- From: week_activity, without the rows that break the source contract: a run stops at those.
with activity as (
    select
        product,
        user_id,
        week_start,
        activity_date,
        -- Decimals add up to the same sum in any order; floats do not.
        cast(value as decimal(18, 4)) as value,
{% if categories %}
        -- One event may belong to several categories: 'Comedy;Drama', or 'Comedy; Drama'.
        ';' || replace(lower(coalesce(category, '')), '; ', ';') || ';' as category,
{% endif %}
        device,
        extract(hour from occurred_at) as hour_of_day,
        extract(dow from activity_date) as day_of_week
    from {{ ref('week_activity') }}
    where
        product is not null
        and user_id is not null
        and (value is null or (value >= 0 and value < 1e13 and value - value = 0))
)

select
    product,
    user_id,
    week_start,
    count(*) as events,
    -- A week has seven days: seven flags, as the bits of a number, are cheaper than counting distinct dates.
{% for weekday in weekdays %}
    {{ 2 ** loop.index0 }} * max(case when day_of_week = {{ loop.index0 }} then 1 else 0 end){{ " +" if not loop.last else " as days," }}
{% endfor %}
    sum(value) as value,
    min(activity_date) as first_date,
    max(activity_date) as last_date,
{% for category in categories %}
    sum(case when position(lower(:category_{{ category }}) in category) > 0 then value else 0 end)
        as value_category_{{ category }},
{% endfor %}
{% for device in devices %}
    sum(case when device = :device_{{ device }} then value else 0 end) as value_device_{{ device }},
{% endfor %}
{% for daypart, first_hour, last_hour in dayparts %}
    sum(case when hour_of_day between {{ first_hour }} and {{ last_hour }} then value else 0 end)
        as value_daypart_{{ daypart }},
{% endfor %}
{% for weekday in weekdays %}
    sum(case when day_of_week = {{ loop.index0 }} then value else 0 end) as value_weekday_{{ weekday }}{{ "," if not loop.last }}
{% endfor %}
from activity
group by product, user_id, week_start
