-- Makes: features_mails, how often users opened e-mails and clicked in them.
-- Grain: snapshot; 0 for users who did not.
-- From: eligible, mails. A mailing counts once on each day on which it was opened.
select
    eligible.user_id,
    eligible.as_of_date,
{% for kind in ('open', 'click') %}
    count(case when mails.kind = '{{ kind }}' and mails.mail_date >= eligible.as_of_date - {{ last_week_start_days }} then 1 end)
        as mail_{{ kind }}s_1w,
    count(case when mails.kind = '{{ kind }}' then 1 end) as mail_{{ kind }}s_13w{{ "," if not loop.last }}
{% endfor %}
from {{ ref('eligible') }} as eligible
left join {{ ref('mails') }} as mails
    on
        eligible.user_id = mails.user_id
        and mails.mail_date <= eligible.as_of_date
        and mails.mail_date >= eligible.as_of_date - {{ window_start_days }}
group by eligible.user_id, eligible.as_of_date
