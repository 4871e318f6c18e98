-- Makes: window_sums, what each user did in the observation window: by week (2 = last, 14 = first), category, time and
-- device.
-- Grain: snapshot.
-- From: eligible, user_week. Several feature groups are ratios of these sums, so they are added up once.
{# As narrow as in user_week: wider numbers take several times as long to write and read. #}
{%- macro total(value) -%}cast(sum({{ value }}) as {{ value_type }}){%- endmacro -%}
{%- macro count(number) -%}cast(sum({{ number }}) as bigint){%- endmacro -%}
{# For what is 0 or more. A user has one row of a week: the greatest of it and zeros is it, and is found faster than their sum. #}
{%- macro of_week(column, offset) -%}max(case when week_offset = {{ offset }} then {{ column }} else 0 end){%- endmacro -%}
with weekly as (
    select
        eligible.user_id,
        eligible.as_of_date,
        (eligible.as_of_date - {{ last_week_start_days }} - user_week.week_start) / 7 + {{ last_observed_offset }} as week_offset,
        user_week.value,
        user_week.events,
        user_week.active_days,
{% if has_page_views %}
        coalesce(user_week.page_views, 0) as page_views,
{% endif %}
{% if has_device %}
        user_week.play_value,
        user_week.play_days,
{% for device in devices %}
        user_week.value_device_{{ device }},
        user_week.days_device_{{ device }},
{% endfor %}
{% endif %}
{% for column in share_columns %}
        user_week.value_{{ column }}{{ "," if not loop.last }}
{% endfor %}
    from {{ ref('eligible') }} as eligible
    inner join {{ ref('user_week') }} as user_week
        on
            eligible.user_id = user_week.user_id
            and user_week.week_start >= eligible.as_of_date - {{ window_start_days }}
            and user_week.week_start <= eligible.as_of_date - {{ last_week_start_days }}
)

select
    user_id,
    as_of_date,
{% for offset in observed_offsets %}
    cast({{ of_week("value", offset) }} as {{ value_type }}) as value_w{{ offset }},
    cast({{ of_week("events", offset) }} as bigint) as events_w{{ offset }},
    cast({{ of_week("active_days", offset) }} as bigint) as days_w{{ offset }},
{% endfor %}
    {{ total("value") }} as value_13w,
    {{ count("events") }} as events_13w,
    {{ count("active_days") }} as days_13w,
    count(*) as active_weeks_13w,
    {{ count("case when week_offset <= " ~ (last_observed_offset + recent_weeks - 1) ~ " then 1 else 0 end") }} as active_weeks_4w,
{% if has_page_views %}
    {{ count("case when week_offset = " ~ last_observed_offset ~ " then page_views else 0 end") }} as page_views_1w,
    {{ count("page_views") }} as page_views_13w,
{% endif %}
{% if has_device %}
    {{ total("play_value") }} as play_value,
    {{ count("play_days") }} as play_days,
{% for device in devices %}
    {{ total("value_device_" ~ device) }} as value_device_{{ device }},
    {{ count("days_device_" ~ device) }} as days_device_{{ device }},
{% endfor %}
{% endif %}
{% for column in share_columns %}
    {{ total("value_" ~ column) }} as value_{{ column }}{{ "," if not loop.last }}
{% endfor %}
from weekly
group by user_id, as_of_date
