-- Makes: formats, which episodes of Sounds are podcasts, whose podcasts, and which are music mixes.
-- Grain: episode; other episodes are not listed.
-- From: prez.scv_vmb, central_insights.sounds_podcasts_metadata_schedule_positions (a brand, else a series, else an
-- episode), and the mixes of central_insights.sounds_mixes_episodes_metadata_all and
-- central_insights.sounds_mixes_metadata_schedule_positions.
{% from 'sources/bbc/texts.jinja' import known %}
with episodes as (
    select
        {{ known('episode_id') }} as item_id,
        coalesce({{ known('brand_id') }}, {{ known('series_id') }}, {{ known('episode_id') }}) as tleo_id,
        case when lower(master_brand_id) = 'bbc_sounds_podcasts' then 1 else 0 end as is_sounds_podcast
    from prez.scv_vmb
),

podcasts as (
    select distinct tleo_id
    from central_insights.sounds_podcasts_metadata_schedule_positions
),

marked as (
    select
        episodes.item_id,
        1 as is_podcast,
        episodes.is_sounds_podcast,
        0 as is_mix
    from episodes
    left join podcasts on episodes.tleo_id = podcasts.tleo_id
    where podcasts.tleo_id is not null or episodes.is_sounds_podcast = 1
    union all
    select
        {{ known('episode_id') }} as item_id,
        0 as is_podcast,
        0 as is_sounds_podcast,
        1 as is_mix
    from central_insights.sounds_mixes_episodes_metadata_all
    union all
    select
        {{ known('episode_id') }} as item_id,
        0 as is_podcast,
        0 as is_sounds_podcast,
        1 as is_mix
    from central_insights.sounds_mixes_metadata_schedule_positions
)

select
    item_id,
    cast(max(is_podcast) as smallint) as is_podcast,
    cast(max(is_sounds_podcast) as smallint) as is_sounds_podcast,
    cast(max(is_mix) as smallint) as is_mix
from marked
where item_id is not null
group by item_id
