"""Publish a run's scores and reasons to the warehouse: complete, checked, and never over a newer run.

Everything happens in one transaction, so a failure leaves the old rows and no staging table. The embedded
warehouse needs no staging table: a view of the files is checked and then inserted from. The first statement
locks ``churn.published``, the record of which run is published. Publishers wait for each other there; readers
of the scores never wait.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import pyarrow.parquet as pq
from fsspec.core import url_to_fs

from churn.core.clock import is_to_come
from churn.core.datasets import LEARNER_SCORES, REASONS, SCORES, RunDataset
from churn.core.errors import CheckError
from churn.core.io_errors import storage_errors
from churn.core.names import identifier
from churn.outputs import migrations
from churn.warehouse.base import Session, Warehouse
from churn.warehouse.retries import retry_transaction
from churn.warehouse.templates import render, sql_root

logger = logging.getLogger(__name__)

_LONGEST_VALUE = 250  # characters, of up to four bytes
_KEY = "product = :product and target_week_start_date = :week"
_Names = Mapping[str, Any]
_NONE: _Names = {}


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
    learner_paths: Sequence[str] = (),
    scratch: str | None = None,
) -> Published:
    """Replace the scores and reasons of a product and target week by one run's, in one transaction.

    Args:
        paths: the run's score files.
        target_week_start: the target week's Monday.
        started_at: the run's ``score_datetime``; without a time zone it is UTC. A run that started later is
            never overwritten, unless its start is still to come; of two that started together, the id that
            sorts last counts as later.
        rows: number of scores in the run.
        id_column: name of the user id column in the tables.
        reason_paths: the run's reason files; ``None`` publishes no reasons and deletes those of the replaced
            run.
        learner_paths: files with a score of each learner of a stack for each user, which go into the table
            of scores beside the stack's; none if there are no such scores.
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
        warehouse,
        scores=tuple(paths),
        reasons=None if reason_paths is None else tuple(reason_paths),
        learners=tuple(learner_paths),
        rows=rows,
        started_at=naive,
        id_column=identifier(id_column),
        key={"product": product, "week": target_week_start, "run_id": run_id},
        scratch=scratch,
    )
    migrations.ensure_current(warehouse, id_column)
    return retry_transaction(publication.run, f"publishing run {run_id} of {product}")


