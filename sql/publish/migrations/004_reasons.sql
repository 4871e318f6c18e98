-- Makes: the published reasons, largest contribution first (log-odds).
-- Grain: product, target week, user and rank.
-- From: the staging table of a run's reasons.
create table if not exists {{ schema }}.reasons (
    "{{ id_column }}" varchar(250) not null,
    product varchar(63) not null,
    target_week_start_date date not null,
    "rank" smallint not null,
    feature varchar(80) not null,
    "value" varchar(1000),
    contribution real not null,
    run_id varchar(63) not null
)
{% if redshift %}
diststyle key distkey ("{{ id_column }}") compound sortkey (product, target_week_start_date)
{% endif %}
