-- Makes: feature_set, what training and scoring read.
-- Grain: snapshot.
-- From: snapshots and every feature group's step.
select
    snapshots.user_id,
    snapshots.as_of_date,
    snapshots.purpose,
    snapshots.churned,
{% for group, column, type in feature_columns %}
    cast({{ group }}.{{ column }} as {{ type }}) as {{ column }}{{ "," if not loop.last }}
{% endfor %}
from {{ ref('snapshots') }} as snapshots
{% for group in feature_groups %}
left join {{ ref(group) }} as {{ group }}
    on
        snapshots.user_id = {{ group }}.user_id
        and snapshots.as_of_date = {{ group }}.as_of_date
{% endfor %}
