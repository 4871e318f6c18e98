-- Makes: user_item_week, which items each user used in each week with the product.
-- Grain: user, week (Monday) and item. Days are bits: Monday 1, Sunday 64.
-- From: the kept user_item_week of every product of the activity that counts as this one; a view if that is one.
{% set single = matches | length == 1 %}
{% set materialized = "view" if single else "table" %}
{% macro total(column, by="sum") %}{{ column if single else by ~ "(" ~ column ~ ") as " ~ column }}{% endmacro %}
select
    user_id,
    week_start,
    item_id,
    {{ total("series_id", "max") }},
    {{ total("content_id", "max") }},
    {{ total("events") }},
    {{ total("value") }},
    {{ total("days", "bit_or") }},
    {{ total("live_value") }},
    {{ total("live_days", "bit_or") }},
    {{ total("demand_days", "bit_or") }},
    {{ total("long_plays") }}
from {{ kept('user_item_week') }}
where
    week_start >= cast(:first_new_date as date) - {{ window_start_days }}
    and week_start <= cast(:known_until as date) - {{ week_end_days }}
{% if matches %}
    and product in ({% for match in matches %}:match_{{ match }}{{ ", " if not loop.last }}{% endfor %})
{% endif %}
{% if not single %}
group by user_id, week_start, item_id
{% endif %}
