"""Scores into the warehouse, once: whole, checked, and never an older run over a newer one."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from churn.config import identifier
from churn.errors import CheckError, RunError
from churn.warehouse.base import Session, Warehouse
from churn.warehouse.render import render, sql_root

logger = logging.getLogger(__name__)

SCHEMA = "churn"
SCORES = "scores"
REASON_COLUMNS = ("reason_1", "reason_2", "reason_3")
SCORE_COLUMNS = (
    "user_id", "target_week_start_date", "learner_type", "learner_name", "predicted_probability",
    "optimal_threshold", "optimal_classification", "score_datetime", "product", "as_of", "run_id",
    "model_version", "margin", *REASON_COLUMNS,
)  # fmt: skip


@dataclass(frozen=True)
class Published:
    """What publishing did.

    Attributes:
        table: the table.
        rows: rows of this run that stand in it now.
        replaced: rows of the same product and target week that were there before.
        kept_newer: run id of a newer run that was left in place; then ``rows`` is 0.
    """

    table: str
    rows: int
    replaced: int
    kept_newer: str | None = None


def publish_scores(
    warehouse: Warehouse,
    paths: Sequence[str],
    *,
    product: str,
    target_week_start: date,
    run_id: str,
    started_at: datetime,
    rows: int,
    id_column: str = "user_id",
) -> Published:
    """Replace a product's and target week's scores by those of one run, in one transaction.

    Args:
        paths: the run's score files.
        started_at: the run's ``score_datetime``, in UTC where it names no time zone; a run that started later
            is never overwritten.
        rows: how many scores the run has.
        id_column: name of the user id column in the table.

    Raises:
        CheckError: the files hold other rows than they should; the table is as it was.
        RunError: the warehouse refused, or the table has another id column; the table is as it was.
    """
    table = f"{SCHEMA}.{SCORES}"
    staging = f"{SCHEMA}.{identifier('staging_' + run_id.replace('-', '_'))}"
    key: dict[str, Any] = {"product": product, "week": target_week_start}
    with warehouse.transaction() as session:
        session.execute(f"create schema if not exists {SCHEMA}")
        for name, id_name in ((table, identifier(id_column)), (staging, "user_id")):
            session.execute(_table_sql(warehouse, name, id_name))
        _fit_columns(session, table, id_column)
        standing = _fetch_one(
            warehouse,
            session,
            "select count(*) as rows_there, max(score_datetime) as latest, max(run_id) as run_id"
            f" from {table} where product = :product and target_week_start_date = :week",
            key,
        )
        naive = started_at.astimezone(UTC).replace(tzinfo=None) if started_at.tzinfo else started_at
        if standing["latest"] is not None and standing["latest"] > naive:
            session.execute(f"drop table {staging}")
            logger.warning(
                "%s: run %s is newer than %s and stays published", product, standing["run_id"], run_id
            )
            return Published(table, 0, 0, standing["run_id"])
        loaded = session.load_parquet(staging, paths, SCORE_COLUMNS)
        _check(warehouse, session, staging, loaded, rows, key | {"run_id": run_id})
        _run(
            warehouse,
            session,
            f"delete from {table} where product = :product and target_week_start_date = :week",
            key,
        )
        columns = ", ".join(SCORE_COLUMNS[1:])
        session.execute(
            f'insert into {table} ("{identifier(id_column)}", {columns})'
            f" select user_id, {columns} from {staging}"
        )
        session.execute(f"drop table {staging}")
    return Published(table, loaded, standing["rows_there"])


def _table_sql(warehouse: Warehouse, table: str, id_column: str) -> str:
    text = (sql_root() / "publish" / "scores.sql").read_text("utf-8")
    return render(text, {"table": table, "id_column": id_column}, {}, SCHEMA, warehouse.dialect).sql


def _fit_columns(session: Session, table: str, id_column: str) -> None:
    """Check a table's id column, and add the columns that a table of an earlier version lacks."""
    found = session.fetch(f"select * from {table} where 1 = 0").column_names
    if id_column not in found:
        raise RunError(
            f"{table} calls its id column {found[0]!r}, and the setting id_column says {id_column!r}: "
            "set it back, or rename the table's column first"
        )
    for name in REASON_COLUMNS:
        if name not in found:
            session.execute(f"alter table {table} add column {name} varchar(80)")


def _fetch_one(warehouse: Warehouse, session: Session, text: str, values: dict[str, Any]) -> dict[str, Any]:
    statement = render(text, {}, values, SCHEMA, warehouse.dialect)
    row: dict[str, Any] = session.fetch(statement.sql, statement.parameters).to_pylist()[0]
    return row


def _run(warehouse: Warehouse, session: Session, text: str, values: dict[str, Any]) -> None:
    statement = render(text, {}, values, SCHEMA, warehouse.dialect)
    session.execute(statement.sql, statement.parameters)


def _check(
    warehouse: Warehouse, session: Session, staging: str, loaded: int, expected: int, key: dict[str, Any]
) -> None:
    found = _fetch_one(
        warehouse,
        session,
        f"""
        select
            count(*) as rows_there,
            count(distinct user_id) as users,
            sum(case when predicted_probability between 0 and 1 then 0 else 1 end) as improbable,
            sum(case
                when product = :product and target_week_start_date = :week and run_id = :run_id then 0 else 1
            end) as foreign_rows
        from {staging}
        """,
        key,
    )
    failures = []
    if loaded != expected or found["rows_there"] != expected:
        failures.append(f"{found['rows_there']:,} rows were loaded, but the run scored {expected:,} users")
    if found["users"] != found["rows_there"]:
        failures.append(f"{found['rows_there'] - found['users']:,} users occur more than once")
    if found["improbable"]:
        failures.append(f"{int(found['improbable']):,} probabilities are not in [0, 1]")
    if found["foreign_rows"]:
        failures.append(f"{int(found['foreign_rows']):,} rows are of another product, target week or run")
    if failures:
        raise CheckError("publish", failures)
