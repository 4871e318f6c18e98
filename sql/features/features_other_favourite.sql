-- Makes: features_other_favourite, the content of other products that a user gave the most value to in the observation window.
-- Grain: snapshot; users without such content have no row, and missing values.
-- From: eligible, the kept user_item_week, title_state.
{% from 'features/favourite.jinja' import favourites %}
{% set others %}
            and item_week.week_start >= cast(:first_new_date as date) - {{ window_start_days }}
            and item_week.product not in ({% for match in matches %}:match_{{ match }}{{ ", " if not loop.last }}{% endfor %})
{% endset %}
{{ favourites(ref('eligible'), kept('user_item_week'), others, value_type, window_start_days, last_week_start_days) }}

select
    favourites.user_id,
    favourites.as_of_date,
    titles.genre as other_favourite_genre,
    titles.master_brand as other_favourite_master_brand,
    favourites.favourite_share as other_favourite_share
from favourites
left join {{ ref('title_state') }} as titles
    on
        favourites.content_id = titles.content_id
        and favourites.as_of_date = titles.as_of_date
