-- Step 1: who was active in which week.
select
    user_id,
    cast(date_trunc('week', activity_date) as date) as week_start,
    count(*) as events,
    sum(value) as value,
    sum(page_views) as page_views,
    count(distinct activity_date) as days
from {{ schema }}.activity
where product = '{{ product }}' and activity_date between {{ first_day }} and {{ last_day }}
group by all
