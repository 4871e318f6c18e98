"""Columns of a log beyond the contract that become features: kept in the table, with the SQL that reads them.

A number gives its mean over the events of 13 weeks, a text its value at the last of them. The SQL and the
catalogue entries are written into the data folder's ``features/``, where their owner can change them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from churn.config.own_features import FOLDER
from churn.core.errors import UsageError
from churn.core.names import slug
from churn.sources.ingest.columns import is_nested
from churn.sources.ingest.engine import identifier
from churn.sources.ingest.log import Log
from churn.sources.ingest.rules import blank_sql

_OF_PRODUCT = """{% if matches %}
        and activity.product in (
            {%- for match in matches %}:match_{{ match }}{{ ", " if not loop.last }}{% endfor %})
{% endif %}"""
_JOIN = """from {{ ref('eligible') }} as eligible
inner join events.activity as activity
    on
        eligible.user_id = activity.user_id
        and activity.occurred_at < eligible.as_of_date + 1
        and activity.occurred_at >= eligible.as_of_date - 90"""
_NUMBER = """-- Makes: {step}, the mean of the log's column {column} over the events of 13 weeks.
-- Grain: snapshot; users without a value have no row.
-- From: eligible, events.activity, which `churn ingest --feature` gave the column.
select
    eligible.user_id,
    eligible.as_of_date,
    avg(activity.{kept}) as {feature}
{join}
        and activity.{kept} is not null
{of_product}
group by eligible.user_id, eligible.as_of_date
"""
_TEXT = """-- Makes: {step}, the log's column {column} at the last event of 13 weeks that has it.
-- Grain: snapshot; users without a value have no row.
-- From: eligible, events.activity, which `churn ingest --feature` gave the column.
with ranked as (
    select
        eligible.user_id,
        eligible.as_of_date,
        activity.{kept} as {feature},
        row_number() over (
            partition by eligible.user_id, eligible.as_of_date
            order by activity.occurred_at desc, activity.{kept}
        ) as place
    {join}
        and activity.{kept} is not null
{of_product}
)

select
    user_id,
    as_of_date,
    {feature}
from ranked
where place = 1
"""


@dataclass(frozen=True)
class Extra:
    """One column of a log that becomes a feature.

    Attributes:
        column: the log's column.
        name: the name of its files in ``features/``.
        is_number: whether every value is a number.
    """

    column: str
    name: str
    is_number: bool

    @property
    def kept(self) -> str:
        """Its name in the table ``events.activity``."""
        return f"own_{self.name}"

    @property
    def feature(self) -> str:
        """The feature's name."""
        return f"{self.name}_mean_13w" if self.is_number else f"{self.name}_last"

    def sql(self, log: Log) -> str:
        """Return SQL that reads the column as it is kept: a number or a text, null where it is blank."""
        kind = "DOUBLE" if self.is_number else "VARCHAR"
        text = f"CAST({identifier(self.column)} AS VARCHAR)"
        return f"CASE WHEN NOT {blank_sql(log, self.column)} THEN CAST(left(trim({text}), 250) AS {kind}) END"

    def write(self, stage: Path) -> None:
        """Write the feature's SQL and its catalogue entry into a data folder."""
        folder = stage / FOLDER
        folder.mkdir(exist_ok=True)
        column = " ".join(self.column.split())
        text = (_NUMBER if self.is_number else _TEXT).format(
            step=self.kept,
            column=column,
            kept=self.kept,
            feature=self.feature,
            join=_JOIN,
            of_product=_OF_PRODUCT,
        )
        what = f"mean of {column} in 13 weeks" if self.is_number else f"{column} at the last event"
        entry = f"[columns.{self.feature}]\nmeaning = {json.dumps(what, ensure_ascii=False)}\n"
        entry += 'type = "number"\n' if self.is_number else 'type = "text"\n'
        (folder / f"{self.name}.sql").write_text(text, "utf-8")
        (folder / f"{self.name}.toml").write_text(entry, "utf-8")


def check_extra_columns(log: Log, columns: Sequence[str], used: Mapping[str, str]) -> None:
    """Refuse columns that cannot become features.

    Raises:
        UsageError: the log has no such column, it holds lists or records, or it is read as another one.
    """
    faults = []
    for column in columns:
        if column not in log.columns:
            faults.append(f"{column!r} is no column of the log: it has {', '.join(list(log.columns)[:30])}")
        elif is_nested(log.columns[column]):
            faults.append(f"{column!r} holds lists or records ({log.columns[column]}): name a path into it")
        elif column in (used.get("user_id"), used.get("occurred_at")):
            faults.append(f"{column!r} is read as the user id or the time: it cannot be a feature too")
    names = [slug(column) for column in columns]
    faults += [
        f"two columns would both be named {name}" for name in sorted({n for n in names if names.count(n) > 1})
    ]
    if faults:
        raise UsageError("--feature: " + "; ".join(faults))


def extra_columns(con: Any, log: Log, columns: Sequence[str]) -> list[Extra]:
    """Return the columns with their kinds: a column is a number if every value that is not blank is one."""
    extras = []
    for column in columns:
        text = f"trim(CAST({identifier(column)} AS VARCHAR))"
        number = f"TRY_CAST({text} AS DOUBLE)"
        present = f"NOT {blank_sql(log, column)}"
        texts, numbers = con.execute(
            f"SELECT count(*) FILTER ({present} AND NOT coalesce(isfinite({number}), false)), "
            f"count(*) FILTER ({present}) FROM {log.scan}"
        ).fetchone()
        extras.append(Extra(column, slug(column), bool(numbers and not texts)))
    return extras
