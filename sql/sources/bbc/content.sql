-- Makes: content, when each episode is published.
-- Grain: episode and publication date. Versions of one episode fall together.
-- From: prez.scv_vmb.
select distinct
    case
        when lower(brand_id) not in ('null', 'n/a', '') then brand_id
        when lower(series_id) not in ('null', 'n/a', '') then series_id
    end as series_id,
    episode_id as item_id,
    cast(case when tx_date like '____-__-__' then tx_date end as date) as published_date
from prez.scv_vmb
where
    lower(episode_id) not in ('null', 'n/a', '')
    and tx_date like '____-__-__'
