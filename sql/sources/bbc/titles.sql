-- Makes: titles, the genre and station that each programme's versions name, and since when.
-- Grain: content (the brand, else the series, else the episode, else the clip), genre, family of stations and date of
-- publication, which may be null.
-- From: prez.scv_vmb. The texts 'null', 'N/A', 'n/a' and '' mean missing.
{% from 'sources/bbc/texts.jinja' import day, known %}
with texts as (
    -- A version that is listed twice counts once.
    select distinct
        {{ known('version_id') }} as version_id,
        coalesce({{ known('brand_id') }}, {{ known('series_id') }}, {{ known('episode_id') }}, {{ known('clip_id') }})
            as content_id,
        {{ day('tx_date') }} as published_date,
        -- Several genres are one text: 'Comedy;Drama'.
        {{ known("trim(split_part(pips_genre_level_1_names, ';', 1))") }} as genre,
        lower({{ known('master_brand_id') }}) as master_brand_id
    from prez.scv_vmb
),

versions as (
    select
        content_id,
        published_date,
        genre,
        -- Regions and frequencies of a station are the station: 'bbc_one_scotland', 'bbc_radio_fourlw'.
        case
            when master_brand_id ~ '^bbc_(sounds_)?podcasts' then 'podcasts'
            when master_brand_id ~ '^bbc_radio_four_extra' then 'bbc_radio_four_extra'
            when master_brand_id ~ '^bbc_radio_five_live' then 'bbc_radio_five_live'
            when master_brand_id ~ '^bbc_radio_(one|two|three|four)' then
                'bbc_radio_' || case
                    when master_brand_id ~ '^bbc_radio_one' then 'one'
                    when master_brand_id ~ '^bbc_radio_two' then 'two'
                    when master_brand_id ~ '^bbc_radio_three' then 'three'
                    else 'four'
                end
            when master_brand_id ~ '^bbc_radio_(scotland|wales|cymru|ulster|foyle|nan_gaidheal)'
                then 'bbc_nations_radio'
            when master_brand_id ~ '^bbc_radio_|_radio$' then 'bbc_local_radio'
            when master_brand_id ~ '^bbc_one' then 'bbc_one'
            when master_brand_id ~ '^bbc_two' then 'bbc_two'
            when master_brand_id ~ '^bbc_three' then 'bbc_three'
            when master_brand_id ~ '^bbc_four' then 'bbc_four'
            when master_brand_id ~ '^bbc_news' then 'bbc_news'
            when master_brand_id ~ '^s4c' then 's4c'
            when master_brand_id in (
                'bbc_1xtra', 'bbc_6music', 'bbc_alba', 'bbc_asian_network', 'bbc_parliament', 'bbc_scotland',
                'bbc_sport', 'bbc_world_service', 'cbbc', 'cbeebies'
            ) then master_brand_id
            when master_brand_id is not null then 'other'
        end as master_brand
    from texts
    where content_id is not null
)

select
    content_id,
    genre,
    master_brand,
    published_date,
    count(*) as versions
from versions
group by content_id, genre, master_brand, published_date
