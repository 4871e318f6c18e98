-- Makes: content, when each episode is published.
-- Grain: episode and publication date. Versions of one episode fall together.
-- A series is the brand that people follow, a season one run of it (the raw table's series).
-- From: prez.scv_vmb. The texts 'null', 'N/A', 'n/a' and '' mean missing; what is no date is left out.
select distinct
    case
        when lower(brand_id) not in ('null', 'n/a', '') then brand_id
        when lower(series_id) not in ('null', 'n/a', '') then series_id
    end as series_id,
    case when lower(series_id) not in ('null', 'n/a', '') then series_id end as season_id,
    episode_id as item_id,
    cast(case
        when tx_date ~ '^[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$' then tx_date
    end as date) as published_date
from prez.scv_vmb
where
    lower(episode_id) not in ('null', 'n/a', '')
    and tx_date ~ '^[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$'
