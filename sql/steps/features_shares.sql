-- Makes: features_shares, how the value of the observation window is spread over categories and times.
-- Grain: snapshot.
-- From: eligible, user_week.
with sums as (
    select
        eligible.user_id,
        eligible.as_of_date,
{% for column in share_columns %}
        sum(user_week.value_{{ column }}) as value_{{ column }},
{% endfor %}
        sum(user_week.value) as value
    from {{ ref('eligible') }} as eligible
    inner join {{ ref('user_week') }} as user_week
        on
            eligible.user_id = user_week.user_id
            and user_week.week_start >= eligible.as_of_date - 90
            and user_week.week_start <= eligible.as_of_date - 6
    group by eligible.user_id, eligible.as_of_date
)

select
    user_id,
    as_of_date,
{% if categories %}
{% for category in categories %}
    case when value_category_{{ category }} > 0 then 1 else 0 end{{ " +" if not loop.last else " as categories_used," }}
{% endfor %}
{% endif %}
{% for column in share_columns %}
    cast(value_{{ column }} as double precision) / cast(nullif(value, 0) as double precision) as share_{{ column }}{{ "," if not loop.last }}
{% endfor %}
from sums