@dataclass
class _Publication:
    """One run's files, what they must hold, and the transaction that publishes them."""

    warehouse: Warehouse
    scores: tuple[str, ...]
    reasons: tuple[str, ...] | None
    learners: tuple[str, ...]
    rows: int
    started_at: datetime
    id_column: str
    key: dict[str, Any]
    scratch: str | None
    staged_kind: str = "table"
    sentence: str = "null"  # what a reason's sentence is read from

    def __post_init__(self) -> None:
        suffix = str(self.key["run_id"]).replace("-", "_")
        self.staged_scores, self.staged_reasons, self.staged_learners = (
            f"{migrations.SCHEMA}.{identifier(f'staging_{dataset.name}_{suffix}')}"
            for dataset in (SCORES, REASONS, LEARNER_SCORES)
        )

    def run(self) -> Published:
        with self.warehouse.transaction() as session:
            session.lock(migrations.PUBLISHED)
            newer = self._newer(session)
            if newer is not None:
                message = "%s: run %s is newer than %s and stays published"
                logger.warning(message, migrations.SCORES, newer, self.key["run_id"])
                return Published(migrations.SCORES, 0, 0, newer)
            model_version = self._stage_scores(session)
            reasons = self._stage_reasons(session)
            members = self._stage_learners(session)
            replaced = self._replace(session, reasons, members)
            self._record(session, model_version, self.rows + members, reasons)
        return Published(migrations.SCORES, self.rows, replaced, reasons=reasons)

    def _newer(self, session: Session) -> str | None:
        """Return the id of the published run if it is newer than this one.

        One that says that it started at a time that is still to come is not: a clock was ahead.
        """
        text = f"select run_id, score_datetime from {migrations.PUBLISHED} where {_KEY}"
        for row in self._fetch(session, text):
            if is_to_come(row["score_datetime"]):
                message = "%s: run %s, published as of %s UTC, which is still to come, is replaced"
                logger.warning(message, migrations.SCORES, row["run_id"], row["score_datetime"])
            elif (row["score_datetime"], row["run_id"]) > (self.started_at, self.key["run_id"]):
                return str(row["run_id"])
        return None

    def _stage_scores(self, session: Session) -> str | None:
        """Load and check the scores; return their model version."""
        in_files = _column_names(self.scores[0])
        has_product = "product" in in_files
        columns = in_files if has_product else SCORES.column_names
        names: dict[str, Any] = {"staging": self.staged_scores, "has_product": has_product}
        loaded = self._stage(session, SCORES, self.scores, columns, names)
        names["required"] = SCORES.required_columns
        (counts,) = self._fetch(session, _text("check_scores"), names)
        if failures := [*_score_failures(counts, loaded, self.rows), *_nulls(counts, SCORES)]:
            raise CheckError("publish", failures)
        return None if counts["model_version"] is None else str(counts["model_version"])

    def _stage_reasons(self, session: Session) -> int:
        """Load and check the reasons, if there are any to publish; return their number."""
        if self.reasons is None:
            return 0
        columns = _column_names(self.reasons[0])
        self.sentence = "sentence" if "sentence" in columns else "null"
        names = {"staging": self.staged_reasons, "scores": self.staged_scores}
        loaded = self._stage(
            session, REASONS, self.reasons, columns, {**names, "has_sentence": "sentence" in columns}
        )
        (counts,) = self._fetch(
            session, _text("check_reasons"), {**names, "required": REASONS.required_columns}
        )
        if failures := [*_reason_failures(counts, loaded, self.rows), *_nulls(counts, REASONS)]:
            raise CheckError("publish reasons", failures)
        return int(counts["staged"])

    def _stage_learners(self, session: Session) -> int:
        """Load and check the scores of a stack's learners, if there are any; return their number."""
        if not self.learners:
            return 0
        names: dict[str, Any] = {"staging": self.staged_learners, "has_product": False}
        loaded = self._stage(session, SCORES, self.learners, SCORES.column_names, names)
        names |= {"required": SCORES.required_columns, "key": "user_id, learner_name"}
        (counts,) = self._fetch(session, _text("check_scores"), names)
        expected = self.rows * int(counts["learners"])
        if failures := [*_score_failures(counts, loaded, expected), *_nulls(counts, SCORES)]:
            raise CheckError("publish scores of learners", failures)
        return expected

    def _stage(
        self,
        session: Session,
        dataset: RunDataset,
        paths: Sequence[str],
        columns: Sequence[str],
        names: _Names,
    ) -> int | None:
        """Let SQL read a run's files; return the rows loaded, or None where they stay in the files."""
        staging = str(names["staging"])
        view = self.warehouse.view_on_files(staging, paths, columns)
        self.staged_kind = "table" if view is None else "view"
        if view is not None:
            session.execute(view)
            return None
        self._execute(session, _text(f"staging_{dataset.name}"), names)
        return session.load_parquet(staging, paths, columns, scratch=self.scratch)

    def _replace(self, session: Session, reasons: int, members: int) -> int:
        """Replace the published rows by the staged ones; return how many scores were deleted."""
        replaced = self._execute(session, f"delete from {migrations.SCORES} where {_KEY}")
        self._execute(session, f"delete from {migrations.REASONS} where {_KEY}")
        columns = ", ".join(SCORES.column_names[1:])
        for staged, rows in ((self.staged_scores, self.rows), (self.staged_learners, members)):
            if staged == self.staged_learners and not self.learners:
                continue
            inserted = self._execute(
                session,
                f'insert into {migrations.SCORES} ("{self.id_column}", product, {columns})'
                f" select user_id, cast(:product as varchar(63)), {columns} from {staged}",
            )
            _check_inserted(migrations.SCORES, inserted, rows)
        if self.reasons is not None:
            inserted = self._execute(
                session,
                f"""
                insert into {migrations.REASONS} (
                    "{self.id_column}", product, target_week_start_date, "rank", feature, "value",
                    contribution, run_id, sentence
                )
                select
                    user_id, cast(:product as varchar(63)), cast(:week as date), "rank", feature,
                    substring("value", 1, {_LONGEST_VALUE}), contribution, cast(:run_id as varchar(63)),
                    substring(cast({self.sentence} as varchar), 1, {_LONGEST_VALUE})
                from {self.staged_reasons}
                """,
            )
            _check_inserted(migrations.REASONS, inserted, reasons)
            self._execute(session, f"drop {self.staged_kind} {self.staged_reasons}")
        if self.learners:
            self._execute(session, f"drop {self.staged_kind} {self.staged_learners}")
        self._execute(session, f"drop {self.staged_kind} {self.staged_scores}")
        return replaced

    def _record(self, session: Session, model_version: str | None, scores: int, reasons: int) -> None:
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
                "started_at": self.started_at,
                "model_version": model_version,
                "scores": scores,  # erasure lowers it by the rows that it deletes
                "reasons": reasons,
                "now": datetime.now(UTC).replace(tzinfo=None),
            },
        )

    def _execute(self, session: Session, text: str, names: _Names = _NONE, values: _Names = _NONE) -> int:
        statement = render(text, names, {**self.key, **values}, migrations.SCHEMA, self.warehouse.dialect)
        return session.execute(statement.sql, statement.parameters)

    def _fetch(self, session: Session, text: str, names: _Names = _NONE) -> list[dict[str, Any]]:
        statement = render(text, names, self.key, migrations.SCHEMA, self.warehouse.dialect)
        rows: list[dict[str, Any]] = session.fetch(statement.sql, statement.parameters).to_pylist()
        return rows


