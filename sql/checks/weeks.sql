-- Makes: weekly figures of a product's activity, by which weeks with missing data are found.
-- Grain: week (Monday) and product of the activity.
-- From: the kept week_users, up to the day until which activity is known.
select
    week_start,
    product,
    users,
    events,
    log_events,
{% for weekday in weekdays %}
    users_{{ weekday }}{{ "," if not loop.last }}
{% endfor %}
from {{ kept('week_users') }}
where
    week_start <= cast(:known_until as date) - {{ week_end_days }}
{% if matches %}
    and product in ({% for match in matches %}:match_{{ match }}{{ ", " if not loop.last }}{% endfor %})
{% endif %}
