-- Makes: feature_set, the rows that training and scoring read.
-- Grain: snapshot.
-- From: snapshots and feature_rows.
{% set materialized = "view" %}
select
    snapshots.user_id,
    snapshots.as_of_date,
    snapshots.purpose,
    snapshots.churned,
{% for _, column, _ in feature_columns %}
    feature_rows.{{ column }}{{ "," if not loop.last }}
{% endfor %}
from {{ ref('snapshots') }} as snapshots
inner join {{ ref('feature_rows') }} as feature_rows
    on
        snapshots.user_id = feature_rows.user_id
        and snapshots.as_of_date = feature_rows.as_of_date
