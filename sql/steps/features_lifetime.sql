-- Makes: features_lifetime, the user's whole known life with the product up to the as-of date.
-- Grain: snapshot.
-- From: snapshots, user_week.
with history as (
    select
        snapshots.user_id,
        snapshots.as_of_date,
        user_week.week_start,
        user_week.value,
        user_week.events,
        user_week.active_days,
        user_week.first_date,
        user_week.last_date,
        (snapshots.as_of_date - 6 - user_week.week_start) / 7 as weeks_ago,
        (user_week.week_start - lag(user_week.week_start) over (
            partition by snapshots.user_id, snapshots.as_of_date
            order by user_week.week_start
        )) / 7 - 1 as weeks_away
    from {{ ref('snapshots') }} as snapshots
    inner join {{ ref('user_week') }} as user_week
        on
            snapshots.user_id = user_week.user_id
            and user_week.week_start <= snapshots.as_of_date - 6
),

lives as (
    select
        user_id,
        as_of_date,
        min(first_date) as first_date,
        max(last_date) as last_date,
        max(weeks_ago) + 1 as lifetime_weeks,
        count(*) as lifetime_active_weeks,
        sum(active_days) as lifetime_days,
        sum(events) as lifetime_events,
        sum(value) as lifetime_value,
        max(coalesce(weeks_away, 0)) as longest_gap_weeks,
        sum(case when weeks_away > 0 then 1 else 0 end) as gaps,
        count(weeks_away) as steps,
        cast(sum(weeks_away + 1) as double precision) as sum_steps,
        cast(sum((weeks_away + 1) * (weeks_away + 1)) as double precision) as sum_squared_steps,
        -- Weeks since the user last came back from a week or more away (whole life when never away).
        min(case when weeks_away > 0 or weeks_away is null then weeks_ago end) + 1 as streak_weeks
    from history
    group by user_id, as_of_date
)

select
    user_id,
    as_of_date,
    as_of_date - first_date as tenure_days,
    as_of_date - last_date as days_since_last,
    lifetime_active_weeks,
    cast(lifetime_active_weeks as double precision) / lifetime_weeks as lifetime_active_rate,
    lifetime_days,
    lifetime_events,
    lifetime_value,
    cast(lifetime_days as double precision) / lifetime_weeks as lifetime_days_per_week,
    cast(last_date - first_date as double precision) / nullif(lifetime_days - 1, 0) as days_between_visits,
    -- How long the user has been away, in units of their own usual gap.
    cast(as_of_date - last_date as double precision) * (lifetime_days - 1) / nullif(last_date - first_date, 0)
        as days_since_last_to_usual,
    longest_gap_weeks,
    gaps,
    streak_weeks,
    -- Standard deviation over mean of the weeks from one active week to the next: 0 = as regular as a clock.
    case
        when steps > 1
            then
                sqrt(greatest(sum_squared_steps / steps - (sum_steps / steps) * (sum_steps / steps), 0))
                * steps / sum_steps
    end as gap_variation
from lives
