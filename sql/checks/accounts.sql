-- Makes: how many users of the last observed week have an account, and of how many the account's rows contradict each
-- other.
-- Grain: one row.
-- From: the kept user_week, profile.
with present as (
    select distinct user_id
    from {{ kept('user_week') }}
    where
        week_start = cast(:known_until as date) - {{ week_end_days }}
{% if matches %}
        and product in ({% for match in matches %}:match_{{ match }}{{ ", " if not loop.last }}{% endfor %})
{% endif %}
)

select
    count(*) as keys,
    coalesce(sum(profile.conflicting), 0) as conflicts
from present
inner join {{ ref('profile') }} as profile on present.user_id = profile.user_id
