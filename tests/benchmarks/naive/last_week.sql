-- Step 4: plays of ten minutes or more in the last observed week.
with items as (
    select
        s.user_id,
        s.as_of_date,
        a.item_id,
        max(a.series_id) as series_id,
        count(*) as plays
    from {{ schema }}.snapshots as s
    inner join {{ schema }}.activity as a
        on s.user_id = a.user_id and a.activity_date between s.as_of_date - 6 and s.as_of_date
    where
        a.product = '{{ product }}'
        and a.activity_date between {{ first_day }} and {{ last_day }}
        and a.is_long_play = 1
        and a.item_id is not null
    group by s.user_id, s.as_of_date, a.item_id
),

seasons as (
    select
        d.as_of_date,
        c.series_id,
        c.season_id,
        min(c.published_date) between d.as_of_date - 6 and d.as_of_date as premiere,
        max(c.published_date) between d.as_of_date - 6 and d.as_of_date as finale
    from (select distinct as_of_date from items) as d
    inner join {{ schema }}.content as c on c.published_date <= d.as_of_date + 14
    where c.series_id is not null
    group by d.as_of_date, c.series_id, c.season_id
),

series as (
    select as_of_date, series_id, max(cast(premiere as integer)) as premiere, max(cast(finale as integer)) as finale
    from seasons
    group by as_of_date, series_id
),

by_series as (
    select user_id, as_of_date, series_id, count(*) as items, count(*) filter (plays > 1) as repeats
    from items
    group by user_id, as_of_date, series_id
)

select
    s.user_id,
    s.as_of_date,
    coalesce(sum(b.items), 0) as long_items_1w,
    count(b.series_id) as long_series_1w,
    coalesce(sum(b.repeats), 0) as repeats_1w,
    coalesce(sum(t.premiere), 0) as premieres_1w,
    coalesce(sum(t.finale), 0) as finales_1w
from {{ schema }}.snapshots as s
left join by_series as b on s.user_id = b.user_id and s.as_of_date = b.as_of_date
left join series as t on b.series_id = t.series_id and b.as_of_date = t.as_of_date
group by s.user_id, s.as_of_date
