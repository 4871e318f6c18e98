-- Makes: user_week, what each user did in each week with the product, up to the day until which activity is known.
-- Grain: user and week (Monday).
-- From: the kept user_week of every product of the activity that counts as this one.
{% set single = matches | length == 1 %}
{% macro total(column) %}{{ column if single else "sum(" ~ column ~ ") as " ~ column }}{% endmacro %}
with weeks as (
    select
        user_id,
        week_start,
        {{ total("events") }},
        {{ "days" if single else "bit_or(days) as days" }},
        {{ total("value") }},
        {{ "first_date" if single else "min(first_date) as first_date" }},
        {{ "last_date" if single else "max(last_date) as last_date" }}{{ "," if share_columns }}
{% for column in share_columns %}
        {{ total("value_" ~ column) }}{{ "," if not loop.last }}
{% endfor %}
    from {{ kept('user_week') }}
    where
        week_start <= cast(:known_until as date) - 6
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
{% for weekday in weekdays %}
    mod(days / {{ 2 ** loop.index0 }}, 2){{ " +" if not loop.last else " as active_days," }}
{% endfor %}
    value,
    first_date,
    last_date{{ "," if share_columns }}
{% for column in share_columns %}
    value_{{ column }}{{ "," if not loop.last }}
{% endfor %}
from weeks
