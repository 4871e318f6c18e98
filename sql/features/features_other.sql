-- Makes: features_other, the user's activity in all other products together, in the observation window.
-- Grain: snapshot.
-- From: eligible, window_sums, other_week.
{% from 'aggregates/days.jinja' import day_count %}
with used as (
    select
        eligible.user_id,
        eligible.as_of_date,
        other_week.week_start,
        other_week.product,
        other_week.days,
        other_week.value,
        other_week.last_date,
        case when other_week.week_start = eligible.as_of_date - {{ last_week_start_days }} then 1 else 0 end as is_last
    from {{ ref('eligible') }} as eligible
    inner join {{ ref('other_week') }} as other_week
        on
            eligible.user_id = other_week.user_id
            and other_week.week_start >= eligible.as_of_date - {{ window_start_days }}
            and other_week.week_start <= eligible.as_of_date - {{ last_week_start_days }}
),

weeks as (
    select
        user_id,
        as_of_date,
        week_start,
        max(is_last) as is_last,
        bit_or(days) as days
    from used
    group by user_id, as_of_date, week_start
),

counted as (
    select
        user_id,
        as_of_date,
        week_start,
        is_last,
        {{ day_count("days") }} as active_days
    from weeks
),

days as (
    select
        user_id,
        as_of_date,
        cast(sum(active_days) as bigint) as days_13w,
        cast(sum(case when is_last = 1 then active_days else 0 end) as bigint) as days_1w,
        count(*) as weeks_13w
    from counted
    group by user_id, as_of_date
),

amounts as (
    select
        user_id,
        as_of_date,
        cast(sum(coalesce(value, 0)) as {{ value_type }}) as value_13w,
        cast(sum(case when is_last = 1 then value else 0 end) as {{ value_type }}) as value_1w,
        count(distinct product) as products_13w,
        max(last_date) as last_date
    from used
    group by user_id, as_of_date
)

select
    own.user_id,
    own.as_of_date,
    coalesce(days.days_1w, 0) as other_days_1w,
    coalesce(days.days_13w, 0) as other_days_13w,
    coalesce(days.weeks_13w, 0) as other_weeks_13w,
    coalesce(amounts.value_1w, 0) as other_value_1w,
    coalesce(amounts.value_13w, 0) as other_value_13w,
    coalesce(amounts.products_13w, 0) as other_products_13w,
    cast(own.value_13w as double precision)
    / cast(nullif(own.value_13w + coalesce(amounts.value_13w, 0), 0) as double precision) as own_share_13w,
    own.as_of_date - amounts.last_date as other_days_since_last
from {{ ref('window_sums') }} as own
left join days on own.user_id = days.user_id and own.as_of_date = days.as_of_date
left join amounts on own.user_id = amounts.user_id and own.as_of_date = amounts.as_of_date
