-- Makes: follows, what users follow, subscribe to and bookmark.
-- Grain: event. Rows that are equal in all columns, also in those that are not read here, count once.
-- From: del.uas_profile_events. Follows of programmes (brands and series) of television are follows, those of programmes
-- of radio and music are subscriptions, and favourites of radio are bookmarks. Other events, such as follows of artists
-- and genres, are left out.
{% from 'sources/bbc/texts.jinja' import day, day_text, known %}
with events as (
    select distinct *
    from del.uas_profile_events
),

texts as (
    select
        {{ known('hashedidentity') }} as user_id,
        lower(activitytype) as activity_type,
        lower(resourcetype) as resource_type,
        lower(resourcedomain) as domain,
        {{ day_text('cal_yyyymmdd') }} as event_day
    from events
),

kinds as (
    select
        user_id,
        case
            when activity_type = 'follows' and resource_type in ('brand', 'series')
                then case when domain = 'tv' then 'follow' when domain in ('radio', 'music') then 'subscribe' end
            when activity_type = 'favourites' and domain = 'radio' then 'bookmark'
        end as kind,
        {{ day('event_day') }} as followed_date
    from texts
)

select
    user_id,
    case when kind = 'follow' then 'iplayer' else 'sounds' end as product,
    kind,
    followed_date
from kinds
where
    user_id is not null
    and kind is not null
    and followed_date is not null
