-- Makes: user_item_week, which items each user used in each week, on which days, live or on demand.
-- Grain: product of the activity, user, week (Monday) and item. Days are bits: Monday 1, Sunday 64.
-- From: week_activity. Rows that break the source contract are left out; a run of their product stops.
-- An event counts as live only if it is known to be. An event without a value adds nothing.
{# A larger sum is cut, as in user_week. #}
{%- macro total(value) -%}cast(least(sum({{ value }}), {{ highest_sum }}) as {{ value_type }}){%- endmacro -%}
select
    product,
    user_id,
    week_start,
    item_id,
    max(series_id) as series_id,
    max(content_id) as content_id,
    count(*) as events,
    {{ total("coalesce(cast(value as " ~ value_type ~ "), 0)") }} as value,
    bit_or(day_bit) as days,
    {{ total("case when is_live = 1 then coalesce(cast(value as " ~ value_type ~ "), 0) else 0 end") }} as live_value,
    bit_or(case when is_live = 1 then day_bit else 0 end) as live_days,
    bit_or(case when is_live = 1 then 0 else day_bit end) as demand_days,
    cast(sum(is_long_play) as bigint) as long_plays
from {{ ref('week_activity') }}
where
    product is not null
    and user_id is not null
    and item_id is not null
    and (value is null or (value >= 0 and value < {{ highest_value }} and value - value = 0))
group by product, user_id, week_start, item_id
