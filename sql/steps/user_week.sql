-- Makes: user_week, what each user did in each week; the only step that reads every activity row.
-- Grain: user and week (Monday), of one product, up to the day until which activity is known.
-- From: activity.
with product_activity as (
    select
        user_id,
        activity_date,
        -- Decimals add up to the same sum in any order; floats do not.
        cast(value as decimal(18, 4)) as value,
{% if has_category %}
        -- One event may belong to several categories: 'Comedy;Drama', or 'Comedy; Drama'.
        ';' || replace(lower(coalesce(category, '')), '; ', ';') || ';' as category,
{% endif %}
{% if has_device %}
        device,
{% endif %}
        cast(date_trunc('week', activity_date) as date) as week_start,
        extract(hour from occurred_at) as hour_of_day,
        extract(dow from activity_date) as day_of_week
    from {{ ref('activity') }}
    where
        activity_date between :history_start and :known_until
{% if matches %}
        and product in ({% for match in matches %}:match_{{ match }}{{ ", " if not loop.last }}{% endfor %})
{% else %}
        and product is not null
{% endif %}
)

select
    user_id,
    week_start,
    count(*) as events,
    -- A week has seven days: seven flags are cheaper than counting distinct dates.
{% for weekday in weekdays %}
    max(case when day_of_week = {{ loop.index0 }} then 1 else 0 end){{ " +" if not loop.last else " as active_days," }}
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
{% if has_time %}
{% for daypart, first_hour, last_hour in dayparts %}
    sum(case when hour_of_day between {{ first_hour }} and {{ last_hour }} then value else 0 end)
        as value_daypart_{{ daypart }},
{% endfor %}
{% endif %}
{% for weekday in weekdays %}
    sum(case when day_of_week = {{ loop.index0 }} then value else 0 end) as value_weekday_{{ weekday }}{{ "," if not loop.last }}
{% endfor %}
from product_activity
group by user_id, week_start
