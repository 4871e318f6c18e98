-- Makes: factors, a recommender's item factors: ten of iPlayer, twenty of Sounds.
-- Grain: product and content. Of several rows of a content id, one whole row holds.
-- From: central_insights_sandbox.dh_iplayer_item_matrix_enriched, central_insights_sandbox.dh_sounds_item_matrix_enriched.
{% from 'sources/bbc/texts.jinja' import known %}
with items as (
    select
        'iplayer' as product,
        {{ known('content_id') }} as content_id,
{% for factor in range(20) %}
        cast({{ "f" ~ factor if factor < 10 else "null" }} as double precision) as f{{ factor }}{{ "," if not loop.last }}
{% endfor %}
    from central_insights_sandbox.dh_iplayer_item_matrix_enriched
    union all
    select
        'sounds' as product,
        {{ known('content_id') }} as content_id,
{% for factor in range(20) %}
        cast(f{{ factor }} as double precision) as f{{ factor }}{{ "," if not loop.last }}
{% endfor %}
    from central_insights_sandbox.dh_sounds_item_matrix_enriched
),

placed as (
    select
        product,
        content_id,
{% for factor in range(20) %}
        f{{ factor }},
{% endfor %}
        row_number() over (
            partition by product, content_id
            order by {% for factor in range(20) %}f{{ factor }}{{ ", " if not loop.last }}{% endfor %}
        ) as place
    from items
    where content_id is not null
)

select
    product,
    content_id,
{% for factor in range(20) %}
    f{{ factor }}{{ "," if not loop.last }}
{% endfor %}
from placed
where place = 1
