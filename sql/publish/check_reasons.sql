-- Makes: one row of what is wrong with staged reasons.
-- Grain: one row in all.
-- From: the staging tables of the reasons and of the scores, or views on the files (see check_scores on NaN).
-- A sum of as many different powers of two as there are ranks is reached by having each rank once only.
-- What needs no user is counted apart: the fewer sums there are for each user, the less memory they take.
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
