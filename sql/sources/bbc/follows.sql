-- Makes: follows, what users follow, subscribe to and bookmark.
-- Grain: event.
-- From: del.uas_profile_events. Follows of television are follows, follows of radio and music are subscriptions, and
-- favourites of radio are bookmarks. Other events are left out.
{% from 'sources/bbc/texts.jinja' import day, day_text, known %}
with texts as (
    select
        {{ known('hashedidentity') }} as user_id,
        lower(activitytype) as activity_type,
        lower(resourcetype) as resource_type,
        lower(resourcedomain) as domain,
        {{ day_text('cal_yyyymmdd') }} as event_day
    from del.uas_profile_events
),

kinds as (
    select
        user_id,
        case
            when activity_type = 'follows' and domain = 'tv' and resource_type in ('brand', 'series') then 'follow'
            when activity_type = 'follows' and domain in ('radio', 'music') then 'subscribe'
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
