-- Makes: mails, which e-mails users opened, and which they clicked in.
-- Grain: user, date, kind ('open' or 'click') and mailing.
-- From: research_measurement_data.rmd_salesforce_opens_src, research_measurement_data.rmd_salesforce_clicks_src.
{% from 'sources/bbc/texts.jinja' import day, day_text, known %}
with texts as (
    select
        {{ known('subscriberkey') }} as user_id,
        {{ day_text('eventdatetime') }} as mail_day,
        'open' as kind,
        cast(sendid as varchar(40)) as send_id
    from research_measurement_data.rmd_salesforce_opens_src
    union all
    select
        {{ known('subscriberkey') }} as user_id,
        {{ day_text('eventdatetime') }} as mail_day,
        'click' as kind,
        cast(sendid as varchar(40)) as send_id
    from research_measurement_data.rmd_salesforce_clicks_src
),

dated as (
    select
        user_id,
        {{ day('mail_day') }} as mail_date,
        kind,
        {{ known('send_id') }} as send_id
    from texts
)

select distinct
    user_id,
    mail_date,
    kind,
    send_id
from dated
where
    user_id is not null
    and mail_date is not null
