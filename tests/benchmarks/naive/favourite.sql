-- Step 8: the favourite content, what it is, and its item factors.
{% from 'macros.jinja' import observed with context %}
with contents as (
    select s.user_id, s.as_of_date, a.content_id, sum(a.value) as value
    {{ observed(product) }}
        and a.item_id is not null
    group by s.user_id, s.as_of_date, a.content_id
),

ranked as (
    select
        *,
        row_number() over (
            partition by user_id, as_of_date order by content_id is null, value desc, content_id
        ) as place,
        sum(value) over (partition by user_id, as_of_date) as total
    from contents
)

select
    r.user_id,
    r.as_of_date,
    r.value / nullif(r.total, 0) as favourite_share,
    t.genre as favourite_genre,
    t.master_brand as favourite_master_brand,
{% for n in range(factors) %}
    f.f{{ n }} as favourite_f{{ n }}{{ "," if not loop.last }}
{% endfor %}
from ranked as r
left join {{ schema }}.titles as t on r.content_id = t.content_id
left join {{ schema }}.factors as f on r.content_id = f.content_id and f.product = '{{ product }}'
where r.place = 1 and r.content_id is not null
