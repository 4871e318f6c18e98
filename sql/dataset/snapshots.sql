-- Makes: snapshots, the users that a run trains on and scores, and the one definition of churn.
-- Grain: user and as-of date: past dates for training, and the run's date for scoring.
-- From: feature_rows; the kept user_week; and profile where there is one, as accounts may have been deleted since.
-- Churned: no activity in any target week. Null until the last target week has ended.
{% from 'dataset/cohorts.jinja' import drawn_slots, is_drawn %}
with as_of_dates as (
{% for index in range(training_dates) %}
    select cast(:training_date_{{ index }} as date) as as_of_date, 'train' as purpose
    union all
{% endfor %}
    select cast(:as_of as date) as as_of_date, 'score' as purpose
),

{% if cohorts %}
drawn as (
{{ drawn_slots(cohorts) }}),

{% endif %}
-- Active users, and the first week of each target that the active week is part of.
active as (
{% for week in range(target_weeks) %}
    {{ "union " if not loop.first }}select {{ "distinct" if loop.first }}
        user_id,
        week_start{{ " - " ~ 7 * week if week }} as target_start
    from {{ kept('user_week') }}
    where
        week_start >= cast({{ ":training_date_0" if training_dates else ":as_of" }} as date) + {{ target_start_days }}
        and week_start <= cast(:known_until as date) - {{ week_end_days }}
{% if matches %}
        and product in ({% for match in matches %}:match_{{ match }}{{ ", " if not loop.last }}{% endfor %})
{% endif %}
{% endfor %}
)

select
    feature_rows.user_id,
    feature_rows.as_of_date,
    as_of_dates.purpose,
    case
        when feature_rows.as_of_date + {{ target_end_days }} > cast(:known_until as date) then null
        when active.user_id is null then 1
        else 0
    end as churned
from {{ ref('feature_rows') }} as feature_rows
inner join as_of_dates on feature_rows.as_of_date = as_of_dates.as_of_date
{% if cohorts %}
left join drawn on feature_rows.as_of_date = drawn.as_of_date
{% endif %}
left join active
    on
        feature_rows.user_id = active.user_id
        and active.target_start = feature_rows.as_of_date + {{ target_start_days }}
{% if has_profile %}
left join {{ ref('profile') }} as profile on feature_rows.user_id = profile.user_id
where coalesce(profile.usable, true)
{% endif %}
{% if cohorts %}
{{ "and" if has_profile else "where" }} (as_of_dates.purpose = 'score' or {{ is_drawn("feature_rows.user_id", slots, "drawn.slots") }})
{% endif %}
