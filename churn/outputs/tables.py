"""Publish a run's scores and reasons to the warehouse: complete, checked, and never over a newer run.

Everything happens in one transaction, so a failure leaves the old rows and no staging table. The embedded
warehouse needs no staging table: a view of the files is checked and then inserted from. The first statement
locks ``churn.published``, the record of which run is published. Publishers wait for each other there; readers
of the scores never wait.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from churn.core.datasets import REASONS, SCORES, RunDataset
from churn.core.errors import CheckError
from churn.core.names import identifier
from churn.outputs import migrations
from churn.warehouse.base import Session, Warehouse
from churn.warehouse.retries import retry_transaction
from churn.warehouse.templates import render, sql_root

logger = logging.getLogger(__name__)

_LONGEST_VALUE = 250  # characters, of up to four bytes
_KEY = "product = :product and target_week_start_date = :week"


@dataclass(frozen=True)
class Published:
    """What publishing changed.

    Attributes:
        table: the table of scores.
        rows: scores of this run that the table now holds.
        replaced: earlier scores of the same product and target week that were deleted.
        newer_run: id of a newer run that stays published; then ``rows`` is 0.
        reasons: reasons of this run that ``churn.reasons`` now holds.
    """

    table: str
    rows: int
    replaced: int
    newer_run: str | None = None
    reasons: int = 0


@dataclass(frozen=True)
class _Publication:
    """One run's files and what they must hold."""

    scores: tuple[str, ...]
    reasons: tuple[str, ...] | None
    rows: int
    started_at: datetime
    id_column: str
    key: dict[str, Any]
    scratch: str | None

    @property
    def run_id(self) -> str:
        return str(self.key["run_id"])

    def staging(self, what: str) -> str:
        return f"{migrations.SCHEMA}.{identifier(f'staging_{what}_' + self.run_id.replace('-', '_'))}"


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
    reason_paths: Sequence[str] | None = None,
    auto_migrate: bool | None = None,
    scratch: str | None = None,
) -> Published:
    """Replace the scores and reasons of a product and target week by one run's, in one transaction.

    Args:
        warehouse: where to publish.
        paths: the run's score files.
        product: the product.
        target_week_start: the target week's Monday.
        run_id: the run.
        started_at: the run's ``score_datetime``; without a time zone it is UTC. A run that started later is
            never overwritten; of two that started together, the id that sorts last counts as later.
        rows: number of scores in the run.
        id_column: name of the user id column in the tables.
        reason_paths: the run's reason files; ``None`` publishes no reasons and deletes those of the replaced
            run.
        auto_migrate: whether to migrate the tables first; by default in the embedded warehouse only.
        scratch: folder for a temporary file that the warehouse may need; by default that of the files.

    Raises:
        CheckError: the files do not hold the expected rows; the tables are unchanged.
        RunError: the warehouse refused, the tables have another id column, or migrations are pending; the
            rows are unchanged.
        SerialisationError: every attempt conflicted with other transactions; the rows are unchanged.
        LostConnectionError: the connection was lost each time; the rows are either the old or the new ones.
    """
    naive = started_at.astimezone(UTC).replace(tzinfo=None) if started_at.tzinfo else started_at
    publication = _Publication(
        scores=tuple(paths),
        reasons=None if reason_paths is None else tuple(reason_paths),
        rows=rows,
        started_at=naive,
        id_column=identifier(id_column),
        key={"product": product, "week": target_week_start, "run_id": run_id},
        scratch=scratch,
    )
    publication.staging(REASONS.name)  # refuses a run id that cannot be part of a table name
    migrations.ensure_current(warehouse, id_column, auto_migrate)
    return retry_transaction(
        lambda: _Transaction(warehouse, publication).run(), f"publishing run {run_id} of {product}"
    )


