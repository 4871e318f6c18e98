-- Makes: segments, how frequent a user each product's segmentation said that somebody was.
-- Grain: user, segmented product and date of the segmentation; of several segments the last by name holds.
-- From: central_insights.sg10026_info_individual_alltime. The texts 'null', 'N/A', 'n/a' and '' mean missing.
{% from 'sources/bbc/texts.jinja' import day, day_text, known %}
with texts as (
    select
        {{ known('bbc_hid3') }} as user_id,
        lower({{ known('product') }}) as segment_product,
        {{ day_text('date_of_segmentation') }} as segment_day,
        {{ known('segvalue') }} as segment
    from central_insights.sg10026_info_individual_alltime
),

dated as (
    select
        user_id,
        segment_product,
        {{ day('segment_day') }} as segment_date,
        segment
    from texts
)

select
    user_id,
    segment_product,
    segment_date,
    max(segment) as segment
from dated
where
    user_id is not null
    and segment_product is not null
    and segment_date is not null
    and segment is not null
group by user_id, segment_product, segment_date
