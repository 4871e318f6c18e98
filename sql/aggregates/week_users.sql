-- Makes: week_users, how many users were active in a week and on each of its days, and how much they did.
-- Grain: week (Monday) and product of the activity.
-- From: the kept user_week of these weeks. Weeks with missing data are found by these figures.
select
    week_start,
    product,
    count(*) as users,
    sum(events) as events,
    -- One robot moves the sum of events, but hardly that of their logarithms. Decimals have the same sum in any order.
    sum(cast(ln(cast(events as double precision)) as decimal(18, 6))) as log_events,
{% for weekday in weekdays %}
    sum((days >> {{ (loop.index0 + 6) % 7 }}) & 1) as users_{{ weekday }}{{ "," if not loop.last }}
{% endfor %}
from {{ kept('user_week') }}
where week_start between :first_day and :last_day
group by week_start, product
