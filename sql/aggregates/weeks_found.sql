-- Makes: how many rows of raw activity each week has; those of no week (no date, or one that cannot be) under null.
-- Grain: week (Monday).
-- From: activity, of which it reads the dates only.
select
    case
        when activity_date between :history_start and cast(:today as date) + 1
            then cast(date_trunc('week', activity_date) as date)
    end as week_start,
    count(*) as raw_rows
from {{ ref('activity') }}
group by 1
