-- Step 2, Sounds only: kinds of audio.
{% from 'macros.jinja' import observed with context %}
{% set kinds = [
    ('live_radio', 'live radio', 'live and not mix'),
    ('demand_radio', 'on-demand radio', 'not live and not mix and not podcast and not sounds_podcast'),
    ('sounds_podcasts', 'Sounds podcasts', 'not live and not mix and sounds_podcast'),
    ('radio_podcasts', 'radio podcasts', 'not live and not mix and podcast and not sounds_podcast'),
    ('sounds_mixes', 'Sounds mixes', 'not live and mix'),
    ('linear_mixes', 'linear mixes', 'live and mix'),
] %}
with rows as (
    select
        s.user_id,
        s.as_of_date,
        a.activity_date,
        a.value,
        coalesce(a.is_live, 0) = 1 as live,
        coalesce(f.is_mix, 0) = 1 as mix,
        coalesce(f.is_podcast, 0) = 1 as podcast,
        coalesce(f.is_sounds_podcast, 0) = 1 as sounds_podcast
    {{ observed(product, "left join " ~ schema ~ ".formats as f on a.item_id = f.item_id") }}
        and a.item_id is not null
),

sums as (
    select
        user_id,
        as_of_date,
{% for name, _, condition in kinds %}
        coalesce(sum(value) filter ({{ condition }}), 0) as value_{{ name }},
        count(distinct activity_date) filter ({{ condition }}) as days_{{ name }},
{% endfor %}
        count(distinct activity_date) as days,
        sum(value) as value
    from rows
    group by user_id, as_of_date
)

select
    user_id,
    as_of_date,
{% for name, _, _ in kinds %}
    value_{{ name }} / nullif(value, 0) as share_listening_{{ name }},
    days_{{ name }} / days as share_days_listening_{{ name }},
{% endfor %}
    value_live_radio + value_demand_radio as radio,
    value_sounds_podcasts + value_radio_podcasts as podcasts,
    value_sounds_mixes + value_linear_mixes as mixes,
    case
        when value = 0 then null
        when radio >= podcasts and radio >= mixes then 'radio'
        when podcasts >= mixes then 'podcasts'
        else 'mixes'
    end as preferred_listening,
    case
        when value = 0 then null
{% for name, said, _ in kinds %}
        when value_{{ name }} = greatest({% for other, _, _ in kinds %}value_{{ other }}{{ ", " if not loop.last }}{% endfor %})
            then '{{ said }}'
{% endfor %}
    end as preferred_listening_type
from sums
