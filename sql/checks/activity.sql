-- Makes: facts about a product's activity, and counts of rows that break the source contract.
-- Grain: one row.
-- From: the kept week_facts and user_week, up to the day until which activity is known.
select
    sum(raw_rows) as product_rows,
    min(first_date) as first_date,
    max(last_date) as last_date,
    sum(null_users) as null_users,
    sum(long_users) as long_users,
    sum(negative_values) as negative_values,
    sum(huge_values) as huge_values,
    sum(categories) as categories,
    sum(devices) as devices,
    sum(items) as items,
    sum(series) as series,
    sum(rows_with_time) as rows_with_time,
    sum(rows_with_live) as rows_with_live,
    sum(rows_with_page_views) as rows_with_page_views,
    (
        select count(distinct user_id)
        from {{ kept('user_week') }}
        where
            value >= {{ highest_sum }}
            and week_start <= cast(:known_until as date) - {{ week_end_days }}
{% if matches %}
            and product in ({% for match in matches %}:match_{{ match }}{{ ", " if not loop.last }}{% endfor %})
{% endif %}
    ) as users_with_huge_sums,
{% if matches %}
    (
        select coalesce(sum(raw_rows), 0)
        from {{ kept('week_facts') }}
        where
            week_start <= cast(:known_until as date) - {{ week_end_days }}
            and product not in ({% for match in matches %}:match_{{ match }}{{ ", " if not loop.last }}{% endfor %})
    ) as other_rows
{% else %}
    0 as other_rows
{% endif %}
from {{ kept('week_facts') }}
where
    week_start <= cast(:known_until as date) - {{ week_end_days }}
{% if matches %}
    and product in ({% for match in matches %}:match_{{ match }}{{ ", " if not loop.last }}{% endfor %})
{% else %}
    and product is not null
{% endif %}
