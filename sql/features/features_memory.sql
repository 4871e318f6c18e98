-- Makes: features_memory, what users did up to a year ago: active weeks, the season, and how often they left before.
-- Grain: snapshot.
-- From: eligible, the kept user_life.
-- An active week is a bit of `weeks`, 0 = the last observed week. A past active week k had its outcome by now if the
-- weeks that were its target are over: k of at least lead and target weeks. It was followed by churn if none of these
-- is active. Null where the product's history is too short to tell.
{% set year = 52 %}
{% set half = 26 %}
{% set known_from = lead_weeks + target_weeks %}
{% set season = year - lead_weeks - 1 %}
{% set prior_churned = 2 %}
{% set prior_weeks = 6 %}
{% set decay = 0.95 %}
{% macro is_active(week) %}(weeks >> {{ week }}) & 1 = 1{% endmacro %}
{% macro left(week) %}(weeks >> {{ week - known_from }}) & {{ 2 ** target_weeks - 1 }} = 0{% endmacro %}
with history as (
    select min(first_week) as first_week
    from {{ kept('user_life') }}
),

used as (
    select
        eligible.user_id,
        eligible.as_of_date,
        cast((eligible.as_of_date - {{ last_week_start_days }} - life.week_start) / 7 as integer) as week
    from {{ ref('eligible') }} as eligible
    inner join {{ kept('user_life') }} as life
        on
            eligible.user_id = life.user_id
            and life.week_start >= eligible.as_of_date - {{ last_week_start_days + 7 * year }}
            and life.week_start <= eligible.as_of_date - {{ last_week_start_days }}
    where life.week_start >= cast(:first_new_date as date) - {{ last_week_start_days + 7 * year }}
),

users as (
    select
        user_id,
        as_of_date,
        bit_or(cast(1 as bigint) << week) as weeks,
        count(case when week < {{ half }} then 1 end) as weeks_half,
        count(case when week < {{ year }} then 1 end) as weeks_year,
        count(case when week between {{ season - 2 }} and {{ season + 2 }} then 1 end) as weeks_season,
        count(case when week >= {{ known_from }} then 1 end) as known
    from used
    group by user_id, as_of_date
),

counted as (
    select
        users.user_id,
        users.as_of_date,
        users.weeks,
        users.weeks_half,
        users.weeks_year,
        users.weeks_season,
        users.known,
        -- Weeks of history up to the last observed week.
        (users.as_of_date - {{ last_week_start_days }} - history.first_week) / 7 + 1 as history_weeks,
{% for week in range(known_from, year + 1) %}
        case when {{ is_active(week) }} and {{ left(week) }} then 1 else 0 end{{ " +" if not loop.last }}
{% endfor %}
            as churned,
{% for week in range(known_from, year + 1) %}
        case
            when {{ is_active(week) }} and {{ left(week) }} then cast({{ "%.6f" % decay ** (week - known_from) }} as double precision)
            else 0
        end{{ " +" if not loop.last }}
{% endfor %}
            as churned_lately,
{% for week in range(known_from, year + 1) %}
        case when {{ is_active(week) }} then cast({{ "%.6f" % decay ** (week - known_from) }} as double precision) else 0 end{{ " +" if not loop.last }}
{% endfor %}
            as known_lately
    from users
    cross join history
)

select
    user_id,
    as_of_date,
    case when history_weeks >= {{ half }} then weeks_half end as active_weeks_26w,
    case when history_weeks >= {{ year }} then weeks_year end as active_weeks_52w,
    case
        when history_weeks >= {{ year + 1 - lead_weeks }}
            then case when (weeks >> {{ season + 1 - target_weeks }}) & {{ 2 ** target_weeks - 1 }} = 0 then 0 else 1 end
    end as active_year_ago,
    case when history_weeks >= {{ season + 3 }} then weeks_season end as active_weeks_year_ago,
    known as past_weeks,
    -- Shrunk to one third, like {{ prior_weeks }} further weeks.
    case when known > 0 then cast(churned + {{ prior_churned }} as double precision) / (known + {{ prior_weeks }}) end
        as past_churn_rate,
    case when known > 0 then (churned_lately + {{ prior_churned }}) / cast(known_lately + {{ prior_weeks }} as double precision) end
        as past_churn_rate_lately
from counted
