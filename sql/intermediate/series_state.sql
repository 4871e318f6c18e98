-- Makes: series_state, whether each series goes on, on each as-of date.
-- Grain: as-of date and series, for series published by then. Premieres and finales are those of its seasons.
-- From: content, eligible. Of later publications, only the schedule up to the target's end is read: it is known
-- beforehand.
with dates as (
    select distinct as_of_date from {{ ref('eligible') }}
),

seasons as (
    select
        dates.as_of_date,
        content.series_id,
        content.season_id,
        min(content.published_date) as first_date,
        max(content.published_date) as last_date,
        max(case
            when content.published_date between dates.as_of_date + {{ lead_start_days }} and dates.as_of_date + {{ lead_end_days }} then 1 else 0
        end) as due_lead,
        max(case when content.published_date >= dates.as_of_date + {{ target_start_days }} then 1 else 0 end) as due_target
    from dates
    inner join {{ ref('content') }} as content on content.published_date <= dates.as_of_date + {{ target_end_days }}
    where content.series_id is not null
    group by dates.as_of_date, content.series_id, content.season_id
)

select
    as_of_date,
    series_id,
    case when max(last_date) <= as_of_date then 1 else 0 end as ended,
    max(case when last_date between as_of_date - {{ last_week_start_days }} and as_of_date then 1 else 0 end) as finale_last_week,
    max(case when first_date between as_of_date - {{ last_week_start_days }} and as_of_date then 1 else 0 end) as premiere_last_week,
    max(due_lead) as due_lead,
    max(due_target) as due_target
from seasons
group by as_of_date, series_id
having min(first_date) <= as_of_date
