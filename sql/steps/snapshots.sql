-- Makes: snapshots, the one definition of who is eligible and who churned.
-- Grain: user and as-of date: past dates for training, and the run's date for scoring.
-- From: user_week, and profile where there is one.
-- Eligible: active in the last observed week, and over the minimum value in the observation window.
-- Churned: no activity in the target week; unknown while that week has not ended.
with as_of_dates as (
{% for index in range(training_dates) %}
    select cast(:training_date_{{ index }} as date) as as_of_date, {{ index }} as cohort, 'train' as purpose
    union all
{% endfor %}
    select cast(:as_of as date) as as_of_date, -1 as cohort, 'score' as purpose
),

observed as (
    select
        as_of_dates.as_of_date,
        as_of_dates.cohort,
        as_of_dates.purpose,
        user_week.user_id,
        sum(user_week.value) as value,
        max(user_week.week_start) as last_week_start
    from as_of_dates
    inner join {{ ref('user_week') }} as user_week
        on
            user_week.week_start >= as_of_dates.as_of_date - 90
            and user_week.week_start <= as_of_dates.as_of_date - 6
    group by as_of_dates.as_of_date, as_of_dates.cohort, as_of_dates.purpose, user_week.user_id
),

eligible as (
    select
        observed.user_id,
        observed.as_of_date,
        observed.purpose
    from observed
{% if has_profile %}
    left join {{ ref('profile') }} as profile on observed.user_id = profile.user_id
{% endif %}
    where
        observed.last_week_start = observed.as_of_date - 6
{% if has_minimum_value %}
        and observed.value > :minimum_value
{% endif %}
{% if has_profile %}
        and coalesce(profile.usable, true)
        and (
            observed.purpose = 'score'
            or coalesce(observed.as_of_date - profile.created_date, 10000) > :minimum_account_age_days
        )
{% endif %}
{% if sampling == 'cohort' and training_dates %}
        and (
            observed.purpose = 'score'
            or mod(strtol(substring(md5(observed.user_id), 1, 8), 16), {{ training_dates }}) = observed.cohort
        )
{% endif %}
)

select
    eligible.user_id,
    eligible.as_of_date,
    eligible.purpose,
    case
        when eligible.as_of_date + 14 > cast(:known_until as date) then null
        when target.user_id is null then 1
        else 0
    end as churned
from eligible
left join {{ ref('user_week') }} as target
    on
        eligible.user_id = target.user_id
        and target.week_start = eligible.as_of_date + 8
