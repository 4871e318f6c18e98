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
),

-- Of what the versions say that are published by then, the most frequent; the first later ones where there are no others.
voted as (
    select
        d.as_of_date,
        t.content_id,
        t.genre,
        t.master_brand,
        row_number() over (
            partition by d.as_of_date, t.content_id
            order by
                case when t.published_date > d.as_of_date then t.published_date end nulls first,
                t.genre is null,
                t.master_brand is null,
                sum(t.versions) desc,
                t.genre,
                t.master_brand
        ) as place
    from (select distinct as_of_date from {{ schema }}.snapshots) as d
    cross join {{ schema }}.titles as t
    group by d.as_of_date, t.content_id, t.genre, t.master_brand, case when t.published_date > d.as_of_date then t.published_date end
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
left join voted as t on r.content_id = t.content_id and r.as_of_date = t.as_of_date and t.place = 1
left join {{ schema }}.factors as f on r.content_id = f.content_id and f.product = '{{ product }}'
where r.place = 1 and r.content_id is not null
