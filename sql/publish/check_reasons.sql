-- Makes: counts of what is wrong with staged reasons.
-- Grain: one row.
-- From: the staging tables of the reasons and of the scores, or views on the files (see check_scores on NaN).
-- Ranks are summed as powers of two: as many as there are ranks reach the right sum only if each rank occurs once.
-- What needs no grouping by user is counted apart: fewer sums for each user take less memory.
with by_user as (
    select
        user_id,
        count(*) as reasons,
        max("rank") as last_rank,
        sum(power(2, "rank")) as ranks
    from {{ staging }}
    group by user_id
),

totals as (
    select
        max("rank") as last_rank,
        sum(case
            when contribution is null or abs(contribution) <= 1e30 then 0 else 1
        end) as infinite,
{% for column in required %}
        sum(case when "{{ column }}" is null then 1 else 0 end) as no_{{ column }}{{ "," if not loop.last }}
{% endfor %}
    from {{ staging }}
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
    max(totals.infinite) as infinite,
{% for column in required %}
    max(totals.no_{{ column }}) as no_{{ column }}{{ "," if not loop.last }}
{% endfor %}
from by_user
cross join totals
left join {{ scores }} as scores on scores.user_id = by_user.user_id
