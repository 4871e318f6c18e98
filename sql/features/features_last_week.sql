-- Makes: features_last_week, what a user played for ten minutes or more in the last observed week.
-- Grain: snapshot; 0 for users without such plays.
-- From: eligible, user_item_week, series_state. Repeated: an item with two plays of ten minutes or more. Finales and
-- premieres: series with a season that ended, or began, in that week.
with items as (
    select
        eligible.user_id,
        eligible.as_of_date,
        item_week.series_id,
        count(*) as items,
        count(case when item_week.long_plays > 1 then 1 end) as repeated
    from {{ ref('eligible') }} as eligible
    inner join {{ ref('user_item_week') }} as item_week
        on
            eligible.user_id = item_week.user_id
            and item_week.week_start = eligible.as_of_date - {{ last_week_start_days }}
    where item_week.long_plays > 0
    group by eligible.user_id, eligible.as_of_date, item_week.series_id
),

sums as (
    select
        items.user_id,
        items.as_of_date,
        cast(sum(items.items) as bigint) as items,
        count(items.series_id) as series,
        cast(sum(items.repeated) as bigint) as repeated,
        cast(sum(coalesce(state.finale_last_week, 0)) as bigint) as finales,
        cast(sum(coalesce(state.premiere_last_week, 0)) as bigint) as premieres
    from items
    left join {{ ref('series_state') }} as state
        on
            items.series_id = state.series_id
            and items.as_of_date = state.as_of_date
    group by items.user_id, items.as_of_date
)

select
    eligible.user_id,
    eligible.as_of_date,
    coalesce(sums.items, 0) as long_items_1w,
    coalesce(sums.series, 0) as long_series_1w,
    coalesce(sums.repeated, 0) as repeats_1w,
    coalesce(sums.finales, 0) as finales_1w,
    coalesce(sums.premieres, 0) as premieres_1w
from {{ ref('eligible') }} as eligible
left join sums
    on
        eligible.user_id = sums.user_id
        and eligible.as_of_date = sums.as_of_date
