-- Makes: features_activity, how much and how often in each observed week (2 = last, 14 = first).
-- Grain: snapshot.
-- From: eligible, user_week.
with weekly as (
    select
        eligible.user_id,
        eligible.as_of_date,
        (eligible.as_of_date - 6 - user_week.week_start) / 7 + 2 as week_offset,
        user_week.value,
        user_week.events,
{% if has_page_views %}
        coalesce(user_week.page_views, 0) as page_views,
{% endif %}
        user_week.active_days
    from {{ ref('eligible') }} as eligible
    inner join {{ ref('user_week') }} as user_week
        on
            eligible.user_id = user_week.user_id
            and user_week.week_start >= eligible.as_of_date - 90
            and user_week.week_start <= eligible.as_of_date - 6
),

pivoted as (
    select
        user_id,
        as_of_date,
{% for offset in observed_offsets %}
        sum(case when week_offset = {{ offset }} then value else 0 end) as value_w{{ offset }},
        sum(case when week_offset = {{ offset }} then events else 0 end) as events_w{{ offset }},
        sum(case when week_offset = {{ offset }} then active_days else 0 end) as days_w{{ offset }},
{% endfor %}
{% if has_page_views %}
        sum(case when week_offset = 2 then page_views else 0 end) as page_views_1w,
        sum(page_views) as page_views_13w,
{% endif %}
        sum(value) as value_13w,
        sum(events) as events_13w,
        sum(active_days) as days_13w,
        count(*) as active_weeks_13w,
        sum(case when week_offset <= 5 then 1 else 0 end) as active_weeks_4w
    from weekly
    group by user_id, as_of_date
)

select
    user_id,
    as_of_date,
{% for offset in observed_offsets %}
    value_w{{ offset }},
    events_w{{ offset }},
    days_w{{ offset }},
{% endfor %}
    value_13w,
    events_13w,
    days_13w,
    active_weeks_13w,
    value_w2 + value_w3 + value_w4 + value_w5 as value_4w,
    days_w2 + days_w3 + days_w4 + days_w5 as days_4w,
    active_weeks_4w,
{% if has_page_views %}
    page_views_1w,
    page_views_13w,
    cast(page_views_13w as double precision) / events_13w as page_views_per_event,
{% endif %}
    -- Habit: days of use, each week back counting for 0.7 of the week after it.
{% for offset in observed_offsets %}
    {{ "%.10f"|format(0.7 ** loop.index0) }} * cast(days_w{{ offset }} as double precision){{ " +" if not loop.last else " as habit_days," }}
{% endfor %}
    cast(value_w2 as double precision) * 13 / cast(nullif(value_13w, 0) as double precision) as value_last_to_mean,
    cast(days_w2 as double precision) * 13 / days_13w as days_last_to_mean
from pivoted
