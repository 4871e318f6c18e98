-- Makes: segments, how frequent a user each product's segmentation said a user was.
-- Grain: user, segmented product and date of the segmentation. Raw rows may repeat; of several segments the last by
-- name holds.
-- From: central_insights.sg10026_info_individual_alltime, where everybody is segmented on the same few dates. The texts
-- 'null', 'N/A', 'n/a' and '' mean missing.
{% from 'sources/bbc/texts.jinja' import day, day_text, known %}
with dates as (
    select distinct date_of_segmentation
    from central_insights.sg10026_info_individual_alltime
),

texts as (
    select
        date_of_segmentation,
        {{ day_text('date_of_segmentation') }} as segment_day
    from dates
),

days as (
    select
        date_of_segmentation,
        {{ day('segment_day') }} as segment_date
    from texts
),

segments as (
    select
        {{ known('raw.bbc_hid3') }} as user_id,
        lower({{ known('raw.product') }}) as segment_product,
        days.segment_date,
        {{ known('raw.segvalue') }} as segment
    from central_insights.sg10026_info_individual_alltime as raw
    inner join days on raw.date_of_segmentation = days.date_of_segmentation
)

select
    user_id,
    segment_product,
    segment_date,
    segment
from segments
where
    user_id is not null
    and segment_product is not null
    and segment_date is not null
    and segment is not null
