-- Makes: features_items, how many different items a user uses, and how often each.
-- Grain: snapshot; users without items have missing values.
-- From: eligible, user_item_week, window_sums. A user has one row for each item and week.
{% if new_dates %}
with used as (
    select
        user_id,
        week_start,
        events,
        lead(week_start) over (partition by user_id, item_id order by week_start) as next_week
    from {{ ref('user_item_week') }}
),

{% else %}
with {% endif %}items as (
    select
        eligible.user_id,
        eligible.as_of_date,
{% if new_dates %}
        -- Distinct items, counted at each item's last week in the window: cheaper than count(distinct) where the
        -- windows of many dates overlap.
        count(case when coalesce(used.next_week, eligible.as_of_date) > eligible.as_of_date - {{ last_week_start_days }} then 1 end) as items_13w,
{% else %}
        -- The same of one date, for which this is cheaper.
        count(distinct used.item_id) as items_13w,
{% endif %}
        count(case when used.week_start = eligible.as_of_date - {{ last_week_start_days }} then 1 end) as items_1w,
        count(*) as item_weeks,
        sum(used.events) as events
    from {{ ref('eligible') }} as eligible
    inner join {{ "used" if new_dates else ref('user_item_week') ~ " as used" }}
        on
            eligible.user_id = used.user_id
            and used.week_start >= eligible.as_of_date - {{ window_start_days }}
            and used.week_start <= eligible.as_of_date - {{ last_week_start_days }}
    group by eligible.user_id, eligible.as_of_date
)

select
    items.user_id,
    items.as_of_date,
    items.items_1w,
    items.items_13w,
    cast(items.items_13w as double precision) / sums.days_13w as items_per_day,
    cast(items.events as double precision) / items.item_weeks as repeat_rate
from items
inner join {{ ref('window_sums') }} as sums on items.user_id = sums.user_id and items.as_of_date = sums.as_of_date
