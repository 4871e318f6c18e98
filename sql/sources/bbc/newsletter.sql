-- Makes: newsletter, when users opted in to and out of the newsletter.
-- Grain: user and date. Of several changes on a day the last holds.
-- From: prez.uasview. Other actions are left out.
{% from 'sources/bbc/texts.jinja' import day, day_text, known %}
with texts as (
    select
        {{ known('hashedidentity') }} as user_id,
        {{ day_text('cal_yyyymmdd') }} as changed_day,
        coalesce(cast(servertime as varchar(40)), '') as changed_at,
        case when lower(action) = 'followed' then 1 when lower(action) = 'unfollowed' then 0 end as opted_in
    from prez.uasview
    where
        lower(activitytype) = 'follows'
        and lower(resourcetype) = 'newsletter'
        and lower(resourcedomain) = 'profile'
        and lower(resourceid) = 'pan_bbc'
),

dated as (
    select
        user_id,
        {{ day('changed_day') }} as changed_date,
        changed_at,
        opted_in
    from texts
    where
        user_id is not null
        and opted_in is not null
),

placed as (
    select
        user_id,
        changed_date,
        opted_in,
        row_number() over (partition by user_id, changed_date order by changed_at desc, opted_in) as place
    from dated
    where changed_date is not null
)

select
    user_id,
    changed_date,
    cast(opted_in as smallint) as opted_in
from placed
where place = 1
