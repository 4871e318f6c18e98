-- Makes: week_facts, which columns hold anything, and counts of rows that break the source contract.
-- Grain: week (Monday) and product of the activity, which may be null.
-- From: week_activity.
select
    week_start,
    product,
    count(*) as raw_rows,
    min(activity_date) as first_date,
    max(activity_date) as last_date,
    sum(case when coalesce(trim(user_id), '') = '' then 1 else 0 end) as null_users,
    -- Published tables hold ids of 250 bytes.
    sum(case when octet_length(user_id) > 250 then 1 else 0 end) as long_users,
    sum(case when value < 0 then 1 else 0 end) as negative_values,
    -- NaN and infinity: their difference from themselves is not 0. A comparison alone can miss NaN, as an engine may
    -- skip a file by its statistics, which leave NaN out.
    sum(case when value >= {{ highest_value }} or value - value <> 0 then 1 else 0 end) as huge_values,
    count(category) as categories,
    count(device) as devices,
    count(item_id) as items,
    count(series_id) as series,
    sum(case when extract(hour from occurred_at) > 0 then 1 else 0 end) as rows_with_time,
    count(is_live) as rows_with_live,
    count(page_views) as rows_with_page_views
from {{ ref('week_activity') }}
group by week_start, product
