-- Makes: user_week, what each user did in each week with each product.
-- Grain: product of the activity, user and week (Monday). Days are bits: Monday 1, Sunday 64.
-- From: week_activity. Rows that break the source contract are left out; a run of their product stops.
-- Only plays count for a device.
{# Wider decimals take twice the time to write and add up. A larger sum is cut to one that a run refuses. #}
{%- macro total(value) -%}
cast(least(sum({{ value }}), {{ highest_sum }}) as {{ value_type }})
{%- endmacro -%}
with {% if categories %}texts as (
    select distinct category
    from {{ ref('week_activity') }}
    where category is not null
),

-- An event may belong to several categories: 'Comedy;Drama', or 'Comedy; Drama'. Each such text is searched once.
kinds as (
    select
        category,
{% for category in categories %}
        case
            when position(lower(:category_{{ category }}) in ';' || replace(lower(category), '; ', ';') || ';') > 0 then 1
            else 0
        end as is_{{ category }}{{ "," if not loop.last }}
{% endfor %}
    from texts
),

{% endif %}activity as (
    select
        raw.product,
        raw.user_id,
        raw.week_start,
        raw.activity_date,
        raw.day_bit,
        -- Decimals have the same sum in any order; floats do not.
        coalesce(cast(raw.value as {{ value_type }}), 0) as value,
        raw.page_views,
{% for category in categories %}
        coalesce(kinds.is_{{ category }}, 0) as is_{{ category }},
{% endfor %}
        raw.is_play,
        case when raw.is_play = 1 then raw.device end as device,
        extract(hour from raw.occurred_at) as hour_of_day
    from {{ ref('week_activity') }} as raw
{% if categories %}
    left join kinds on raw.category = kinds.category
{% endif %}
    where
        raw.product is not null
        and raw.user_id is not null
        and (raw.value is null or (raw.value >= 0 and raw.value < {{ highest_value }} and raw.value - raw.value = 0))
)

select
    product,
    user_id,
    week_start,
    count(*) as events,
    bit_or(day_bit) as days,
    {{ total('value') }} as value,
    cast(sum(page_views) as bigint) as page_views,
    min(activity_date) as first_date,
    max(activity_date) as last_date,
{% for category in categories %}
    {{ total("case when is_" ~ category ~ " = 1 then value else 0 end") }}
        as value_category_{{ category }},
{% endfor %}
{% if categories %}
    cast(least(sum(case
        when
{% for category in categories %}
            is_{{ category }} = 0{{ " and" if not loop.last }}
{% endfor %}
            then value
        else 0
    end), {{ highest_sum }}) as {{ value_type }}) as value_other_category,
{% endif %}
    {{ total("case when is_play = 1 then value else 0 end") }} as play_value,
    bit_or(case when is_play = 1 then day_bit else 0 end) as play_days,
{% for device in devices %}
    {{ total("case when device = :device_" ~ device ~ " then value else 0 end") }} as value_device_{{ device }},
    bit_or(case when device = :device_{{ device }} then day_bit else 0 end) as days_device_{{ device }},
{% endfor %}
{% for daypart, first_hour, last_hour in dayparts %}
    {{ total("case when hour_of_day between " ~ first_hour ~ " and " ~ last_hour ~ " then value else 0 end") }}
        as value_daypart_{{ daypart }},
{% endfor %}
{% for weekday in weekdays %}
    {{ total("case when day_bit = " ~ 2 ** ((loop.index0 + 6) % 7) ~ " then value else 0 end") }}
        as value_weekday_{{ weekday }}{{ "," if not loop.last }}
{% endfor %}
from activity
group by product, user_id, week_start
