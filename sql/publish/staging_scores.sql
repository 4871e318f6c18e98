-- Makes: a run's scores before they are checked. Columns as in the files: COPY matches them by position.
-- Grain: none: nulls and repeated users are let in, so that a check can name them.
-- From: a run's score files; those of earlier versions have the product.
create table {{ staging }} (
    user_id varchar(250),
    target_week_start_date date,
    learner_type varchar(40),
    learner_name varchar(40),
    predicted_probability double precision,
    optimal_threshold double precision,
    optimal_classification integer,
    score_datetime timestamp,
{% if has_product %}
    product varchar(63),
{% endif %}
    as_of date,
    run_id varchar(63),
    model_version varchar(120),
    margin double precision,
    reason_1 varchar(80),
    reason_2 varchar(80),
    reason_3 varchar(80)
)
{% if redshift %}
diststyle key distkey (user_id)
{% endif %}
