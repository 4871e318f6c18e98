-- Makes: features_profile, account and person.
-- Grain: snapshot; users without a profile have missing values.
-- From: snapshots, profile.
select
    snapshots.user_id,
    snapshots.as_of_date,
    case when profile.created_date <= snapshots.as_of_date then snapshots.as_of_date - profile.created_date end
        as account_age_days,
    profile.age,
    case when profile.age between 16 and 34 then 1 when profile.age is not null then 0 end as is_16_to_34,
    profile.gender,
    profile.nation,
    profile.region,
    profile.acorn_category,
    profile.personalisation,
    profile.mail_verified
from {{ ref('snapshots') }} as snapshots
inner join {{ ref('profile') }} as profile on snapshots.user_id = profile.user_id
