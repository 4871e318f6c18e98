-- Beyond the twelve steps: the series that a user is in, and whether they go on.
{% from 'macros.jinja' import observed with context %}
with seasons as (
    select
        d.as_of_date,
        c.series_id,
        min(c.published_date) as first_date,
        max(c.published_date) as last_date,
        max(cast(c.published_date between d.as_of_date + 1 and d.as_of_date + 7 as integer)) as due_lead,
        max(cast(c.published_date >= d.as_of_date + 8 as integer)) as due_target
    from (select distinct as_of_date from {{ schema }}.snapshots) as d
    inner join {{ schema }}.content as c on c.published_date <= d.as_of_date + 14
    where c.series_id is not null
    group by d.as_of_date, c.series_id
    having min(c.published_date) <= d.as_of_date
),

used as (
    select
        s.user_id,
        s.as_of_date,
        a.series_id,
        max(a.activity_date) as last_date,
        coalesce(sum(a.value) filter (a.activity_date >= s.as_of_date - 6), 0) as value_1w,
        coalesce(sum(a.value) filter (a.activity_date >= s.as_of_date - 27), 0) as value_4w
    {{ observed(product) }}
        and a.item_id is not null
        and a.series_id is not null
    group by s.user_id, s.as_of_date, a.series_id
),

stated as (
    select
        u.user_id,
        u.as_of_date,
        u.value_1w,
        u.value_4w,
        cast(u.last_date >= u.as_of_date - 6 as integer) as used_1w,
        cast(u.last_date >= u.as_of_date - 27 as integer) as used_4w,
        coalesce(cast(t.last_date <= u.as_of_date as integer), 0) as ended,
        coalesce(t.due_lead, 0) as due_lead,
        coalesce(t.due_target, 0) as due_target
    from used as u
    left join seasons as t on u.series_id = t.series_id and u.as_of_date = t.as_of_date
)

select
    user_id,
    as_of_date,
    sum(used_1w) as series_1w,
    sum(used_4w) as series_4w,
    count(*) as series_13w,
    sum(used_4w * ended) as series_ended_4w,
    sum(used_4w * (1 - due_target)) as series_not_due_target,
    sum(used_4w * due_target) as series_due_target,
    sum(used_1w * due_target) as series_due_target_1w,
    sum(value_1w * ended) / nullif(sum(value_1w), 0) as share_ended_1w,
    sum(value_4w * ended) / nullif(sum(value_4w), 0) as share_ended_4w,
    sum(value_4w * due_lead) / nullif(sum(value_4w), 0) as share_due_lead,
    sum(value_4w * due_target) / nullif(sum(value_4w), 0) as share_due_target
from stated
group by user_id, as_of_date
