"""Score and reason files as scoring writes them, and what stands in the published tables."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs

from churn.core import datasets
from churn.outputs import migrations
from churn.outputs.tables import Published, publish_scores
from tests.support.data_folders import AS_OF

WEEK = date(2024, 7, 8)
STARTED = datetime(2024, 7, 1, 18, 0, tzinfo=UTC)
RUN, LATER_RUN = "20240701t180000z-aaaaaa", "20240701t190000z-bbbbbb"
TABLES = ["published", "reasons", "schema_version", "scores"]
REASONS = 3


class Place:
    """A folder, local or on S3: ``place / "name"`` is what lies in it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __truediv__(self, name: str) -> "Place":
        return Place(f"{self.url}/{name}")

    def write(self, table: pa.Table) -> str:
        """Write a Parquet file; return where."""
        fs, path = url_to_fs(self.url)
        fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        with fs.open(path, "wb") as file:
            pq.write_table(table, file)
        return self.url

    def read(self) -> pa.Table:
        """Read a Parquet file."""
        fs, path = url_to_fs(self.url)
        with fs.open(path, "rb") as file:
            return pq.read_table(file)


def score_file(path: Place, users: Mapping[str, Any], **changes: Any) -> str:
    """Write user id to probability, everything else the same; return the path.

    With a ``product``, the file is as earlier versions wrote it.
    """
    schema = datasets.SCORES.schema
    if "product" in changes:
        schema = schema.insert(schema.get_field_index("as_of"), pa.field("product", pa.string()))
    rows = [
        {
            "user_id": user,
            "target_week_start_date": WEEK,
            "learner_type": "single-learner",
            "learner_name": "xgboost",
            "predicted_probability": probability,
            "optimal_threshold": 0.4,
            "optimal_classification": 0,
            "score_datetime": STARTED.replace(tzinfo=None),
            "as_of": AS_OF,
            "run_id": RUN,
            "model_version": "food-1",
            "margin": -1.5,
            "reason_1": "+days_w2",
            "reason_2": "-value_13w",
            "reason_3": None,
            **changes,
        }
        for user, probability in users.items()
    ]
    return path.write(pa.Table.from_pylist(rows, _nullable(schema)))


def reason_file(path: Place, users: Sequence[str], **changes: Any) -> str:
    """Write three reasons of each user, which name the user; return the path."""
    rows = [
        {
            "user_id": user,
            "rank": rank,
            "feature": f"days_w{rank}",
            "value": None if rank == REASONS else f"{user}{rank}",
            "contribution": 2.0**-rank,
            **changes,
        }
        for user in users
        for rank in range(1, REASONS + 1)
    ]
    return path.write(
        pa.Table.from_pylist(rows, _nullable(datasets.REASONS.schema.set(1, pa.field("rank", pa.int16()))))
    )


def _nullable(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field.with_nullable(True) for field in schema])


def publish(warehouse: Any, paths: list[str], rows: int, migrate: bool = True, **changes: Any) -> Published:
    """Publish as the weekly run does, after migrating the tables."""
    if migrate:
        migrations.apply(warehouse, changes.get("id_column", "user_id"))
    arguments = {
        "product": "food",
        "target_week_start": WEEK,
        "run_id": RUN,
        "started_at": STARTED,
        **changes,
    }
    return publish_scores(warehouse, paths, rows=rows, **arguments)


def rows_of(warehouse: Any, query: str) -> list[tuple[Any, ...]]:
    """What a query finds, in order."""
    found = (tuple(row.values()) for row in warehouse.fetch(query).to_pylist())
    return sorted(found, key=lambda row: [(cell is not None, cell) for cell in row])


def standing(warehouse: Any) -> list[tuple[Any, ...]]:
    """The scores that stand."""
    return rows_of(
        warehouse,
        "select user_id, product, target_week_start_date, predicted_probability, run_id from churn.scores",
    )


def standing_reasons(warehouse: Any) -> list[tuple[Any, ...]]:
    """The reasons that stand, without product and week."""
    return rows_of(
        warehouse, 'select user_id, "rank", feature, "value", contribution, run_id from churn.reasons'
    )


def runs(warehouse: Any) -> list[tuple[Any, ...]]:
    """Which runs stand, and with how many rows."""
    return rows_of(
        warehouse, "select product, run_id, model_version, score_rows, reason_rows from churn.published"
    )


def tables(warehouse: Any) -> list[str]:
    """What is in the schema of the published tables."""
    query = "select table_name from information_schema.tables where table_schema = 'churn'"
    return [name for (name,) in rows_of(warehouse, query)]


class Counted:
    """A warehouse whose transactions call ``before`` with a number and a name before each step, commit too."""

    def __init__(self, real: Any, before: Callable[[int, str], None]) -> None:
        self._real = real
        self._before = before
        self.steps: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def step(self, name: str) -> None:
        """Count one."""
        self.steps.append(name)
        self._before(len(self.steps), name)

    @contextmanager
    def transaction(self) -> Iterator["CountedSession"]:
        """A transaction of the real warehouse."""
        with self._real.transaction() as session:
            yield CountedSession(self, session)
            self.step("commit")


class CountedSession:
    """A session that counts."""

    def __init__(self, warehouse: Counted, session: Any) -> None:
        self._warehouse = warehouse
        self._session = session

    def lock(self, table: str) -> None:
        """Lock a table."""
        self._warehouse.step(f"lock {table}")
        self._session.lock(table)

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> int:
        """Run a statement."""
        self._warehouse.step(" ".join(sql.split()[:3]).lower())
        return int(self._session.execute(sql, parameters))

    def fetch(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """Run a query."""
        self._warehouse.step("select")
        return self._session.fetch(sql, parameters)

    def load_parquet(
        self, table: str, paths: Sequence[str], columns: Sequence[str], *, scratch: str | None = None
    ) -> int:
        """Load files."""
        self._warehouse.step(f"load {table}")
        return int(self._session.load_parquet(table, paths, columns, scratch=scratch))
