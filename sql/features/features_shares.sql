-- Makes: features_shares, how the value of the observation window is spread over categories and times.
-- Grain: snapshot.
-- From: window_sums.
{% set materialized = "view" %}
select
    user_id,
    as_of_date,
{% if categories %}
{% for category in categories %}
    case when value_category_{{ category }} > 0 then 1 else 0 end{{ " +" if not loop.last else " as categories_used," }}
{% endfor %}
{% endif %}
{% for column in share_columns %}
    cast(value_{{ column }} as double precision) / cast(nullif(value_13w, 0) as double precision)
        as share_{{ column }}{{ "," if not loop.last }}
{% endfor %}
from {{ ref('window_sums') }}
