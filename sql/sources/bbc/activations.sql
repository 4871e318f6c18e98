-- Makes: activations, the programme with which a user came to a product, or came back after 13 weeks away.
-- Grain: user, product and week (Monday). Of several programmes the last by id holds. Programmes that the catalogue
-- does not know are null, except episodes of Sounds.
-- From: radio1_sandbox.sounds_activations_preagg, central_insights_sandbox.iplayer_activations_postmigration_preagg,
-- prez.scv_vmb.
{% from 'sources/bbc/texts.jinja' import day, day_text, known %}
with catalogue as (
    select
        {{ known('version_id') }} as version_id,
        {{ known('episode_id') }} as episode_id,
        coalesce(
            {{ known('brand_id') }}, {{ known('series_id') }}, {{ known('episode_id') }}, {{ known('clip_id') }}
        ) as content_id
    from prez.scv_vmb
),

versions as (
    select
        version_id,
        max(content_id) as content_id
    from catalogue
    where version_id is not null
    group by version_id
),

episodes as (
    select
        episode_id,
        max(content_id) as content_id
    from catalogue
    where episode_id is not null
    group by episode_id
),

texts as (
    select
        {{ known('sounds.bbc_hid3') }} as user_id,
        'sounds' as product,
        {{ day_text('sounds.week_beginning') }} as activation_day,
        coalesce(episodes.content_id, {{ known('sounds.episode_id') }}) as content_id
    from radio1_sandbox.sounds_activations_preagg as sounds
    left join episodes on sounds.episode_id = episodes.episode_id
    union all
    select
        {{ known('iplayer.audience_id') }} as user_id,
        'iplayer' as product,
        {{ day_text('iplayer.week_beginning') }} as activation_day,
        versions.content_id
    from central_insights_sandbox.iplayer_activations_postmigration_preagg as iplayer
    left join versions on iplayer.first_version_id = versions.version_id
),

dated as (
    select
        user_id,
        product,
        cast(date_trunc('week', {{ day('activation_day') }}) as date) as week_start,
        content_id
    from texts
)

select
    user_id,
    product,
    week_start,
    max(content_id) as content_id
from dated
where
    user_id is not null
    and week_start is not null
group by user_id, product, week_start
