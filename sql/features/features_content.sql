-- Makes: features_content, which series a user watches or hears, and whether they go on.
-- Grain: snapshot; users without series have missing values.
-- From: eligible, user_item_week, series_state.
with user_series as (
    select
        eligible.user_id,
        eligible.as_of_date,
        item_week.series_id,
        max(item_week.week_start) as last_week_start,
        sum(case when item_week.week_start = eligible.as_of_date - {{ last_week_start_days }} then item_week.value else 0 end) as value_1w,
        sum(case when item_week.week_start >= eligible.as_of_date - {{ recent_start_days }} then item_week.value else 0 end) as value_4w
    from {{ ref('eligible') }} as eligible
    inner join {{ ref('user_item_week') }} as item_week
        on
            eligible.user_id = item_week.user_id
            and item_week.week_start >= eligible.as_of_date - {{ window_start_days }}
            and item_week.week_start <= eligible.as_of_date - {{ last_week_start_days }}
    where item_week.series_id is not null
    group by eligible.user_id, eligible.as_of_date, item_week.series_id
),

stated as (
    select
        user_series.user_id,
        user_series.as_of_date,
        user_series.value_1w,
        user_series.value_4w,
        case when user_series.last_week_start = user_series.as_of_date - {{ last_week_start_days }} then 1 else 0 end as used_1w,
        case when user_series.last_week_start >= user_series.as_of_date - {{ recent_start_days }} then 1 else 0 end as used_4w,
        coalesce(state.ended, 0) as ended,
        coalesce(state.due_lead, 0) as due_lead,
        coalesce(state.due_target, 0) as due_target
    from user_series
    left join {{ ref('series_state') }} as state
        on
            user_series.series_id = state.series_id
            and user_series.as_of_date = state.as_of_date
)

select
    user_id,
    as_of_date,
    cast(sum(used_1w) as bigint) as series_1w,
    cast(sum(used_4w) as bigint) as series_4w,
    count(*) as series_13w,
    cast(sum(used_4w * ended) as bigint) as series_ended_4w,
    cast(sum(used_4w * (1 - due_target)) as bigint) as series_not_due_target,
    cast(sum(used_4w * due_target) as bigint) as series_due_target,
    cast(sum(used_1w * due_target) as bigint) as series_due_target_1w,
    cast(sum(value_1w * ended) as double precision) / cast(nullif(sum(value_1w), 0) as double precision) as share_ended_1w,
    cast(sum(value_4w * ended) as double precision) / cast(nullif(sum(value_4w), 0) as double precision) as share_ended_4w,
    cast(sum(value_4w * due_lead) as double precision) / cast(nullif(sum(value_4w), 0) as double precision) as share_due_lead,
    cast(sum(value_4w * due_target) as double precision) / cast(nullif(sum(value_4w), 0) as double precision) as share_due_target
from stated
group by user_id, as_of_date
