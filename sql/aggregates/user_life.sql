-- Makes: user_life, each user's totals with a product from their first day to the end of each active week.
-- Grain: user and active week (Monday).
-- From: the kept user_week of all products of the activity that count as this one, and the kept user_state.
-- Weeks are added in order, some at a time: user_state holds the totals before them. A step is the number of weeks
-- from one active week to the next, 1 without a gap. `back_week` is the first week of the present streak.
{% from 'aggregates/days.jinja' import day_count %}
with weeks as (
    select
        user_id,
        week_start,
        bit_or(days) as days,
        sum(events) as events,
        sum(value) as value,
        min(first_date) as first_date,
        max(last_date) as last_date
    from {{ kept('user_week') }}
    where
        week_start between :first_week and :last_week
{% if matches %}
        and product in ({% for match in matches %}:match_{{ match }}{{ ", " if not loop.last }}{% endfor %})
{% endif %}
    group by user_id, week_start
),

stepped as (
    select
        user_id,
        week_start,
        {{ day_count("days") }} as active_days,
        events,
        value,
        first_date,
        last_date,
        lag(week_start) over (partition by user_id order by week_start) as previous_week
    from weeks
),

joined as (
    select
        stepped.user_id,
        stepped.week_start,
        stepped.active_days,
        stepped.events,
        stepped.value,
        stepped.first_date,
        stepped.last_date,
        (stepped.week_start - coalesce(stepped.previous_week, state.week_start)) / 7 as step,
        state.first_week as old_first_week,
        state.first_date as old_first_date,
        state.back_week as old_back_week,
        coalesce(state.active_weeks, 0) as old_active_weeks,
        coalesce(state.active_days, 0) as old_active_days,
        coalesce(state.events, 0) as old_events,
        coalesce(state.value, 0) as old_value,
        coalesce(state.longest_gap, 0) as old_longest_gap,
        coalesce(state.gaps, 0) as old_gaps,
        coalesce(state.steps, 0) as old_steps,
        coalesce(state.sum_steps, 0) as old_sum_steps,
        coalesce(state.sum_squared_steps, 0) as old_sum_squared_steps
    from stepped
    left join {{ kept('user_state') }} as state on stepped.user_id = state.user_id
)
{% macro so_far(total) %}
{{ total }} over (
        partition by user_id
        order by week_start
        rows between unbounded preceding and current row
    )
{%- endmacro %}

select
    user_id,
    week_start,
    coalesce(old_first_week, {{ so_far("min(week_start)") }}) as first_week,
    coalesce(old_first_date, {{ so_far("min(first_date)") }}) as first_date,
    last_date,
    coalesce(
        {{ so_far("max(case when step is null or step > 1 then week_start end)") }},
        old_back_week
    ) as back_week,
    cast(old_active_weeks + {{ so_far("count(*)") }} as bigint) as active_weeks,
    cast(old_active_days + {{ so_far("sum(active_days)") }} as bigint) as active_days,
    cast(old_events + {{ so_far("sum(events)") }} as bigint) as events,
    cast(old_value + coalesce({{ so_far("sum(value)") }}, 0) as {{ lifetime_value_type }}) as value,
    cast(greatest(old_longest_gap, {{ so_far("max(coalesce(step - 1, 0))") }}) as bigint) as longest_gap,
    cast(old_gaps + {{ so_far("sum(case when step > 1 then 1 else 0 end)") }} as bigint) as gaps,
    cast(old_steps + {{ so_far("count(step)") }} as bigint) as steps,
    cast(old_sum_steps + coalesce({{ so_far("sum(step)") }}, 0) as bigint) as sum_steps,
    cast(old_sum_squared_steps + coalesce({{ so_far("sum(step * step)") }}, 0) as bigint) as sum_squared_steps
from joined
