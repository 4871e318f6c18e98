-- Makes: outside, counts of a product's rows with an impossible date.
-- Grain: one row.
-- From: activity.
select
    sum(case when activity_date is null then 1 else 0 end) as null_dates,
    sum(case when activity_date < :history_start then 1 else 0 end) as ancient_rows,
    sum(case when activity_date > cast(:today as date) + 1 then 1 else 0 end) as future_rows,
    max(activity_date) as latest_date
from {{ ref('activity') }}
where
    (activity_date is null or activity_date < :history_start or activity_date > cast(:today as date) + 1)
{% if matches %}
    and product in ({% for match in matches %}:match_{{ match }}{{ ", " if not loop.last }}{% endfor %})
{% else %}
    and product is not null
{% endif %}
