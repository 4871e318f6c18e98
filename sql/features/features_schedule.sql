-- Makes: features_schedule, whether the target brings more or less than usual of what a user likes.
-- Grain: snapshot; missing where the user has no value in the observation window.
-- From: features_shares, genre_schedule. For a category: (releases in the target / releases in usual weeks - 1) * the
-- user's share of it. In all: their sum; categories without a release in 13 weeks add nothing.
{% set materialized = "view" %}
with schedule as (
    select
        as_of_date,
{% for category in categories %}
        max(case when genre = '{{ category }}' then releases_relative - 1 end) as change_{{ category }}{{ "," if not loop.last }}
{% endfor %}
    from {{ ref('genre_schedule') }}
    group by as_of_date
),

matched as (
    select
        shares.user_id,
        shares.as_of_date,
{% for category in categories %}
        schedule.change_{{ category }} * shares.share_category_{{ category }} as schedule_match_{{ category }},
{% endfor %}
        shares.share_other_category
    from {{ ref('features_shares') }} as shares
    inner join schedule on shares.as_of_date = schedule.as_of_date
)

select
    user_id,
    as_of_date,
    case
        when share_other_category is not null
            then
{% for category in categories %}
                coalesce(schedule_match_{{ category }}, 0){{ " +" if not loop.last }}
{% endfor %}
    end as schedule_match,
{% for category in categories %}
    schedule_match_{{ category }}{{ "," if not loop.last }}
{% endfor %}
from matched
