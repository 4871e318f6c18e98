-- Makes: user_state, each user's totals up to their latest active week; later weeks are added to them.
-- Grain: user, of those active in the given weeks.
-- From: the kept user_life.
with latest as (
    select
        user_id,
        max(week_start) as week_start
    from {{ kept('user_life') }}
    where week_start >= :first_week
    group by user_id
)

select
    life.user_id,
    life.week_start,
    life.first_week,
    life.first_date,
    life.last_date,
    life.back_week,
    life.active_weeks,
    life.active_days,
    life.events,
    life.value,
    life.longest_gap,
    life.gaps,
    life.steps,
    life.sum_steps,
    life.sum_squared_steps
from {{ kept('user_life') }} as life
inner join latest
    on
        life.user_id = latest.user_id
        and life.week_start = latest.week_start
where life.week_start >= :first_week
