-- Makes: the number of users who were active with a product in each week.
-- Grain: week (Monday) with activity.
-- From: the kept user_week, between two days.
select
    week_start,
    count(distinct user_id) as users
from {{ kept('user_week') }}
where
    week_start > cast(:first_day as date)
    and week_start <= cast(:last_day as date)
{% if matches %}
    and product in ({% for match in matches %}:match_{{ match }}{{ ", " if not loop.last }}{% endfor %})
{% endif %}
group by week_start
