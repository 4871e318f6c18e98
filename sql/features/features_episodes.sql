-- Makes: features_episodes, which episodes are still to come or unused of the series that a user follows.
-- Grain: snapshot; users without series in the last 4 weeks have missing values.
-- From: eligible, user_item_week, content. Of later publications, only the schedule up to the target's end is read: it
-- is known beforehand. An episode counts once, when it is first published.
with dates as (
    select distinct as_of_date from {{ ref('eligible') }}
),

episodes as (
    select
        series_id,
        item_id,
        min(published_date) as first_date
    from {{ ref('content') }}
    where series_id is not null
    group by series_id, item_id
),

schedule as (
    select
        dates.as_of_date,
        episodes.series_id,
        count(case when episodes.first_date <= dates.as_of_date then 1 end) as published,
        count(case
            when episodes.first_date between dates.as_of_date + {{ lead_start_days }} and dates.as_of_date + {{ lead_end_days }} then 1
        end) as due_lead,
        count(case when episodes.first_date >= dates.as_of_date + {{ target_start_days }} then 1 end) as due_target,
        min(case when episodes.first_date > dates.as_of_date then episodes.first_date end) as next_date
    from dates
    inner join episodes
        on
            episodes.first_date >= dates.as_of_date - {{ window_start_days }}
            and episodes.first_date <= dates.as_of_date + {{ target_end_days }}
    group by dates.as_of_date, episodes.series_id
),

followed as (
    select
        eligible.user_id,
        eligible.as_of_date,
        item_week.series_id
    from {{ ref('eligible') }} as eligible
    inner join {{ ref('user_item_week') }} as item_week
        on
            eligible.user_id = item_week.user_id
            and item_week.week_start >= eligible.as_of_date - {{ recent_start_days }}
            and item_week.week_start <= eligible.as_of_date - {{ last_week_start_days }}
    where item_week.series_id is not null
    group by eligible.user_id, eligible.as_of_date, item_week.series_id
),

used as (
    select
        eligible.user_id,
        eligible.as_of_date,
        episodes.series_id,
        count(distinct episodes.item_id) as used
    from {{ ref('eligible') }} as eligible
    inner join {{ ref('user_item_week') }} as item_week
        on
            eligible.user_id = item_week.user_id
            and item_week.week_start >= eligible.as_of_date - {{ window_start_days }}
            and item_week.week_start <= eligible.as_of_date - {{ last_week_start_days }}
    inner join episodes
        on
            item_week.item_id = episodes.item_id
            and item_week.series_id = episodes.series_id
            and episodes.first_date >= eligible.as_of_date - {{ window_start_days }}
            and episodes.first_date <= eligible.as_of_date
    group by eligible.user_id, eligible.as_of_date, episodes.series_id
),

sums as (
    select
        followed.user_id,
        followed.as_of_date,
        cast(sum(coalesce(schedule.due_lead, 0)) as bigint) as due_lead,
        cast(sum(coalesce(schedule.due_target, 0)) as bigint) as due_target,
        count(schedule.next_date) as series_due,
        min(schedule.next_date) as next_date,
        cast(sum(coalesce(schedule.published, 0)) as bigint) as published,
        cast(sum(coalesce(used.used, 0)) as bigint) as used
    from followed
    left join schedule
        on
            followed.series_id = schedule.series_id
            and followed.as_of_date = schedule.as_of_date
    left join used
        on
            followed.user_id = used.user_id
            and followed.as_of_date = used.as_of_date
            and followed.series_id = used.series_id
    group by followed.user_id, followed.as_of_date
)

select
    user_id,
    as_of_date,
    due_lead as episodes_due_lead,
    due_target as episodes_due_target,
    series_due as series_due_soon,
    next_date - as_of_date as days_to_next_episode,
    published - used as episodes_missed,
    cast(used as double precision) / nullif(published, 0) as episodes_used_share
from sums
