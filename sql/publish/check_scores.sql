-- Makes: counts of what is wrong with staged scores. A null counts as missing only, not as a wrong value too.
-- Grain: one row.
-- From: the staging table, or a view on the files. `* 1` keeps DuckDB from trusting the files' statistics, which leave
-- NaN out.
select
    count(*) as staged,
    count(distinct model_version) as models,
    count(distinct learner_name) as learners,
    max(model_version) as model_version,
    sum(case
        when predicted_probability is null or predicted_probability * 1 between 0 and 1 then 0 else 1
    end) as improbable,
    sum(case when optimal_classification not in (0, 1) then 1 else 0 end) as unclassified,
    sum(case
        when {{ "product <> :product or " if has_product }}target_week_start_date <> :week or run_id <> :run_id then 1
        else 0
    end) as foreign_rows,
{% for column in required %}
    sum(case when {{ column }} is null then 1 else 0 end) as no_{{ column }},
{% endfor %}
    (
        select count(*)
        from (
            select user_id
            from {{ staging }}
            group by {{ key | default("user_id") }}
            having count(user_id) > 1
        ) as users
    ) as repeated
from {{ staging }}
