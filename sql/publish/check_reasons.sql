-- Makes: one row of what is wrong with staged reasons.
-- Grain: one row in all.
-- From: the staging tables of the reasons and of the scores.
-- A sum of as many different powers of two as there are ranks is reached by having each rank once only.
with by_user as (
    select
        user_id,
        count(*) as reasons,
        max("rank") as last_rank,
        sum(power(2, "rank")) as ranks,
        sum(case
            when contribution is null or contribution between -1e30 and 1e30 then 0 else 1
        end) as infinite,
{% for column in required %}
        sum(case when "{{ column }}" is null then 1 else 0 end) as no_{{ column }}{{ "," if not loop.last }}
{% endfor %}
    from {{ staging }}
    group by user_id
),

totals as (
    select max(last_rank) as last_rank from by_user
)

select
    sum(by_user.reasons) as staged,
    count(by_user.user_id) as users,
    max(totals.last_rank) as ranks,
    sum(case
        when
            by_user.reasons = totals.last_rank
            and by_user.ranks = power(2, totals.last_rank + 1) - 2
            then 0
        else 1
    end) as misnumbered,
    sum(case when scores.user_id is null then by_user.reasons else 0 end) as strangers,
    sum(by_user.infinite) as infinite,
{% for column in required %}
    sum(by_user.no_{{ column }}) as no_{{ column }}{{ "," if not loop.last }}
{% endfor %}
from by_user
cross join totals
left join {{ scores }} as scores on scores.user_id = by_user.user_id
