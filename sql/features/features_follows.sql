-- Makes: features_follows, what users marked to come back to: programmes followed, subscribed to, bookmarked.
-- Grain: snapshot; 0 where users marked nothing.
-- From: eligible, follows. The product's definition lists the kinds that it has.
select
    eligible.user_id,
    eligible.as_of_date,
{% for kind in follow_kinds %}
    count(case when follows.kind = '{{ kind }}' and follows.followed_date >= eligible.as_of_date - {{ last_week_start_days }} then 1 end)
        as {{ kind }}s_1w,
    count(case when follows.kind = '{{ kind }}' and follows.followed_date >= eligible.as_of_date - {{ window_start_days }} then 1 end)
        as {{ kind }}s_13w,
    count(case when follows.kind = '{{ kind }}' then 1 end) as {{ kind }}s_ever{{ "," if not loop.last }}
{% endfor %}
from {{ ref('eligible') }} as eligible
left join {{ ref('follows') }} as follows
    on
        eligible.user_id = follows.user_id
        and follows.followed_date <= eligible.as_of_date
{% if matches %}
        and follows.product in ({% for match in matches %}:match_{{ match }}{{ ", " if not loop.last }}{% endfor %})
{% endif %}
group by eligible.user_id, eligible.as_of_date
