-- Beyond the twelve steps: the products beside this one.
{% from 'macros.jinja' import observed with context %}
with own as (
    select s.user_id, s.as_of_date, sum(a.value) as value_13w
    {{ observed(product) }}
    group by s.user_id, s.as_of_date
),

rows as (
    select s.user_id, s.as_of_date, a.activity_date, a.product, a.value, a.activity_date >= s.as_of_date - 90 as seen
    from {{ schema }}.snapshots as s
    inner join {{ schema }}.activity as a on s.user_id = a.user_id and a.activity_date <= s.as_of_date
    where a.product <> '{{ product }}'
),

sums as (
    select
        user_id,
        as_of_date,
        count(distinct activity_date) filter (activity_date >= as_of_date - 6) as days_1w,
        count(distinct activity_date) filter (seen) as days_13w,
        count(distinct date_trunc('week', activity_date)) filter (seen) as weeks_13w,
        sum(value) filter (activity_date >= as_of_date - 6) as value_1w,
        sum(value) filter (seen) as value_13w,
        count(distinct product) filter (seen) as products_13w,
        max(activity_date) filter (seen) as last_date
    from rows
    group by user_id, as_of_date
)

select
    s.user_id,
    s.as_of_date,
    coalesce(o.days_1w, 0) as other_days_1w,
    coalesce(o.days_13w, 0) as other_days_13w,
    coalesce(o.weeks_13w, 0) as other_weeks_13w,
    coalesce(o.value_1w, 0) as other_value_1w,
    coalesce(o.value_13w, 0) as other_value_13w,
    coalesce(o.products_13w, 0) as other_products_13w,
    s.as_of_date - o.last_date as other_days_since_last,
    own.value_13w / nullif(own.value_13w + coalesce(o.value_13w, 0), 0) as own_share_13w
from {{ schema }}.snapshots as s
left join sums as o on s.user_id = o.user_id and s.as_of_date = o.as_of_date
inner join own on s.user_id = own.user_id and s.as_of_date = own.as_of_date