class _Transaction:
    """One attempt to publish."""

    def __init__(self, warehouse: Warehouse, publication: _Publication) -> None:
        self.warehouse = warehouse
        self.publication = publication
        self.staged_scores = publication.staging(SCORES.name)
        self.staged_reasons = publication.staging(REASONS.name)
        self.staged_kind = "table"

    def run(self) -> Published:
        with self.warehouse.transaction() as session:
            session.lock(migrations.PUBLISHED)
            newer = self._newer(session)
            if newer is not None:
                logger.warning(
                    "%s: run %s is newer than %s and stays published",
                    migrations.SCORES,
                    newer,
                    self.publication.run_id,
                )
                return Published(migrations.SCORES, 0, 0, newer)
            model_version = self._stage_scores(session)
            reasons = self._stage_reasons(session)
            replaced = self._replace(session, reasons)
            self._record(session, model_version, reasons)
        return Published(migrations.SCORES, self.publication.rows, replaced, reasons=reasons)

    def _newer(self, session: Session) -> str | None:
        """Return the id of the published run if it is newer than this one."""
        text = f"select run_id, score_datetime from {migrations.PUBLISHED} where {_KEY}"
        for row in self._fetch(session, text):
            if (row["score_datetime"], row["run_id"]) > (
                self.publication.started_at,
                self.publication.run_id,
            ):
                return str(row["run_id"])
        return None

    def _stage_scores(self, session: Session) -> str | None:
        """Load and check the scores; return their model version."""
        names = {"staging": self.staged_scores}
        loaded = self._stage(session, SCORES, self.publication.scores)
        (counts,) = self._fetch(
            session, _text("check_scores"), {**names, "required": SCORES.required_columns}
        )
        failures = [
            *_score_failures(counts, loaded, self.publication.rows),
            *_nulls(counts, SCORES.required_columns),
        ]
        if failures:
            raise CheckError("publish", failures)
        return None if counts["model_version"] is None else str(counts["model_version"])

    def _stage_reasons(self, session: Session) -> int:
        """Load and check the reasons, if there are any to publish; return their number."""
        if self.publication.reasons is None:
            return 0
        names = {
            "staging": self.staged_reasons,
            "scores": self.staged_scores,
            "required": REASONS.required_columns,
        }
        loaded = self._stage(session, REASONS, self.publication.reasons)
        (counts,) = self._fetch(session, _text("check_reasons"), names)
        failures = [
            *_reason_failures(counts, loaded, self.publication.rows),
            *_nulls(counts, REASONS.required_columns),
        ]
        if failures:
            raise CheckError("publish reasons", failures)
        return int(counts["staged"])

    def _stage(self, session: Session, dataset: RunDataset, paths: Sequence[str]) -> int | None:
        """Let SQL read a run's files; return the rows loaded, or None where they stay in the files."""
        staging, columns = self.publication.staging(dataset.name), dataset.column_names
        view = self.warehouse.view_on_files(staging, paths, columns)
        self.staged_kind = "table" if view is None else "view"
        if view is not None:
            session.execute(view)
            return None
        self._execute(session, _text(f"staging_{dataset.name}"), {"staging": staging})
        return session.load_parquet(staging, paths, columns, scratch=self.publication.scratch)

    def _replace(self, session: Session, reasons: int) -> int:
        """Replace the published rows by the staged ones; return how many scores were deleted."""
        replaced = self._execute(session, f"delete from {migrations.SCORES} where {_KEY}")
        self._execute(session, f"delete from {migrations.REASONS} where {_KEY}")
        columns = ", ".join(SCORES.column_names[1:])
        inserted = self._execute(
            session,
            f'insert into {migrations.SCORES} ("{self.publication.id_column}", {columns})'
            f" select user_id, {columns} from {self.staged_scores}",
        )
        _check_inserted(migrations.SCORES, inserted, self.publication.rows)
        if self.publication.reasons is not None:
            inserted = self._execute(
                session,
                f"""
                insert into {migrations.REASONS} (
                    "{self.publication.id_column}", product, target_week_start_date, "rank", feature, "value",
                    contribution, run_id
                )
                select
                    user_id, cast(:product as varchar(63)), cast(:week as date), "rank", feature,
                    substring("value", 1, {_LONGEST_VALUE}), contribution, cast(:run_id as varchar(63))
                from {self.staged_reasons}
                """,
            )
            _check_inserted(migrations.REASONS, inserted, reasons)
            self._execute(session, f"drop {self.staged_kind} {self.staged_reasons}")
        self._execute(session, f"drop {self.staged_kind} {self.staged_scores}")
        return replaced

    def _record(self, session: Session, model_version: str | None, reasons: int) -> None:
        """Record which run is published now."""
        self._execute(session, f"delete from {migrations.PUBLISHED} where {_KEY}")
        self._execute(
            session,
            f"""
            insert into {migrations.PUBLISHED} (
                product, target_week_start_date, run_id, score_datetime, model_version, score_rows,
                reason_rows, published_at
            )
            values (:product, :week, :run_id, :started_at, :model_version, :scores, :reasons, :now)
            """,
            values={
                "started_at": self.publication.started_at,
                "model_version": model_version,
                "scores": self.publication.rows,
                "reasons": reasons,
                "now": datetime.now(UTC).replace(tzinfo=None),
            },
        )

    def _execute(
        self,
        session: Session,
        text: str,
        names: dict[str, Any] | None = None,
        values: dict[str, Any] | None = None,
    ) -> int:
        parameters = self.publication.key | (values or {})
        statement = render(text, names or {}, parameters, migrations.SCHEMA, self.warehouse.dialect)
        return session.execute(statement.sql, statement.parameters)

    def _fetch(
        self, session: Session, text: str, names: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        statement = render(text, names or {}, self.publication.key, migrations.SCHEMA, self.warehouse.dialect)
        rows: list[dict[str, Any]] = session.fetch(statement.sql, statement.parameters).to_pylist()
        return rows


def _text(name: str) -> str:
    return (sql_root() / "publish" / f"{name}.sql").read_text("utf-8")


def _check_inserted(table: str, inserted: int, checked: int) -> None:
    """Check the number of inserted rows, which a warehouse may report as 0."""
    if inserted not in (0, checked):
        raise CheckError("publish", [f"{inserted:,} rows went into {table}, but {checked:,} were checked"])


def _nulls(counts: dict[str, Any], required: Sequence[str]) -> Iterator[str]:
    for column in required:
        if count := int(counts[f"no_{column}"] or 0):
            yield f"{count:,} rows have no {column}"


def _score_failures(counts: dict[str, Any], loaded: int | None, expected: int) -> Iterator[str]:
    if loaded not in (None, expected) or counts["staged"] != expected:
        yield f"{counts['staged']:,} rows were loaded, but the run scored {expected:,} users"
    if counts["repeated"]:
        yield f"{counts['repeated']:,} users occur more than once"
    if counts["models"] > 1:
        yield f"the scores are of {counts['models']} model versions"
    for name, fault in (
        ("improbable", "probabilities are not in [0, 1]"),
        ("unclassified", "classifications are neither 0 nor 1"),
        ("foreign_rows", "rows are of another product, target week or run"),
    ):
        if count := int(counts[name] or 0):
            yield f"{count:,} {fault}"


def _reason_failures(counts: dict[str, Any], loaded: int | None, users: int) -> Iterator[str]:
    """Yield faults: each scored user needs the same number of reasons, ranked from 1."""
    staged, ranks = int(counts["staged"] or 0), int(counts["ranks"] or 0)
    if loaded not in (None, staged) or staged != users * ranks or counts["users"] != users:
        yield (
            f"{staged:,} reasons of {counts['users']:,} users were loaded, but the run scored {users:,} users"
            f" and has {ranks} reasons of each"
        )
    for name, fault in (
        ("misnumbered", f"users do not have each rank from 1 to {ranks} once"),
        ("strangers", "reasons are of users who were not scored"),
        ("infinite", "contributions are not finite numbers"),
    ):
        if count := int(counts[name] or 0):
            yield f"{count:,} {fault}"
