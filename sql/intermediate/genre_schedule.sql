-- Makes: genre_schedule, how much of each of the product's categories is published in the target.
-- Grain: as-of date and genre, for each pair of them. A release is an episode on a date.
-- From: content, eligible. Of later publications, only those of the target are read: they are known beforehand. The
-- catalogue does not tell products apart, so every product sees all of it.
with dates as (
    select distinct as_of_date from {{ ref('eligible') }}
),

genres as (
{% for category in categories %}
    select '{{ category }}' as genre, lower(:category_{{ category }}) as sought{{ " union all" if not loop.last }}
{% endfor %}
),

-- An episode may be of several genres: 'Comedy;Drama', or 'Comedy; Drama'.
episodes as (
    select
        published_date,
        item_id,
        ';' || replace(lower(genre), '; ', ';') || ';' as genre
    from {{ ref('content') }}
    where genre is not null
),

releases as (
    select
        genres.genre,
        episodes.published_date,
        count(distinct episodes.item_id) as releases
    from episodes
    inner join genres on position(genres.sought in episodes.genre) > 0
    group by genres.genre, episodes.published_date
),

windows as (
    select
        dates.as_of_date,
        genres.genre,
        sum(case when releases.published_date >= dates.as_of_date + {{ target_start_days }} then releases.releases else 0 end)
            as releases_target,
        cast(
            sum(case when releases.published_date <= dates.as_of_date then releases.releases else 0 end)
            as double precision
        ) / {{ observation_weeks }} as releases_weekly
    from dates
    cross join genres
    left join releases
        on
            genres.genre = releases.genre
            and releases.published_date >= dates.as_of_date - {{ window_start_days }}
            and releases.published_date <= dates.as_of_date + {{ target_end_days }}
    group by dates.as_of_date, genres.genre
)

select
    as_of_date,
    genre,
    releases_target,
    releases_weekly,
    cast(releases_target as double precision) / nullif(releases_weekly{{ " * " ~ target_weeks if target_weeks > 1 }}, 0) as releases_relative
from windows
