-- Makes: eligible, the one definition of who is eligible, on the dates whose features are made: the run's date, and
-- past dates of which no features are kept yet.
-- Grain: user and as-of date.
-- From: user_week, and profile where there is one.
-- Eligible: active in the last observed week, and over the minimum value in the observation window. May be trained
-- on: those whose account was old enough. Of past dates each user is at one, if they are drawn in cohorts.
{% from 'steps/cohorts.jinja' import in_cohort %}
with as_of_dates as (
{% for index in range(new_dates) %}
    select cast(:new_date_{{ index }} as date) as as_of_date
    union all
{% endfor %}
    select cast(:as_of as date) as as_of_date
),

observed as (
    select
        as_of_dates.as_of_date,
        user_week.user_id,
        sum(user_week.value) as value,
        max(user_week.week_start) as last_week_start
    from as_of_dates
    inner join {{ ref('user_week') }} as user_week
        on
            user_week.week_start >= as_of_dates.as_of_date - 90
            and user_week.week_start <= as_of_dates.as_of_date - 6
    group by as_of_dates.as_of_date, user_week.user_id
)

select
    observed.user_id,
    observed.as_of_date,
{% if has_profile %}
    case
        when coalesce(observed.as_of_date - profile.created_date, 10000) > :minimum_account_age_days then 1
        else 0
    end as trainable
{% else %}
    1 as trainable
{% endif %}
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
{% endif %}
{% if cohorts %}
    and (
        observed.as_of_date = cast(:as_of as date)
        or {{ in_cohort("observed", slots, cohorts) }}
    )
{% endif %}
