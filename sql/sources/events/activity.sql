-- Makes: activity, the source contract's events.
-- Grain: event, as in the log.
-- From: events.activity, which `churn ingest` writes. Every event counts as a long play.
select
    user_id,
    product,
    cast(occurred_at as date) as activity_date,
    occurred_at,
    value,
    cast(null as integer) as page_views,
    category,
    item_id,
    cast(null as varchar(250)) as series_id,
    item_id as content_id,
    device,
    cast(null as smallint) as is_live,
    cast(1 as smallint) as is_play,
    cast(1 as smallint) as is_long_play
from events.activity
