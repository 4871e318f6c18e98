-- Makes: what the activity knows of one user: the last day with the product and with any product, and the value of the
-- product in the observation window.
-- Grain: one row.
-- From: the kept user_week of all products, up to the as-of date.
{% macro of_product() %}
{% if matches %}
product in ({% for match in matches %}:match_{{ match }}{{ ", " if not loop.last }}{% endfor %})
{% else %}
product is not null
{% endif %}
{% endmacro %}
select
    max(last_date) as last_with_any,
    max(case when {{ of_product() }} then last_date end) as last_date,
    sum(case
        when {{ of_product() }} and week_start >= cast(:as_of as date) - {{ window_start_days }} then value
    end) as value
from {{ kept('user_week') }}
where
    user_id = :user
    and week_start <= cast(:as_of as date) - {{ last_week_start_days }}
