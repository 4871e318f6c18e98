-- Makes: user_week, what each user did in each week with the product, up to the last known day.
-- Grain: user and week (Monday). `days` are bits: Monday 1, Sunday 64.
-- From: the kept user_week of every product of the activity that counts as this one; a view if that is one.
{% from 'aggregates/days.jinja' import day_count %}
{% set single = matches | length == 1 %}
{% set materialized = "view" if single else "table" %}
{% macro total(column, by="sum") %}{{ column if single else by ~ "(" ~ column ~ ") as " ~ column }}{% endmacro %}
with weeks as (
    select
        user_id,
        week_start,
        {{ total("events") }},
        {{ total("days", "bit_or") }},
        {{ total("value") }},
        {{ total("page_views") }},
        {{ total("first_date", "min") }},
        {{ total("last_date", "max") }},
{% if has_device %}
        {{ total("play_value") }},
        {{ total("play_days", "bit_or") }},
{% for device in devices %}
        {{ total("value_device_" ~ device) }},
        {{ total("days_device_" ~ device, "bit_or") }},
{% endfor %}
{% endif %}
{% for column in share_columns %}
        {{ total("value_" ~ column) }}{{ "," if not loop.last }}
{% endfor %}
    from {{ kept('user_week') }}
    where
        week_start >= cast(:first_new_date as date) - {{ window_start_days }}
        and week_start <= cast(:known_until as date) - {{ week_end_days }}
{% if matches %}
        and product in ({% for match in matches %}:match_{{ match }}{{ ", " if not loop.last }}{% endfor %})
{% endif %}
{% if not single %}
    group by user_id, week_start
{% endif %}
)

select
    user_id,
    week_start,
    events,
    days,
    {{ day_count("days") }} as active_days,
    value,
    page_views,
    first_date,
    last_date,
{% if has_device %}
    play_value,
    {{ day_count("play_days") }} as play_days,
{% for device in devices %}
    value_device_{{ device }},
    {{ day_count("days_device_" ~ device) }} as days_device_{{ device }},
{% endfor %}
{% endif %}
{% for column in share_columns %}
    value_{{ column }}{{ "," if not loop.last }}
{% endfor %}
from weeks
