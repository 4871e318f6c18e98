-- Makes: content, when each episode is published.
-- Grain: episode and publication date. Versions of one episode fall together.
-- From: prez.scv_vmb. The texts 'null', 'N/A', 'n/a' and '' mean missing; rows without a valid date are left out.
-- A series is the brand that people follow; a season is one run of it (the raw table's series).
{% from 'sources/bbc/texts.jinja' import day, known %}
with versions as (
    select
        coalesce({{ known('brand_id') }}, {{ known('series_id') }}) as series_id,
        {{ known('series_id') }} as season_id,
        {{ known('episode_id') }} as item_id,
        {{ day('tx_date') }} as published_date,
        {{ known('pips_genre_level_1_names') }} as genre
    from prez.scv_vmb
)

select
    series_id,
    season_id,
    item_id,
    published_date,
    max(genre) as genre
from versions
where
    item_id is not null
    and published_date is not null
group by series_id, season_id, item_id, published_date
