-- Makes: other_week, what each user did in each week with each product beside this one, up to the day until which
-- activity is known. Only for a product that matches something: beside any product there is no other.
-- Grain: user, week (Monday) and product of the activity. `days` are bits, Monday's being 1 and Sunday's 64.
-- From: the kept user_week of every product of the activity that does not count as this one.
select
    user_id,
    week_start,
    product,
    days,
    value,
    last_date
from {{ kept('user_week') }}
where
    week_start >= cast(:first_new_date as date) - {{ window_start_days }}
    and week_start <= cast(:known_until as date) - {{ week_end_days }}
    and product not in ({% for match in matches %}:match_{{ match }}{{ ", " if not loop.last }}{% endfor %})
