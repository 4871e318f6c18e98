-- Beyond the twelve steps: different items, and how often each.
{% from 'macros.jinja' import observed with context %}
with weekly as (
    select
        s.user_id,
        s.as_of_date,
        cast(date_trunc('week', a.activity_date) as date) as week_start,
        a.item_id,
        count(*) as events
    {{ observed(product) }}
        and a.item_id is not null
    group by all
),

days as (
    select s.user_id, s.as_of_date, count(distinct a.activity_date) as days
    {{ observed(product) }}
    group by s.user_id, s.as_of_date
)

select
    w.user_id,
    w.as_of_date,
    count(*) filter (w.week_start = w.as_of_date - 6) as items_1w,
    count(distinct w.item_id) as items_13w,
    count(distinct w.item_id) / any_value(d.days) as items_per_day,
    sum(w.events) / count(*) as repeat_rate
from weekly as w
inner join days as d on w.user_id = d.user_id and w.as_of_date = d.as_of_date
group by w.user_id, w.as_of_date
