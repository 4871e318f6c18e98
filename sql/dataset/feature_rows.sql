-- Makes: feature_rows, every feature of each eligible user on each date.
-- Grain: user and as-of date.
-- From: eligible and every feature group's step. Rows are kept, so that a past date is trained on as it was scored,
-- unless one of its weeks has been read again since.
select
    eligible.user_id,
    eligible.as_of_date,
{% for group, column, type in feature_columns %}
    cast({{ group }}.{{ column }} as {{ type }}) as {{ column }}{{ "," if not loop.last }}
{% endfor %}
from {{ ref('eligible') }} as eligible
{% for group in feature_groups %}
left join {{ ref(group) }} as {{ group }}
    on
        eligible.user_id = {{ group }}.user_id
        and eligible.as_of_date = {{ group }}.as_of_date
{% endfor %}
