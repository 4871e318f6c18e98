-- Makes: features_newsletter, whether users get the newsletter on the as-of date, and since when.
-- Grain: snapshot; users who never chose by then are not there, and have missing values.
-- From: snapshots, newsletter. A choice holds until the day before the user's next one; of several on a day the last by
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
    snapshots.user_id,
    snapshots.as_of_date,
    cast(periods.opted_in as integer) as newsletter_opted_in,
    snapshots.as_of_date - periods.first_date as newsletter_days
from {{ ref('snapshots') }} as snapshots
inner join periods
    on
        snapshots.user_id = periods.user_id
        and snapshots.as_of_date >= periods.first_date
        and snapshots.as_of_date < periods.end_date
