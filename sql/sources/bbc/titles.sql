-- Makes: titles, what each programme is.
-- Grain: content: the brand, else the series, else the episode, else the clip. Of what its versions say, the
-- most frequent holds.
-- From: prez.scv_vmb. The texts 'null', 'N/A', 'n/a' and '' mean missing.
{% from 'sources/bbc/texts.jinja' import known %}
with texts as (
    select
        {{ known('brand_id') }} as brand_id,
        {{ known('series_id') }} as series_id,
        {{ known('episode_id') }} as episode_id,
        {{ known('clip_id') }} as clip_id,
        {{ known('brand_title') }} as brand_title,
        {{ known('series_title') }} as series_title,
        {{ known('episode_title') }} as episode_title,
        {{ known('clip_title') }} as clip_title,
        {{ known('programme_title') }} as programme_title,
        -- Several genres are one text: 'Comedy;Drama'.
        {{ known("trim(split_part(pips_genre_level_1_names, ';', 1))") }} as genre,
        lower({{ known('master_brand_id') }}) as master_brand_id
    from prez.scv_vmb
),

versions as (
    select
        coalesce(brand_id, series_id, episode_id, clip_id) as content_id,
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
        end as master_brand,
        coalesce(
            case
                when brand_id is not null then brand_title
                when series_id is not null then series_title
                when episode_id is not null then episode_title
                else clip_title
            end,
            programme_title
        ) as title
    from texts
),

counted as (
    select
        content_id,
        genre,
        master_brand,
        title,
        row_number() over (
            partition by content_id
            order by
                case when genre is null then 1 else 0 end,
                case when master_brand is null then 1 else 0 end,
                case when title is null then 1 else 0 end,
                count(*) desc,
                genre,
                master_brand,
                title
        ) as place
    from versions
    where content_id is not null
    group by content_id, genre, master_brand, title
)

select
    content_id,
    genre,
    master_brand,
    title
from counted
where place = 1
