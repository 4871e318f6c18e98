-- Step 1: eligible users by cohort, and whether they churned.
with dates as (
{% for day in training_dates %}
    select {{ day }} as as_of_date, 'train' as purpose
    union all
{% endfor %}
    select {{ last_day }}, 'score'
),

drawn as (
    select *, cast('0x' || md5(user_id)[1:8] as bigint) % {{ slots }} as slot
    from {{ schema }}.target_weeks
)

select
    w.user_id,
    d.as_of_date,
    d.purpose,
    cast(case
        when d.as_of_date + 14 <= {{ last_day }}
            then not bool_or(w.week_start = d.as_of_date + 8)
    end as integer) as churned
from dates as d
inner join drawn as w on w.week_start between d.as_of_date - 90 and d.as_of_date + 8
left join {{ schema }}.profile as p on w.user_id = p.user_id
where
    coalesce(p.usable, true)
    and ({{ minimum_account_age_days }} = 0 or coalesce(d.as_of_date - p.created_date >= {{ minimum_account_age_days }}, true))
{% if cohorts %}
    and (
        d.purpose = 'score'
{% for numbers in cohorts %}
        or (
            d.as_of_date = {{ training_dates[loop.index0] }}
            and w.slot in ({{ numbers | join(", ") }})
        )
{% endfor %}
    )
{% endif %}
group by w.user_id, d.as_of_date, d.purpose
having
    bool_or(w.week_start = d.as_of_date - 6)
    and sum(case when w.week_start <= d.as_of_date then w.value else 0 end) > {{ minimum_value }}
