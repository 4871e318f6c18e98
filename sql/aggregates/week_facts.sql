-- Makes: week_facts, what was there to be read, and counts of rows that break the source contract.
-- Grain: week (Monday) and product of the activity, which may be missing.
-- From: week_activity.
select
    week_start,
    product,
    count(*) as raw_rows,
    min(activity_date) as first_date,
    max(activity_date) as last_date,
    sum(case when coalesce(trim(user_id), '') = '' then 1 else 0 end) as null_users,
    sum(case when value < 0 then 1 else 0 end) as negative_values,
    -- Only of a number is the difference to itself 0. (An engine may tell from a file's statistics, which leave
    -- NaN out, that no value is large, so comparing alone would miss it.)
    sum(case when value >= 1e10 or value - value <> 0 then 1 else 0 end) as huge_values,
    count(category) as categories,
    count(device) as devices,
    count(item_id) as items,
    count(series_id) as series,
    sum(case when extract(hour from occurred_at) > 0 then 1 else 0 end) as rows_with_time,
    count(is_live) as rows_with_live,
    count(page_views) as rows_with_page_views
from {{ ref('week_activity') }}
group by week_start, product
