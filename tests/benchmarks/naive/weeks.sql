-- Step 1: 15 weeks pivoted, of which the first two come after the as-of date.
with weekly as (
    select s.user_id, s.as_of_date, (s.as_of_date - 6 - w.week_start) // 7 + 2 as n, w.value, w.events, w.days, w.page_views
    from {{ schema }}.snapshots as s
    inner join {{ schema }}.target_weeks as w
        on s.user_id = w.user_id and w.week_start between s.as_of_date - 90 and s.as_of_date - 6
)

select
    user_id,
    as_of_date,
{% for n in offsets %}
    coalesce(sum(value) filter (n = {{ n }}), 0) as value_w{{ n }},
    coalesce(sum(events) filter (n = {{ n }}), 0) as events_w{{ n }},
    coalesce(sum(days) filter (n = {{ n }}), 0) as days_w{{ n }},
{% endfor %}
    coalesce(sum(page_views) filter (n = 2), 0) as page_views_1w,
    coalesce(sum(page_views), 0) as page_views_13w,
    sum(value) as value_13w,
    sum(events) as events_13w,
    sum(days) as days_13w,
    page_views_13w / events_13w as page_views_per_event,
    count(*) as active_weeks_13w,
    coalesce(sum(value) filter (n <= 5), 0) as value_4w,
    coalesce(sum(days) filter (n <= 5), 0) as days_4w,
    count(*) filter (n <= 5) as active_weeks_4w,
{% for n in offsets %}
    {{ "%.10f" | format(0.7 ** loop.index0) }} * days_w{{ n }}{{ " +" if not loop.last else " as habit_days," }}
{% endfor %}
    value_w2 * 13 / nullif(value_13w, 0) as value_last_to_mean,
    days_w2 * 13 / days_13w as days_last_to_mean
from weekly
group by user_id, as_of_date
