-- Makes: title_state, the genre and station of each programme, as known on each as-of date.
-- Grain: as-of date and content.
-- From: titles, eligible. The most frequent genre and station of a programme's versions hold; a missing one holds only
-- where none is known. Versions published later count only where there are no others, and then the first of them:
-- users know what they use already. Versions without a date always count.
with dates as (
    select distinct as_of_date from {{ ref('eligible') }}
),

known as (
    select
        dates.as_of_date,
        titles.content_id,
        titles.genre,
        titles.master_brand,
        titles.versions,
        -- Null for what is published by then.
        case when titles.published_date > dates.as_of_date then titles.published_date end as coming_date
    from dates
    cross join {{ ref('titles') }} as titles
),

counted as (
    select
        as_of_date,
        content_id,
        genre,
        master_brand,
        row_number() over (
            partition by as_of_date, content_id
            order by
                case when coming_date is null then 0 else 1 end,
                coming_date,
                case when genre is null then 1 else 0 end,
                case when master_brand is null then 1 else 0 end,
                sum(versions) desc,
                genre,
                master_brand
        ) as place
    from known
    group by as_of_date, content_id, genre, master_brand, coming_date
)

select
    as_of_date,
    content_id,
    genre,
    master_brand
from counted
where place = 1
