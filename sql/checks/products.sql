-- Makes: the products that occur in the activity, most rows first.
-- Grain: product.
-- From: activity.
select
    product,
    count(*) as events
from {{ ref('activity') }}
where product is not null
group by product
order by events desc, product
limit 20
