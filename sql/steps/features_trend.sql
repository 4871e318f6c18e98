-- Makes: features_trend, the least-squares line of weekly active days and events over the 13 observed weeks.
-- Grain: snapshot.
-- From: window_sums.
-- Weeks without activity count as 0. Time runs from 0 (first observed week) to 12 (last): its sum is 78, its
-- sum of squares 650, so slope = (13 * sum(t*y) - 78 * sum(y)) / (13 * 650 - 78 * 78).
{% macro over_time(column) %}
cast(
{% for offset in observed_offsets %}
            {{ 14 - offset }} * {{ column }}_w{{ offset }}{{ " +" if not loop.last }}
{% endfor %}
            as double precision
        )
{%- endmacro %}
with sums as (
    select
        user_id,
        as_of_date,
        cast(events_13w as double precision) as sum_events,
        cast(days_13w as double precision) as sum_days,
        {{ over_time("events") }} as sum_t_events,
        {{ over_time("days") }} as sum_t_days,
        cast(
{% for offset in observed_offsets %}
            days_w{{ offset }} * days_w{{ offset }}{{ " +" if not loop.last }}
{% endfor %}
            as double precision
        ) as sum_squared_days
    from {{ ref('window_sums') }}
),

lines as (
    select
        user_id,
        as_of_date,
        (13 * sum_t_events - 78 * sum_events) / 2366 as events_slope,
        sum_events / 13 - 6 * (13 * sum_t_events - 78 * sum_events) / 2366 as events_intercept,
        (13 * sum_t_days - 78 * sum_days) / 2366 as days_slope,
        sqrt(greatest(sum_squared_days / 13 - sum_days * sum_days / 169, 0)) as days_deviation
    from sums
)

select
    user_id,
    as_of_date,
    events_slope,
    events_intercept,
    -- The week in which the line reaches zero, counted from the first observed week.
    case when events_slope <> 0 then -1 * events_intercept / events_slope end as events_zero_week,
    case when events_slope < 0 then 1 else 0 end as events_falling,
    days_slope,
    days_deviation
from lines
