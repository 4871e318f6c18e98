-- Step 7: plays of three minutes or more by device.
{% from 'macros.jinja' import observed with context %}
with sums as (
    select
        s.user_id,
        s.as_of_date,
{% for name, value in devices.items() %}
        coalesce(sum(a.value) filter (a.device = '{{ value }}'), 0) as value_{{ name }},
        count(distinct a.activity_date) filter (a.device = '{{ value }}') as days_{{ name }},
{% endfor %}
        sum(a.value) as value,
        count(distinct a.activity_date) as days
    {{ observed(product) }}
        and a.is_play = 1
    group by s.user_id, s.as_of_date
)

select
    s.user_id,
    s.as_of_date,
{% for name in devices %}
    value_{{ name }} / nullif(value, 0) as share_device_{{ name }},
    days_{{ name }} / nullif(days, 0) as share_days_device_{{ name }},
{% endfor %}
{% for name in devices %}
    coalesce(cast(days_{{ name }} > 0 as integer), 0){{ " +" if not loop.last }}
{% endfor %}
        as devices_used,
    case
{% for name, value in devices.items() %}
        when value_{{ name }} > 0
            and value_{{ name }} = greatest({% for other in devices %}value_{{ other }}{{ ", " if not loop.last }}{% endfor %})
            then '{{ value }}'
{% endfor %}
    end as preferred_device
from {{ schema }}.snapshots as s
left join sums on s.user_id = sums.user_id and s.as_of_date = sums.as_of_date
