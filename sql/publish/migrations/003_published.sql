-- Makes: which run is published, and the lock of everybody who publishes.
-- Grain: product and target week.
-- From: the scores that stand already; when they were published is not known.
create table if not exists {{ schema }}.published (
    product varchar(63) not null,
    target_week_start_date date not null,
    run_id varchar(63) not null,
    score_datetime timestamp not null,
    model_version varchar(120),
    score_rows bigint not null,
    reason_rows bigint not null,
    published_at timestamp,
    primary key (product, target_week_start_date)
);

insert into {{ schema }}.published (
    product, target_week_start_date, run_id, score_datetime, model_version, score_rows, reason_rows
)
select
    product,
    target_week_start_date,
    max(run_id) as run_id,
    max(score_datetime) as score_datetime,
    max(model_version) as model_version,
    count(*) as score_rows,
    0 as reason_rows
from {{ schema }}.scores
group by product, target_week_start_date
