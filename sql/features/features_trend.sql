-- Makes: features_trend, the least-squares line of weekly active days and events over the 13 observed weeks.
-- Grain: snapshot.
-- From: window_sums.
-- Weeks without activity count as 0. Time t runs from 0 (first of n observed weeks) to n - 1 (last), so
-- slope = (n * sum(t*y) - sum(t) * sum(y)) / (n * sum(t*t) - sum(t) * sum(t)).
{% set materialized = "view" %}
{% set n = observation_weeks %}
{% set sum_t = n * (n - 1) // 2 %}
{% set sum_tt = (n - 1) * n * (2 * n - 1) // 6 %}
{% set spread = n * sum_tt - sum_t * sum_t %}
{% macro over_time(column) %}
cast(
{% for offset in observed_offsets %}
            {{ first_observed_offset - offset }} * {{ column }}_w{{ offset }}{{ " +" if not loop.last }}
{% endfor %}
            as double precision
        )
{%- endmacro %}
{% macro slope(column) %}
({{ n }} * sum_t_{{ column }} - {{ sum_t }} * sum_{{ column }}) / {{ spread }}
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
        {{ slope("events") }} as events_slope,
        sum_events / {{ n }} - {{ sum_t / n }} * {{ slope("events") }} as events_intercept,
        {{ slope("days") }} as days_slope,
        sqrt(greatest(sum_squared_days / {{ n }} - sum_days * sum_days / {{ n * n }}, 0)) as days_deviation
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
