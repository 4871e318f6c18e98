-- Makes: the published scores. The first eight columns are those that the table's readers know.
-- Grain: product, target week and user.
-- From: the staging table of a run's scores.
create table if not exists {{ schema }}.scores (
    "{{ id_column }}" varchar(250) not null,
    target_week_start_date date not null,
    learner_type varchar(40) not null,
    learner_name varchar(40) not null,
    predicted_probability double precision not null,
    optimal_threshold double precision not null,
    optimal_classification integer not null,
    score_datetime timestamp not null,
    product varchar(63) not null,
    as_of date not null,
    run_id varchar(63) not null,
    model_version varchar(120) not null,
    margin double precision not null
)
{% if redshift %}
diststyle key distkey ("{{ id_column }}") compound sortkey (product, target_week_start_date)
{% endif %}
