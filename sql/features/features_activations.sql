-- Makes: features_activations, when users came to the product, or last came back after 13 weeks away, and for what.
-- Grain: snapshot; users without a known activation have no row, and missing values.
-- From: eligible, activations, and title_state if there is one. An activation is known when its week is over, and holds
-- until the next one is known. Of several in a week, the last by product and content id holds.
with periods as (
    select
        user_id,
        week_start,
        content_id,
        week_start + {{ week_end_days }} as first_date,
        coalesce(
            lead(week_start) over (
                partition by user_id
                order by week_start, case when content_id is null then 0 else 1 end, product, content_id
            ) + {{ week_end_days }},
            cast('9999-12-31' as date)
        ) as end_date
    from {{ ref('activations') }}
{% if matches %}
    where product in ({% for match in matches %}:match_{{ match }}{{ ", " if not loop.last }}{% endfor %})
{% endif %}
)

select
    eligible.user_id,
    eligible.as_of_date,
{% if has_titles %}
    titles.genre as activation_genre,
    titles.master_brand as activation_master_brand,
{% endif %}
    (eligible.as_of_date - periods.first_date) / 7 as activation_weeks
from {{ ref('eligible') }} as eligible
inner join periods
    on
        eligible.user_id = periods.user_id
        and eligible.as_of_date >= periods.first_date
        and eligible.as_of_date < periods.end_date
{% if has_titles %}
left join {{ ref('title_state') }} as titles
    on
        periods.content_id = titles.content_id
        and eligible.as_of_date = titles.as_of_date
{% endif %}
