-- Makes: features_items, how many different items a user uses, and how often each.
-- Grain: snapshot; users without items have missing values.
-- From: eligible, user_item_week, window_sums.
with items as (
    select
        eligible.user_id,
        eligible.as_of_date,
        count(distinct item_week.item_id) as items_13w,
        sum(case when item_week.week_start = eligible.as_of_date - 6 then 1 else 0 end) as items_1w,
        count(*) as item_weeks,
        sum(item_week.events) as events
    from {{ ref('eligible') }} as eligible
    inner join {{ ref('user_item_week') }} as item_week
        on
            eligible.user_id = item_week.user_id
            and item_week.week_start >= eligible.as_of_date - 90
            and item_week.week_start <= eligible.as_of_date - 6
    group by eligible.user_id, eligible.as_of_date
)

select
    items.user_id,
    items.as_of_date,
    items.items_1w,
    items.items_13w,
    cast(items.item_weeks as double precision) / sums.days_13w as items_per_day,
    cast(items.events as double precision) / items.item_weeks as repeat_rate
from items
inner join {{ ref('window_sums') }} as sums on items.user_id = sums.user_id and items.as_of_date = sums.as_of_date
