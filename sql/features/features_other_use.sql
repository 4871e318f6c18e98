-- Makes: features_other_use, the trend of a user's use of all other products together, and the devices of it.
-- Grain: snapshot; users without other use in the observation window have no row, and missing values.
-- From: eligible, other_week. The line is that of features_trend; weeks without use count as 0. Only plays count for a
-- device. The preferred device has most value; the first listed wins a tie.
{% set n = observation_weeks %}
{% set sum_t = n * (n - 1) // 2 %}
{% set spread = n * ((n - 1) * n * (2 * n - 1) // 6) - sum_t * sum_t %}
with used as (
    select
        eligible.user_id,
        eligible.as_of_date,
        {{ n - 1 }} - (eligible.as_of_date - {{ last_week_start_days }} - other_week.week_start) / 7 as t,
{% for device in devices %}
        other_week.value_device_{{ device }},
        other_week.days_device_{{ device }},
{% endfor %}
        other_week.events
    from {{ ref('eligible') }} as eligible
    inner join {{ ref('other_week') }} as other_week
        on
            eligible.user_id = other_week.user_id
            and other_week.week_start >= eligible.as_of_date - {{ window_start_days }}
            and other_week.week_start <= eligible.as_of_date - {{ last_week_start_days }}
),

sums as (
    select
        user_id,
        as_of_date,
{% for device in devices %}
        sum(value_device_{{ device }}) as value_device_{{ device }},
        max(case when days_device_{{ device }} > 0 then 1 else 0 end) as used_device_{{ device }},
{% endfor %}
        cast(sum(events) as double precision) as sum_events,
        cast(sum(t * events) as double precision) as sum_t_events
    from used
    group by user_id, as_of_date
),

lines as (
    select
        user_id,
        as_of_date,
{% if devices %}
{% for device in devices %}
        value_device_{{ device }},
        used_device_{{ device }},
{% endfor %}
        greatest({% for device in devices %}coalesce(value_device_{{ device }}, 0){{ ", " if not loop.last }}{% endfor %}) as most_value,
{% endif %}
        ({{ n }} * sum_t_events - {{ sum_t }} * sum_events) / {{ spread }} as slope,
        sum_events / {{ n }} - {{ sum_t / n }} * ({{ n }} * sum_t_events - {{ sum_t }} * sum_events) / {{ spread }} as intercept
    from sums
)

select
    user_id,
    as_of_date,
{% if devices %}
{% for device in devices %}
    used_device_{{ device }}{{ " +" if not loop.last else " as other_devices_used," }}
{% endfor %}
    case
{% for device in devices %}
        when most_value > 0 and value_device_{{ device }} = most_value then cast(:device_{{ device }} as varchar(250))
{% endfor %}
    end as other_preferred_device,
{% endif %}
    slope as other_events_slope,
    intercept as other_events_intercept,
    case when slope <> 0 then -1 * intercept / slope end as other_events_zero_week,
    case when slope < 0 then 1 else 0 end as other_events_falling
from lines
