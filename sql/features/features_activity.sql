-- Makes: features_activity, how much and how often in each observed week (2 = last, 14 = first).
-- Grain: snapshot.
-- From: window_sums.
{% set materialized = "view" %}
select
    user_id,
    as_of_date,
{% for offset in observed_offsets %}
    value_w{{ offset }},
    events_w{{ offset }},
    days_w{{ offset }},
{% endfor %}
    value_13w,
    events_13w,
    days_13w,
    active_weeks_13w,
{% for measure in ("value", "days") %}
    {% for offset in observed_offsets[:recent_weeks] %}{{ measure }}_w{{ offset }}{{ " + " if not loop.last }}{% endfor %} as {{ measure }}_4w,
{% endfor %}
    active_weeks_4w,
{% if has_page_views %}
    page_views_1w,
    page_views_13w,
    cast(page_views_13w as double precision) / events_13w as page_views_per_event,
{% endif %}
    -- Habit: active days, where each earlier week counts 0.7 of the next.
{% for offset in observed_offsets %}
    {{ "%.10f"|format(0.7 ** loop.index0) }} * cast(days_w{{ offset }} as double precision){{ " +" if not loop.last else " as habit_days," }}
{% endfor %}
    cast(value_w{{ last_observed_offset }} as double precision) * {{ observation_weeks }} / cast(nullif(value_13w, 0) as double precision) as value_last_to_mean,
    cast(days_w{{ last_observed_offset }} as double precision) * {{ observation_weeks }} / days_13w as days_last_to_mean
from {{ ref('window_sums') }}
