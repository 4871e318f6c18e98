-- Makes: weeks_found, the number of rows of raw activity of each week.
-- Grain: week (Monday); null for rows without a date or with an impossible one.
-- From: activity, of which only the dates are read.
select
    case
        when activity_date between :history_start and cast(:today as date) + 1
            then cast(date_trunc('week', activity_date) as date)
    end as week_start,
    count(*) as raw_rows
from {{ ref('activity') }}
group by 1
