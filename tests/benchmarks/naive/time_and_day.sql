-- Step 11: shares of value by part of the day and by weekday.
{% from 'macros.jinja' import observed with context %}
select
    s.user_id,
    s.as_of_date,
{% for name, first, last in dayparts %}
    coalesce(sum(a.value) filter (extract(hour from a.occurred_at) between {{ first }} and {{ last }}), 0)
        / nullif(sum(a.value), 0) as share_daypart_{{ name }},
{% endfor %}
{% for name in weekdays %}
    coalesce(sum(a.value) filter (extract(dow from a.activity_date) = {{ loop.index0 }}), 0)
        / nullif(sum(a.value), 0) as share_weekday_{{ name }}{{ "," if not loop.last }}
{% endfor %}
{{ observed(product) }}
group by s.user_id, s.as_of_date
