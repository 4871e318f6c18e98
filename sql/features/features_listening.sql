-- Makes: features_listening, what kinds of audio a user listened to in the observation window.
-- Grain: snapshot; users without known items have missing values.
-- From: eligible, user_item_week, formats. Each second of an episode is of one kind; items without an episode id have none:
--   live_radio       live, and no music mix: a podcast heard while it is broadcast is radio
--   demand_radio     on demand, neither podcast nor mix
--   sounds_podcasts  on demand, a podcast made for Sounds
--   radio_podcasts   on demand, any other podcast: those of radio programmes
--   sounds_mixes     a mix, on demand
--   linear_mixes     a mix, live
-- A day with several kinds counts for each of them. The preferred kind has most value; the first listed wins a tie.
{% from 'aggregates/days.jinja' import day_count %}
{% set kinds = [
    ('live_radio', 'live radio', 'live', 'mix = 0'),
    ('demand_radio', 'on-demand radio', 'demand', 'mix = 0 and podcast = 0 and sounds_podcast = 0'),
    ('sounds_podcasts', 'Sounds podcasts', 'demand', 'mix = 0 and sounds_podcast = 1'),
    ('radio_podcasts', 'radio podcasts', 'demand', 'mix = 0 and podcast = 1 and sounds_podcast = 0'),
    ('sounds_mixes', 'Sounds mixes', 'demand', 'mix = 1'),
    ('linear_mixes', 'linear mixes', 'live', 'mix = 1'),
] %}
with heard as (
    select
        item_week.user_id,
        item_week.week_start,
        coalesce(item_week.live_value, 0) as live_value,
        coalesce(item_week.value, 0) - coalesce(item_week.live_value, 0) as demand_value,
        item_week.live_days,
        item_week.demand_days,
        coalesce(formats.is_mix, 0) as mix,
        coalesce(formats.is_podcast, 0) as podcast,
        coalesce(formats.is_sounds_podcast, 0) as sounds_podcast
    from {{ ref('user_item_week') }} as item_week
    left join {{ ref('formats') }} as formats on item_week.item_id = formats.item_id
    where item_week.week_start >= (select min(as_of_date) - {{ window_start_days }} from {{ ref('eligible') }})
),

-- Summed by week first: windows of neighbouring dates share most weeks.
weekly as (
    select
        user_id,
        week_start,
        bit_or(live_days | demand_days) as days,
{% for kind, _, way, condition in kinds %}
        sum(case when {{ condition }} then {{ way }}_value else 0 end) as value_{{ kind }},
        bit_or(case when {{ condition }} then {{ way }}_days else 0 end) as days_{{ kind }}{{ "," if not loop.last }}
{% endfor %}
    from heard
    group by user_id, week_start
),

counted as (
    select
        user_id,
        week_start,
        {{ day_count('days') }} as days,
{% for kind, _, _, _ in kinds %}
        value_{{ kind }},
        {{ day_count('days_' ~ kind) }} as days_{{ kind }}{{ "," if not loop.last }}
{% endfor %}
    from weekly
),

sums as (
    select
        eligible.user_id,
        eligible.as_of_date,
{% for kind, _, _, _ in kinds %}
        sum(counted.value_{{ kind }}) as value_{{ kind }},
        sum(counted.days_{{ kind }}) as days_{{ kind }},
{% endfor %}
        sum(counted.days) as days
    from {{ ref('eligible') }} as eligible
    inner join counted
        on
            eligible.user_id = counted.user_id
            and counted.week_start >= eligible.as_of_date - {{ window_start_days }}
            and counted.week_start <= eligible.as_of_date - {{ last_week_start_days }}
    group by eligible.user_id, eligible.as_of_date
),

most as (
    select
        user_id,
        as_of_date,
        days,
{% for kind, _, _, _ in kinds %}
        value_{{ kind }},
        days_{{ kind }},
{% endfor %}
        value_live_radio + value_demand_radio as value_radio,
        value_sounds_podcasts + value_radio_podcasts as value_podcasts,
        value_sounds_mixes + value_linear_mixes as value_mixes,
        nullif(
            {% for kind, _, _, _ in kinds %}value_{{ kind }}{{ " + " if not loop.last }}{% endfor %}, 0
        ) as value,
        nullif(greatest({% for kind, _, _, _ in kinds %}value_{{ kind }}{{ ", " if not loop.last }}{% endfor %}), 0)
            as most_value
    from sums
)

select
    user_id,
    as_of_date,
{% for kind, _, _, _ in kinds %}
    cast(value_{{ kind }} as double precision) / cast(value as double precision) as share_listening_{{ kind }},
    cast(days_{{ kind }} as double precision) / cast(nullif(days, 0) as double precision)
        as share_days_listening_{{ kind }},
{% endfor %}
    case
        when value is null then null
        when value_radio >= value_podcasts and value_radio >= value_mixes then 'radio'
        when value_podcasts >= value_mixes then 'podcasts'
        else 'mixes'
    end as preferred_listening,
    case
{% for kind, name, _, _ in kinds %}
        when value_{{ kind }} = most_value then '{{ name }}'
{% endfor %}
    end as preferred_listening_type
from most
