-- Makes: features_devices, on which of the product's devices a user played in the observation window.
-- Grain: snapshot; users without plays have missing shares.
-- From: window_sums. Shares are of all plays, also those on devices that the product does not list. A day with plays on
-- two devices counts for both. The preferred device has most value; the first listed wins a tie.
with most as (
    select
        user_id,
        as_of_date,
        greatest({% for device in devices %}value_device_{{ device }}{{ ", " if not loop.last }}{% endfor %}) as most_value,
{% for device in devices %}
        value_device_{{ device }},
        days_device_{{ device }},
{% endfor %}
        play_value,
        play_days
    from {{ ref('window_sums') }}
)

select
    user_id,
    as_of_date,
{% for device in devices %}
    case when days_device_{{ device }} > 0 then 1 else 0 end{{ " +" if not loop.last else " as devices_used," }}
{% endfor %}
    case
{% for device in devices %}
        when most_value > 0 and value_device_{{ device }} = most_value then cast(:device_{{ device }} as varchar(250))
{% endfor %}
    end as preferred_device,
{% for device in devices %}
    cast(value_device_{{ device }} as double precision) / cast(nullif(play_value, 0) as double precision)
        as share_device_{{ device }},
    cast(days_device_{{ device }} as double precision) / cast(nullif(play_days, 0) as double precision)
        as share_days_device_{{ device }}{{ "," if not loop.last }}
{% endfor %}
from most
