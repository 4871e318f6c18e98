-- Makes: features_favourite, the content that a user gave the most value to in the observation window.
-- Grain: snapshot; users without content have no row, and missing values.
-- From: eligible, user_item_week, and title_state and factors if there are any. The first content id wins a tie.
{% from 'features/favourite.jinja' import favourites %}
{{ favourites(ref('eligible'), ref('user_item_week'), "", value_type, window_start_days, last_week_start_days) -}}
{{ "," if factors }}

{% if factors %}
items as (
    select
        content_id,
{% for factor in factors %}
        f{{ factor }},
{% endfor %}
        row_number() over (partition by content_id order by product) as place
    from {{ ref('factors') }}
{% if matches %}
    where product in ({% for match in matches %}:match_{{ match }}{{ ", " if not loop.last }}{% endfor %})
{% endif %}
)

{% endif %}
select
    favourites.user_id,
    favourites.as_of_date,
{% if has_titles %}
    titles.genre as favourite_genre,
    titles.master_brand as favourite_master_brand,
{% endif %}
{% for factor in factors %}
    items.f{{ factor }} as favourite_f{{ factor }},
{% endfor %}
    favourites.favourite_share
from favourites
{% if has_titles %}
left join {{ ref('title_state') }} as titles
    on
        favourites.content_id = titles.content_id
        and favourites.as_of_date = titles.as_of_date
{% endif %}
{% if factors %}
left join items on favourites.content_id = items.content_id and items.place = 1
{% endif %}
