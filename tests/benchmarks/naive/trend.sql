-- Step 1: the regression of weekly events and days over the 13 observed weeks.
with weekly as (
    select s.user_id, s.as_of_date, 12 - (s.as_of_date - 6 - w.week_start) // 7 as t, w.events, w.days
    from {{ schema }}.snapshots as s
    inner join {{ schema }}.target_weeks as w
        on s.user_id = w.user_id and w.week_start between s.as_of_date - 90 and s.as_of_date - 6
)

select
    user_id,
    as_of_date,
    (13 * sum(events * t) - 78 * sum(events)) / 2366 as events_slope,
    sum(events) / 13 - 6 * (13 * sum(events * t) - 78 * sum(events)) / 2366 as events_intercept,
    case when events_slope <> 0 then -events_intercept / events_slope end as events_zero_week,
    cast(events_slope < 0 as integer) as events_falling,
    (13 * sum(days * t) - 78 * sum(days)) / 2366 as days_slope,
    sqrt(greatest(sum(days * days) / 13 - sum(days) * sum(days) / 169, 0)) as days_deviation
from weekly
group by user_id, as_of_date
