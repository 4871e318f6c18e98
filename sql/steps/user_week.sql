-- Makes: user_week, what each user did in each week; the only step that reads every activity row.
-- Grain: user and week (Monday), of one product, up to the day until which activity is known.
-- From: activity. Days are bits, Monday's being 1 and Sunday's 64; of devices only plays count.
{% from 'steps/days.jinja' import day_bit, day_count %}
with product_activity as (
    select
        user_id,
        activity_date,
        -- Decimals add up to the same sum in any order; floats do not.
        cast(value as decimal(18, 4)) as value,
        page_views,
{% if has_category %}
        -- One event may belong to several categories: 'Comedy;Drama', or 'Comedy; Drama'.
        ';' || replace(lower(coalesce(category, '')), '; ', ';') || ';' as category,
{% endif %}
{% if has_device %}
        is_play,
        case when is_play = 1 then device end as device,
{% endif %}
        cast(date_trunc('week', activity_date) as date) as week_start,
        {{ day_bit("activity_date", "cast(date_trunc('week', activity_date) as date)") }} as day_bit,
        extract(hour from occurred_at) as hour_of_day
    from {{ ref('activity') }}
    where
        activity_date between :history_start and :known_until
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
        count(*) as events,
        bit_or(day_bit) as days,
        sum(value) as value,
        sum(page_views) as page_views,
        min(activity_date) as first_date,
        max(activity_date) as last_date,
{% for category in categories %}
        sum(case when position(lower(:category_{{ category }}) in category) > 0 then value else 0 end)
            as value_category_{{ category }},
{% endfor %}
{% if categories %}
        sum(case
            when
{% for category in categories %}
                position(lower(:category_{{ category }}) in category) = 0{{ " and" if not loop.last }}
{% endfor %}
                then value
            else 0
        end) as value_other_category,
{% endif %}
{% if has_device %}
        sum(case when is_play = 1 then value else 0 end) as play_value,
        bit_or(case when is_play = 1 then day_bit else 0 end) as play_days,
{% for device in devices %}
        sum(case when device = :device_{{ device }} then value else 0 end) as value_device_{{ device }},
        bit_or(case when device = :device_{{ device }} then day_bit else 0 end) as days_device_{{ device }},
{% endfor %}
{% endif %}
{% if has_time %}
{% for daypart, first_hour, last_hour in dayparts %}
        sum(case when hour_of_day between {{ first_hour }} and {{ last_hour }} then value else 0 end)
            as value_daypart_{{ daypart }},
{% endfor %}
{% endif %}
{% for weekday in weekdays %}
        sum(case when day_bit = {{ 2 ** ((loop.index0 + 6) % 7) }} then value else 0 end)
            as value_weekday_{{ weekday }}{{ "," if not loop.last }}
{% endfor %}
    from product_activity
    group by user_id, week_start
)

select
    user_id,
    week_start,
    events,
    cast(days as smallint) as days,
    {{ day_count('days') }} as active_days,
    value,
    page_views,
    first_date,
    last_date,
{% for category in categories %}
    value_category_{{ category }},
{% endfor %}
{% if categories %}
    value_other_category,
{% endif %}
{% if has_device %}
    play_value,
    {{ day_count('play_days') }} as play_days,
{% for device in devices %}
    value_device_{{ device }},
    {{ day_count('days_device_' ~ device) }} as days_device_{{ device }},
{% endfor %}
{% endif %}
{% if has_time %}
{% for daypart, first_hour, last_hour in dayparts %}
    value_daypart_{{ daypart }},
{% endfor %}
{% endif %}
{% for weekday in weekdays %}
    value_weekday_{{ weekday }}{{ "," if not loop.last }}
{% endfor %}
from weekly
