-- Makes: features_lifetime, the user's whole known history with the product up to the as-of date.
-- Grain: snapshot.
-- From: eligible, the kept user_life.
with lives as (
    select
        eligible.user_id,
        eligible.as_of_date,
        life.first_date,
        life.last_date,
        (eligible.as_of_date - {{ last_week_start_days }} - life.first_week) / 7 + 1 as lifetime_weeks,
        life.active_weeks as lifetime_active_weeks,
        life.active_days as lifetime_days,
        life.events as lifetime_events,
        life.value as lifetime_value,
        life.longest_gap as longest_gap_weeks,
        life.gaps,
        life.steps,
        cast(life.sum_steps as double precision) as sum_steps,
        cast(life.sum_squared_steps as double precision) as sum_squared_steps,
        -- Weeks since the user came back from the last gap; since the first week if there was none.
        (eligible.as_of_date - {{ last_week_start_days }} - life.back_week) / 7 + 1 as streak_weeks
    from {{ ref('eligible') }} as eligible
    -- Eligible users were active in the last observed week.
    inner join {{ kept('user_life') }} as life
        on
            eligible.user_id = life.user_id
            and life.week_start = eligible.as_of_date - {{ last_week_start_days }}
    where life.week_start >= cast(:first_new_date as date) - {{ last_week_start_days }}
)

select
    user_id,
    as_of_date,
    as_of_date - first_date as tenure_days,
    as_of_date - last_date as days_since_last,
    lifetime_active_weeks,
    cast(lifetime_active_weeks as double precision) / lifetime_weeks as lifetime_active_rate,
    lifetime_days,
    lifetime_events,
    lifetime_value,
    cast(lifetime_days as double precision) / lifetime_weeks as lifetime_days_per_week,
    cast(last_date - first_date as double precision) / nullif(lifetime_days - 1, 0) as days_between_visits,
    -- Days since the last visit, over the user's mean days between visits.
    cast(as_of_date - last_date as double precision) * (lifetime_days - 1) / nullif(last_date - first_date, 0)
        as days_since_last_to_usual,
    longest_gap_weeks,
    gaps,
    streak_weeks,
    -- Standard deviation of the steps between active weeks over their mean; 0 = perfectly regular.
    case
        when steps > 1
            then
                sqrt(greatest(sum_squared_steps / steps - (sum_steps / steps) * (sum_steps / steps), 0))
                * steps / sum_steps
    end as gap_variation
from lives
