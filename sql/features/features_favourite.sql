-- Makes: features_favourite, the content that a user gave the most value to in the observation window.
-- Grain: snapshot; users without content have no row, and missing values.
-- From: eligible, user_item_week, and title_state and factors if there are any. The first content id wins a tie.
with contents as (
    select
        eligible.user_id,
        eligible.as_of_date,
        item_week.content_id,
        cast(coalesce(sum(item_week.value), 0) as {{ value_type }}) as value
    from {{ ref('eligible') }} as eligible
    inner join {{ ref('user_item_week') }} as item_week
        on
            eligible.user_id = item_week.user_id
            and item_week.week_start >= eligible.as_of_date - {{ window_start_days }}
            and item_week.week_start <= eligible.as_of_date - {{ last_week_start_days }}
    group by eligible.user_id, eligible.as_of_date, item_week.content_id
),

totals as (
    select
        user_id,
        as_of_date,
        sum(value) as value,
        max(case when content_id is not null then value end) as most_value
    from contents
    group by user_id, as_of_date
),

favourites as (
    select
        contents.user_id,
        contents.as_of_date,
        min(contents.content_id) as content_id,
        cast(max(totals.most_value) as double precision) / cast(nullif(max(totals.value), 0) as double precision)
            as favourite_share
    from contents
    inner join totals
        on
            contents.user_id = totals.user_id
            and contents.as_of_date = totals.as_of_date
            and contents.value = totals.most_value
    where contents.content_id is not null
    group by contents.user_id, contents.as_of_date
){{ "," if factors }}

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
