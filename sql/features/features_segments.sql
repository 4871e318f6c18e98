-- Makes: features_segments, the latest frequency segment in each segmented product.
-- Grain: snapshot; 'X. Inactive' where a user has no segment yet.
-- From: eligible, segments. A segment holds from its date until the day before the user's next one of that product, so
-- a snapshot joins at most one of each product.
with periods as (
    select
        user_id,
        segment_product,
        segment,
        segment_date as first_date,
        coalesce(
            lead(segment_date) over (partition by user_id, segment_product order by segment_date, segment),
            cast('9999-12-31' as date)
        ) as end_date
    from {{ ref('segments') }}
    where
        segment is not null
        and user_id in (select eligible.user_id from {{ ref('eligible') }} as eligible)
)

select
    eligible.user_id,
    eligible.as_of_date,
{% for product in segment_products %}
    coalesce(max(case when periods.segment_product = '{{ product }}' then periods.segment end), 'X. Inactive')
        as segment_{{ product }}{{ "," if not loop.last }}
{% endfor %}
from {{ ref('eligible') }} as eligible
left join periods
    on
        eligible.user_id = periods.user_id
        and eligible.as_of_date >= periods.first_date
        and eligible.as_of_date < periods.end_date
group by eligible.user_id, eligible.as_of_date
