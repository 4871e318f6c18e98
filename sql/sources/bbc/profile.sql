-- Makes: profile, what is known of an account.
-- Grain: user. Rows that say the same count once, and complete each other. An account whose rows contradict each other
-- is conflicting; it is not usable, nor is one with the status 'deleted'.
-- From: prez.id_profile, prez.profile_extension, and, where they exist, central_insights_sandbox.gender_predictions
-- and central_insights_sandbox.age1634_predictions. The texts 'null', 'N/A', 'n/a' and '' mean missing. Dates, ages and
-- flags may be of any type: they are read as text, and invalid ones are missing. Of an extension or a prediction a value
-- is missing where a user's rows contradict each other.
{% from 'sources/bbc/texts.jinja' import agreed, day, day_text, differ, known %}
{% set facts = ['status', 'created_date', 'age', 'gender', 'location', 'personalisation', 'mail_verified'] %}
with texts as (
    select
        bbc_hid3 as user_id,
        lower({{ known('status') }}) as status,
        {{ day_text('cal_createdate') }} as created_text,
        cast(age as varchar(20)) as age_text,
        {{ known('gender') }} as gender,
        {{ known('location') }} as location,
        cast(enablepersonalisation as varchar(20)) as personalisation,
        cast(mailverified as varchar(20)) as mail_verified
    from prez.id_profile
),

known_facts as (
    select
        user_id,
        status,
        {{ day('created_text') }} as created_date,
        cast(case when age_text ~ '^[0-9]{1,3}([.]0*)?$' then age_text end as double precision) as age,
        gender,
        location,
        {{ known('personalisation') }} as personalisation,
        {{ known('mail_verified') }} as mail_verified
    from texts
),

accounts as (
    select
        user_id,
        case when {{ differ(facts) }}then 1 else 0 end as conflicting,
        max(case when status = 'deleted' then 1 else 0 end) as deleted,
        min(created_date) as created_date,
{% for fact in facts[2:] %}
        max({{ fact }}) as {{ fact }}{{ "," if not loop.last }}
{% endfor %}
    from known_facts
    group by user_id
),

{% if has_predictions %}
genders as (
    select
        audience_id as user_id,
        {{ agreed(known('predicted_gender')) }} as predicted_gender
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
        {{ agreed(known('predicted_age')) }} as predicted_age
    from age_texts
    group by user_id
),

{% endif %}
extensions as (
    select
        bbc_hid3 as user_id,
        {{ agreed(known('nation')) }} as nation,
        {{ agreed(known('barb_region')) }} as region,
        {{ agreed(known('acorn_type_description')) }} as acorn_type,
        {{ agreed(known('acorn_group_description')) }} as acorn_group,
        {{ agreed(known('acorn_category_description')) }} as acorn_category
    from prez.profile_extension
    group by bbc_hid3
)

select
    accounts.user_id,
    accounts.conflicting = 0 and accounts.deleted = 0 as usable,
    accounts.conflicting,
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
