-- Makes: series_state, where each series stands on each as-of date.
-- Grain: as-of date and series, for series published by then.
-- From: content, snapshots. Of what is published after the as-of date, only the schedule up to the target
-- week's end is read: it is known beforehand.
with dates as (
    select distinct as_of_date from {{ ref('snapshots') }}
),

episodes as (
    select
        dates.as_of_date,
        content.series_id,
        content.published_date
    from dates
    inner join {{ ref('content') }} as content on content.published_date <= dates.as_of_date + 14
    where content.series_id is not null
)

select
    as_of_date,
    series_id,
    case when max(published_date) <= as_of_date then 1 else 0 end as ended,
    case when max(published_date) between as_of_date - 6 and as_of_date then 1 else 0 end as finale_last_week,
    case when min(published_date) between as_of_date - 6 and as_of_date then 1 else 0 end as premiere_last_week,
    max(case when published_date between as_of_date + 1 and as_of_date + 7 then 1 else 0 end) as due_lead,
    max(case when published_date between as_of_date + 8 and as_of_date + 14 then 1 else 0 end) as due_target
from episodes
group by as_of_date, series_id
having min(published_date) <= as_of_date
