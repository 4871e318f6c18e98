-- Beyond the twelve steps: the whole known life, from all raw rows.
with weekly as (
    select
        user_id,
        cast(date_trunc('week', activity_date) as date) as week_start,
        count(distinct activity_date) as days,
        count(*) as events,
        sum(value) as value,
        min(activity_date) as first_date,
        max(activity_date) as last_date
    from {{ schema }}.activity
    where product = '{{ product }}' and activity_date <= {{ last_day }}
    group by all
),

history as (
    select
        s.as_of_date,
        w.*,
        (s.as_of_date - 6 - w.week_start) // 7 as weeks_ago,
        (w.week_start - lag(w.week_start) over (partition by s.user_id, s.as_of_date order by w.week_start)) // 7 - 1
            as away
    from {{ schema }}.snapshots as s
    inner join weekly as w on s.user_id = w.user_id and w.week_start <= s.as_of_date
)

select
    user_id,
    as_of_date,
    as_of_date - min(first_date) as tenure_days,
    as_of_date - max(last_date) as days_since_last,
    count(*) as lifetime_active_weeks,
    count(*) / (max(weeks_ago) + 1) as lifetime_active_rate,
    sum(days) as lifetime_days,
    sum(events) as lifetime_events,
    sum(value) as lifetime_value,
    sum(days) / (max(weeks_ago) + 1) as lifetime_days_per_week,
    max(coalesce(away, 0)) as longest_gap_weeks,
    count(*) filter (away > 0) as gaps,
    min(weeks_ago) filter (away > 0 or away is null) + 1 as streak_weeks,
    (max(last_date) - min(first_date)) / nullif(sum(days) - 1, 0) as days_between_visits,
    (as_of_date - max(last_date)) * (sum(days) - 1) / nullif(max(last_date) - min(first_date), 0)
        as days_since_last_to_usual,
    case
        when count(away) > 1
            then sqrt(greatest(sum((away + 1) * (away + 1)) / count(away) - (sum(away + 1) / count(away)) * (sum(away + 1) / count(away)), 0))
                * count(away) / sum(away + 1)
    end as gap_variation
from history
group by user_id, as_of_date
