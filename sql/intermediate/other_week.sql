-- Makes: other_week, what each user did in each week with other products, up to the last known day.
-- Grain: user, week (Monday) and product of the activity. `days` are bits: Monday 1, Sunday 64.
-- From: the kept user_week of every product of the activity that does not count as this one. Not made for a product
-- that matches every product of the activity.
select
    user_id,
    week_start,
    product,
    days,
    events,
    value,
{% for device in devices %}
    value_device_{{ device }},
    days_device_{{ device }},
{% endfor %}
    last_date
from {{ kept('user_week') }}
where
    week_start >= cast(:first_new_date as date) - {{ window_start_days }}
    and week_start <= cast(:known_until as date) - {{ week_end_days }}
    and product not in ({% for match in matches %}:match_{{ match }}{{ ", " if not loop.last }}{% endfor %})
