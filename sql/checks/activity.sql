-- Makes: facts about a product's activity, and counts of rows that break the source contract.
-- Grain: one row.
-- From: activity, up to the day until which activity is known.
select
    sum(case when is_product then 1 else 0 end) as product_rows,
    min(case when is_product then activity_date end) as first_date,
    max(case when is_product then activity_date end) as last_date,
    sum(case when is_product and coalesce(trim(user_id), '') = '' then 1 else 0 end) as null_users,
    sum(case when is_product and activity_date is null then 1 else 0 end) as null_dates,
    sum(case when is_product and value < 0 then 1 else 0 end) as negative_values,
    -- Only of a number is the difference to itself 0. (An engine may tell from a file's statistics, which leave
    -- NaN out, that no value is large, so comparing alone would miss it.)
    sum(case when is_product and (value >= 1e13 or value - value <> 0) then 1 else 0 end) as huge_values,
    sum(case when is_product and activity_date < :history_start then 1 else 0 end) as ancient_rows,
    sum(case when is_product and activity_date > cast(:today as date) + 1 then 1 else 0 end) as future_rows,
    max(case when is_product then activity_date end) as latest_date,
    count(case when is_product then category end) as categories,
    count(case when is_product then device end) as devices,
    count(case when is_product then item_id end) as items,
    count(case when is_product then series_id end) as series,
    sum(case when is_product and extract(hour from occurred_at) > 0 then 1 else 0 end) as rows_with_time,
    sum(case when is_other and activity_date <= :known_until then 1 else 0 end) as other_rows
from (
    select
        user_id,
        activity_date,
        occurred_at,
        value,
        category,
        device,
        item_id,
        series_id,
{% if matches %}
        coalesce(product in ({% for match in matches %}:match_{{ match }}{{ ", " if not loop.last }}{% endfor %}), false)
            as is_product,
        product not in ({% for match in matches %}:match_{{ match }}{{ ", " if not loop.last }}{% endfor %}) as is_other
{% else %}
        product is not null as is_product,
        false as is_other
{% endif %}
    from {{ ref('activity') }}
    where activity_date <= :known_until or activity_date > cast(:today as date) + 1 or activity_date is null
) as activity
