-- Makes: profile, what is known of an account.
-- Grain: user; accounts with several rows or the status 'deleted' are not usable.
-- From: prez.id_profile, prez.profile_extension.
with accounts as (
    select
        bbc_hid3 as user_id,
        count(*) as accounts,
        max(status) as status,
        min(cast(cal_createdate as date)) as created_date,
        max(cast(age as integer)) as age,
        max(gender) as gender,
        max(enablepersonalisation) as personalisation,
        max(mailverified) as mail_verified
    from prez.id_profile
    group by bbc_hid3
),

extensions as (
    select
        bbc_hid3 as user_id,
        max(nation) as nation,
        max(barb_region) as region,
        max(acorn_category_description) as acorn_category
    from prez.profile_extension
    group by bbc_hid3
)

select
    accounts.user_id,
    accounts.accounts = 1 and coalesce(accounts.status, '') <> 'deleted' as usable,
    accounts.created_date,
    case when accounts.age between 1 and 120 then accounts.age end as age,
    case when lower(accounts.gender) not in ('null', 'n/a', '') then accounts.gender end as gender,
    cast(accounts.personalisation as varchar(20)) as personalisation,
    cast(accounts.mail_verified as varchar(20)) as mail_verified,
    case when lower(extensions.nation) not in ('null', 'n/a', '') then extensions.nation end as nation,
    case when lower(extensions.region) not in ('null', 'n/a', '') then extensions.region end as region,
    case when lower(extensions.acorn_category) not in ('null', 'n/a', '') then extensions.acorn_category end
        as acorn_category
from accounts
left join extensions on accounts.user_id = extensions.user_id
