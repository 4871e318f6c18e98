-- Makes: profile, what is known of an account.
-- Grain: user; accounts with several rows or the status 'deleted' are not usable.
-- From: prez.id_profile, prez.profile_extension. The texts 'null', 'N/A', 'n/a' and '' mean missing. Account dates,
-- ages and flags come as text or as types of their own: they are read as text, and what is no date or age is missing.
with texts as (
    select
        bbc_hid3 as user_id,
        status,
        substring(cast(cal_createdate as varchar(40)), 1, 10) as created_text,
        cast(age as varchar(20)) as age_text,
        case when lower(gender) not in ('null', 'n/a', '') then gender end as gender,
        cast(enablepersonalisation as varchar(20)) as personalisation,
        cast(mailverified as varchar(20)) as mail_verified
    from prez.id_profile
),

accounts as (
    select
        user_id,
        count(*) as accounts,
        max(lower(status)) as status,
        min(cast(case
            when created_text ~ '^[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$' then created_text
        end as date)) as created_date,
        max(cast(case when age_text ~ '^[0-9]{1,3}([.]0*)?$' then age_text end as double precision)) as age,
        max(gender) as gender,
        max(case when lower(personalisation) not in ('null', 'n/a', '') then personalisation end) as personalisation,
        max(case when lower(mail_verified) not in ('null', 'n/a', '') then mail_verified end) as mail_verified
    from texts
    group by user_id
),

extensions as (
    select
        bbc_hid3 as user_id,
        max(case when lower(nation) not in ('null', 'n/a', '') then nation end) as nation,
        max(case when lower(barb_region) not in ('null', 'n/a', '') then barb_region end) as region,
        max(case
            when lower(acorn_category_description) not in ('null', 'n/a', '') then acorn_category_description
        end) as acorn_category
    from prez.profile_extension
    group by bbc_hid3
)

select
    accounts.user_id,
    accounts.accounts = 1 and coalesce(accounts.status, '') <> 'deleted' as usable,
    accounts.created_date,
    cast(case when accounts.age between 1 and 120 then accounts.age end as integer) as age,
    accounts.gender,
    accounts.personalisation,
    accounts.mail_verified,
    extensions.nation,
    extensions.region,
    extensions.acorn_category
from accounts
left join extensions on accounts.user_id = extensions.user_id
