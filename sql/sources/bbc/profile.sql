-- Makes: profile, what is known of an account.
-- Grain: user; accounts with several rows or the status 'deleted' are not usable.
-- From: prez.id_profile, prez.profile_extension, and, where they exist, central_insights_sandbox.gender_predictions
-- and central_insights_sandbox.age1634_predictions. The texts 'null', 'N/A', 'n/a' and '' mean missing. Dates, ages and
-- flags may be of any type: they are read as text, and invalid ones are missing.
{% from 'sources/bbc/texts.jinja' import day, day_text, known %}
with texts as (
    select
        bbc_hid3 as user_id,
        status,
        {{ day_text('cal_createdate') }} as created_text,
        cast(age as varchar(20)) as age_text,
        {{ known('gender') }} as gender,
        {{ known('location') }} as location,
        cast(enablepersonalisation as varchar(20)) as personalisation,
        cast(mailverified as varchar(20)) as mail_verified
    from prez.id_profile
),

accounts as (
    select
        user_id,
        count(*) as accounts,
        max(lower(status)) as status,
        min({{ day('created_text') }}) as created_date,
        max(cast(case when age_text ~ '^[0-9]{1,3}([.]0*)?$' then age_text end as double precision)) as age,
        max(gender) as gender,
        max(location) as location,
        max({{ known('personalisation') }}) as personalisation,
        max({{ known('mail_verified') }}) as mail_verified
    from texts
    group by user_id
),

{% if has_predictions %}
genders as (
    select
        audience_id as user_id,
        max({{ known('predicted_gender') }}) as predicted_gender
    from central_insights_sandbox.gender_predictions
    group by audience_id
),

age_texts as (
    select
        audience_id as user_id,
        cast(predicted_age as varchar(20)) as predicted_age
    from central_insights_sandbox.age1634_predictions
),

ages as (
    select
        user_id,
        max({{ known('predicted_age') }}) as predicted_age
    from age_texts
    group by user_id
),

{% endif %}
extensions as (
    select
        bbc_hid3 as user_id,
        max({{ known('nation') }}) as nation,
        max({{ known('barb_region') }}) as region,
        max({{ known('acorn_type_description') }}) as acorn_type,
        max({{ known('acorn_group_description') }}) as acorn_group,
        max({{ known('acorn_category_description') }}) as acorn_category
    from prez.profile_extension
    group by bbc_hid3
)

select
    accounts.user_id,
    accounts.accounts = 1 and coalesce(accounts.status, '') <> 'deleted' as usable,
    accounts.created_date,
    cast(case when accounts.age between 1 and 120 then accounts.age end as integer) as age,
    accounts.gender,
{% if has_predictions %}
    genders.predicted_gender,
    ages.predicted_age,
{% else %}
    cast(null as varchar(20)) as predicted_gender,
    cast(null as varchar(20)) as predicted_age,
{% endif %}
    accounts.location,
    accounts.personalisation,
    accounts.mail_verified,
    extensions.nation,
    extensions.region,
    extensions.acorn_type,
    extensions.acorn_group,
    extensions.acorn_category
from accounts
left join extensions on accounts.user_id = extensions.user_id
{% if has_predictions %}
left join genders on accounts.user_id = genders.user_id
left join ages on accounts.user_id = ages.user_id
{% endif %}
