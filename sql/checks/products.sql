-- Makes: the products in the activity, those with most rows first.
-- Grain: product.
-- From: the kept week_facts.
select
    product,
    sum(raw_rows) as events
from {{ kept('week_facts') }}
where product is not null
group by product
order by events desc, product
limit 20