def _column_names(path: str) -> tuple[str, ...]:
    fs, inside = url_to_fs(path)
    with storage_errors("reading the scores", path), fs.open(inside, "rb") as file:
        return tuple(pq.read_schema(file).names)


def _text(name: str) -> str:
    return (sql_root() / "publish" / f"{name}.sql").read_text("utf-8")


def _check_inserted(table: str, inserted: int, checked: int) -> None:
    """Check the number of inserted rows, which a warehouse may report as 0."""
    if inserted not in (0, checked):
        raise CheckError("publish", [f"{inserted:,} rows went into {table}, but {checked:,} were checked"])


def _nulls(counts: dict[str, Any], dataset: RunDataset) -> Iterator[str]:
    return _faults(counts, {f"no_{column}": f"rows have no {column}" for column in dataset.required_columns})


def _faults(counts: dict[str, Any], meanings: Mapping[str, str]) -> Iterator[str]:
    for name, meaning in meanings.items():
        if count := int(counts[name] or 0):
            yield f"{count:,} {meaning}"


def _score_failures(counts: dict[str, Any], loaded: int | None, expected: int) -> Iterator[str]:
    if loaded not in (None, expected) or counts["staged"] != expected:
        yield f"{counts['staged']:,} rows were loaded, but the run scored {expected:,} users"
    if counts["repeated"]:
        yield f"{counts['repeated']:,} users occur more than once"
    if counts["models"] > 1:
        yield f"the scores are of {counts['models']} model versions"
    meanings = {
        "improbable": "probabilities are not in [0, 1]",
        "unclassified": "classifications are neither 0 nor 1",
        "foreign_rows": "rows are of another product, target week or run",
    }
    yield from _faults(counts, meanings)


def _reason_failures(counts: dict[str, Any], loaded: int | None, users: int) -> Iterator[str]:
    """Yield faults: each scored user needs the same number of reasons, ranked from 1."""
    staged, ranks = int(counts["staged"] or 0), int(counts["ranks"] or 0)
    if loaded not in (None, staged) or staged != users * ranks or counts["users"] != users:
        yield (
            f"{staged:,} reasons of {counts['users']:,} users were loaded, but the run scored {users:,} users"
            f" and has {ranks} reasons of each"
        )
    meanings = {
        "misnumbered": f"users do not have each rank from 1 to {ranks} once",
        "strangers": "reasons are of users who were not scored",
        "infinite": "contributions are not finite numbers",
    }
    yield from _faults(counts, meanings)
