-- Makes: eligible, the one definition of eligible users, on the run's date and on past dates without stored feature rows.
-- Grain: user and as-of date.
-- From: user_week, and profile where there is one.
-- Eligible: active in the last observed week, above the minimum value in the observation window, and of an account that
-- is old enough, if its age is known. Training, scoring and every figure are about these users. With cohorts, each
-- user is at one past date.
{% from 'dataset/cohorts.jinja' import drawn_slots, is_drawn %}
with as_of_dates as (
{% for index in range(new_dates) %}
    select cast(:new_date_{{ index }} as date) as as_of_date
    union all
{% endfor %}
    select cast(:as_of as date) as as_of_date
),

{% if cohorts %}
drawn as (
{{ drawn_slots(cohorts) }}),

{% endif %}
-- The last observed week comes first: an equality finds its few users fast.
present as (
    select
        user_week.user_id,
        as_of_dates.as_of_date
    from as_of_dates
    inner join {{ ref('user_week') }} as user_week on user_week.week_start = as_of_dates.as_of_date - {{ last_week_start_days }}
{% if cohorts %}
    left join drawn on as_of_dates.as_of_date = drawn.as_of_date
    where
        as_of_dates.as_of_date = cast(:as_of as date)
        or {{ is_drawn("user_week.user_id", slots, "drawn.slots") }}
{% endif %}
){{ "," if has_minimum_value }}

{% if has_minimum_value %}
valued as (
    select
        present.user_id,
        present.as_of_date
    from present
    inner join {{ ref('user_week') }} as user_week
        on
            present.user_id = user_week.user_id
            and user_week.week_start >= present.as_of_date - {{ window_start_days }}
            and user_week.week_start <= present.as_of_date - {{ last_week_start_days }}
    group by present.user_id, present.as_of_date
    having sum(user_week.value) > :minimum_value
)

{% endif %}
select
    observed.user_id,
    observed.as_of_date
from {{ "valued" if has_minimum_value else "present" }} as observed
{% if has_profile %}
left join {{ ref('profile') }} as profile on observed.user_id = profile.user_id
where
    coalesce(profile.usable, true)
{% if has_minimum_account_age %}
    and coalesce(observed.as_of_date - profile.created_date >= :minimum_account_age_days, true)
{% endif %}
{% endif %}
