-- Makes: how many keys a raw table has, and of how many the rows contradict each other.
-- Grain: one row.
-- From: the raw table. Keys that are missing are left out; a missing value contradicts nothing. With `latest`, only the
-- rows with the greatest value of that column are read.
{% from 'sources/bbc/texts.jinja' import differ, known %}
{% set values = [] %}
with texts as (
    select
{% for column in keys %}
        cast({{ column }} as varchar(250)) as key_{{ loop.index0 }},
{% endfor %}
{% for column in facts %}
        cast({{ column }} as varchar(250)) as fact_{{ loop.index0 }}{{ "," if not loop.last }}
{% endfor %}
    from {{ table }}
{% if latest %}
    where {{ latest }} = (select max({{ latest }}) from {{ table }})
{% endif %}
),

known as (
    select
{% for _ in keys %}
        {{ known("key_" ~ loop.index0) }} as key_{{ loop.index0 }},
{% endfor %}
{% for _ in facts %}
{% set _ = values.append("fact_" ~ loop.index0) %}
        {{ known("fact_" ~ loop.index0) }} as fact_{{ loop.index0 }}{{ "," if not loop.last }}
{% endfor %}
    from texts
),

groups as (
    select case when {{ differ(values) }}then 1 else 0 end as conflicting
    from known
    where
{% for _ in keys %}
        {{ "and " if not loop.first }}key_{{ loop.index0 }} is not null
{% endfor %}
    group by {% for _ in keys %}key_{{ loop.index0 }}{{ ", " if not loop.last }}{% endfor %}

)

select
    count(*) as keys,
    coalesce(sum(conflicting), 0) as conflicts
from groups
