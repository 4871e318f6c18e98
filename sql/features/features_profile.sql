-- Makes: features_profile, the account and the person.
-- Grain: snapshot; users without a profile have no row, and missing values.
-- From: eligible, profile. The user's own answer wins over a prediction. A predicted age is a number of years, or a
-- class such as '16-34', which gives the flag only.
with people as (
    select
        user_id,
        created_date,
        coalesce(
            age,
            cast(case
                when predicted_age ~ '^([1-9][0-9]?|1[01][0-9]|120)([.][0-9]*)?$' then predicted_age
            end as double precision)
        ) as age,
        case when predicted_age ~ '^16.{1,4}34$' then 1 when predicted_age ~ '[0-9]' then 0 end as predicted_16_to_34,
        lower(coalesce(gender, predicted_gender)) as gender,
        nation,
        region,
        acorn_category,
        acorn_group,
        acorn_type,
        case
            when
                lower(location) in (
                    'gb', 'gbr', 'uk', 'great britain', 'united kingdom', 'england', 'northern ireland', 'scotland', 'wales'
                )
                then 1
            when location is not null then 0
        end as is_uk,
        personalisation,
        mail_verified
    from {{ ref('profile') }}
)

select
    eligible.user_id,
    eligible.as_of_date,
    case when people.created_date <= eligible.as_of_date then eligible.as_of_date - people.created_date end
        as account_age_days,
    cast(floor(people.age) as integer) as age,
    case when people.age >= 16 and people.age < 35 then 1 when people.age is not null then 0 else predicted_16_to_34 end
        as is_16_to_34,
    people.gender,
    people.nation,
    people.region,
    people.acorn_category,
    people.acorn_group,
    people.acorn_type,
    people.is_uk,
    people.personalisation,
    people.mail_verified
from {{ ref('eligible') }} as eligible
inner join people on eligible.user_id = people.user_id
