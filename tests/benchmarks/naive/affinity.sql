-- Step 3: shares of value by genre.
{% from 'macros.jinja' import observed with context %}
with rows as (
    select
        s.user_id,
        s.as_of_date,
        a.value,
        ';' || replace(lower(coalesce(a.category, '')), '; ', ';') || ';' as genres
    {{ observed(product) }}
),

sums as (
    select
        user_id,
        as_of_date,
{% for name, value in categories.items() %}
        sum(value) filter (contains(genres, ';{{ value | lower | replace("'", "''") }};')) as value_{{ name }},
{% endfor %}
        sum(value) filter (
{% for value in categories.values() %}
            not contains(genres, ';{{ value | lower | replace("'", "''") }};'){{ " and" if not loop.last }}
{% endfor %}
        ) as value_other,
        sum(value) as value
    from rows
    group by user_id, as_of_date
)

select
    user_id,
    as_of_date,
{% for name in categories %}
    coalesce(value_{{ name }}, 0) / nullif(value, 0) as share_category_{{ name }},
{% endfor %}
    coalesce(value_other, 0) / nullif(value, 0) as share_other_category,
{% for name in categories %}
    coalesce(cast(value_{{ name }} > 0 as integer), 0){{ " +" if not loop.last }}
{% endfor %}
        as categories_used
from sums
