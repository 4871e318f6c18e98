-- Makes: user_item_week, which items of which series each user used in each week with the product.
-- Grain: user, week (Monday) and item.
-- From: the kept user_item_week of every product of the activity that counts as this one.
{% set single = matches | length == 1 %}
select
    user_id,
    week_start,
    item_id,
    {{ "series_id" if single else "max(series_id) as series_id" }},
    {{ "events" if single else "sum(events) as events" }},
    {{ "value" if single else "sum(value) as value" }}
from {{ kept('user_item_week') }}
where
    week_start <= cast(:known_until as date) - 6
{% if matches %}
    and product in ({% for match in matches %}:match_{{ match }}{{ ", " if not loop.last }}{% endfor %})
{% endif %}
{% if not single %}
group by user_id, week_start, item_id
{% endif %}
