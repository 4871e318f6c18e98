-- Makes: features_newsletter, whether users get the newsletter on the as-of date, and since when.
-- Grain: snapshot; users who have not chosen yet have no row, and missing values.
-- From: eligible, newsletter. A choice holds until the day before the user's next one. Of several on a day, the last by
-- state holds.
with periods as (
    select
        user_id,
        opted_in,
        changed_date as first_date,
        coalesce(
            lead(changed_date) over (partition by user_id order by changed_date, opted_in),
            cast('9999-12-31' as date)
        ) as end_date
    from {{ ref('newsletter') }}
)

select
    eligible.user_id,
    eligible.as_of_date,
    cast(periods.opted_in as integer) as newsletter_opted_in,
    eligible.as_of_date - periods.first_date as newsletter_days
from {{ ref('eligible') }} as eligible
inner join periods
    on
        eligible.user_id = periods.user_id
        and eligible.as_of_date >= periods.first_date
        and eligible.as_of_date < periods.end_date
