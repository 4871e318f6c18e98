-- Makes: feature_rows, what was known of each user on each date. They are kept: a date that was scored is trained on
-- as it was seen then, unless a week before it has been read again since.
-- Grain: user and as-of date.
-- From: eligible and every feature group's step.
select
    eligible.user_id,
    eligible.as_of_date,
    cast(eligible.trainable as smallint) as trainable,
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
