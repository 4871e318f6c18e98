-- Makes: activity, the source contract's events.
-- Grain: event, as in the log.
-- From: events.activity, which `churn ingest` writes.
select
    user_id,
    product,
    cast(occurred_at as date) as activity_date,
    occurred_at,
    value,
    category,
    item_id,
    cast(null as varchar(250)) as series_id,
    device
from events.activity
