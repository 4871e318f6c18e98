from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from churn.errors import CheckError, RunError, UsageError
from churn.publish import REASON_COLUMNS, SCORE_COLUMNS, Published, publish_scores
from churn.scoring import SCORE_SCHEMA
from churn.warehouse.duckdb import DuckDBWarehouse
from tests.support.data_folders import AS_OF, event, write_table

WEEK = date(2024, 7, 8)
STARTED = datetime(2024, 7, 1, 18, 0, tzinfo=UTC)
RUN, LATER_RUN = "20240701t180000z-aaaaaa", "20240701t190000z-bbbbbb"


@pytest.fixture
def warehouse(tmp_path: Path, open_warehouse: Callable[..., DuckDBWarehouse]) -> DuckDBWarehouse:
    write_table(tmp_path / "data", "events.activity", [event("a", AS_OF)])
    return open_warehouse(tmp_path / "data")


def score_file(path: Path, users: Mapping[str, Any], **changes: Any) -> str:
    """A score file as the scoring stage writes it: user id to probability, everything else the same."""
    rows = [
        {
            "user_id": user,
            "target_week_start_date": WEEK,
            "learner_type": "meta-learner",
            "learner_name": "xgboost",
            "predicted_probability": probability,
            "optimal_threshold": 0.4,
            "optimal_classification": 0,
            "score_datetime": STARTED.replace(tzinfo=None),
            "product": "food",
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
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows)
    pq.write_table(
        table.set_column(table.num_columns - 1, "reason_3", pa.nulls(len(rows), pa.string())), path
    )
    return str(path)


def publish(warehouse: DuckDBWarehouse, paths: list[str], rows: int, **changes: Any) -> Published:
    arguments = {
        "product": "food",
        "target_week_start": WEEK,
        "run_id": RUN,
        "started_at": STARTED,
        **changes,
    }
    return publish_scores(warehouse, paths, rows=rows, **arguments)


def standing(warehouse: DuckDBWarehouse) -> list[tuple[Any, ...]]:
    found = warehouse.fetch(
        "select user_id, product, target_week_start_date, predicted_probability, run_id from churn.scores"
        " order by all"
    )
    return [tuple(row.values()) for row in found.to_pylist()]


def tables(warehouse: DuckDBWarehouse) -> list[str]:
    found = warehouse.fetch("select table_name from information_schema.tables where table_schema = 'churn'")
    return sorted(found["table_name"].to_pylist())


FOOD = [("a", "food", WEEK, 0.25, RUN), ("b", "food", WEEK, 0.5, RUN)]


@pytest.fixture
def published(tmp_path: Path, warehouse: DuckDBWarehouse) -> DuckDBWarehouse:
    """A warehouse in which one run's two scores stand."""
    first = score_file(tmp_path / "scores" / "part-00000.parquet", {"a": 0.25})
    second = score_file(tmp_path / "scores" / "part-00001.parquet", {"b": 0.5})
    assert publish(warehouse, [first, second], 2) == Published("churn.scores", 2, 0)
    return warehouse


def test_scores_stand_in_the_table_its_readers_know(published: DuckDBWarehouse) -> None:
    assert standing(published) == FOOD
    assert tables(published) == ["scores"]
    assert published.columns("churn.scores") == {
        "user_id": "varchar",
        "target_week_start_date": "date",
        "learner_type": "varchar",
        "learner_name": "varchar",
        "predicted_probability": "double",
        "optimal_threshold": "double",
        "optimal_classification": "integer",
        "score_datetime": "timestamp",
        "product": "varchar",
        "as_of": "date",
        "run_id": "varchar",
        "model_version": "varchar",
        "margin": "double",
        "reason_1": "varchar",
        "reason_2": "varchar",
        "reason_3": "varchar",
    }


def test_the_columns_are_those_that_scoring_writes() -> None:
    assert set(SCORE_SCHEMA.names) == set(SCORE_COLUMNS)


def test_published_twice_is_published_once(tmp_path: Path, published: DuckDBWarehouse) -> None:
    paths = sorted(str(path) for path in (tmp_path / "scores").iterdir())
    for _ in range(2):
        assert publish(published, paths, 2) == Published("churn.scores", 2, 2)
        assert standing(published) == FOOD


def test_a_table_of_an_earlier_version_gets_the_columns_it_lacks(
    tmp_path: Path, published: DuckDBWarehouse
) -> None:
    for name in REASON_COLUMNS:
        published.execute(f"alter table churn.scores drop column {name}")
    path = score_file(tmp_path / "new.parquet", {"c": 0.5}, product="sport")
    assert publish(published, [path], 1, product="sport").rows == 1
    found = published.fetch("select user_id, reason_1, reason_3 from churn.scores order by user_id")
    assert found["reason_1"].to_pylist() == [None, None, "+days_w2"]
    assert found["user_id"].to_pylist()[-1] == "c"
    assert standing(published)[:2] == FOOD


def test_a_later_run_takes_the_place_of_an_earlier_one(tmp_path: Path, published: DuckDBWarehouse) -> None:
    later = STARTED + timedelta(hours=1)
    path = score_file(
        tmp_path / "new.parquet",
        {"b": 0.75, "c": 0.125, "d": 1.0},
        run_id=LATER_RUN,
        score_datetime=later.replace(tzinfo=None),
    )
    done = publish(published, [path], 3, run_id=LATER_RUN, started_at=later)
    assert done == Published("churn.scores", 3, 2)
    assert [row[0] for row in standing(published)] == ["b", "c", "d"]


def test_an_earlier_run_never_replaces_a_later_one(
    tmp_path: Path, published: DuckDBWarehouse, caplog: pytest.LogCaptureFixture
) -> None:
    earlier = STARTED - timedelta(seconds=1)
    path = score_file(
        tmp_path / "old.parquet", {"z": 0.5}, run_id="old", score_datetime=earlier.replace(tzinfo=None)
    )
    done = publish(published, [path], 1, run_id="old", started_at=earlier)
    assert done == Published("churn.scores", 0, 0, kept_newer=RUN)
    assert standing(published) == FOOD
    assert tables(published) == ["scores"]
    assert f"run {RUN} is newer than old and stays published" in caplog.text


def test_starts_are_compared_as_moments_wherever_they_were_told(
    tmp_path: Path, published: DuckDBWarehouse
) -> None:
    # 19:30 in Paris is 17:30 UTC, half an hour before the run that stands.
    paris = datetime(2024, 7, 1, 19, 30, tzinfo=timezone(timedelta(hours=2)))
    path = score_file(tmp_path / "old.parquet", {"z": 0.5}, run_id="old")
    assert publish(published, [path], 1, run_id="old", started_at=paris).kept_newer == RUN


def test_other_products_and_weeks_stay(tmp_path: Path, published: DuckDBWarehouse) -> None:
    next_week = WEEK + timedelta(days=7)
    other = score_file(tmp_path / "other.parquet", {"a": 0.1}, product="food_fresh")
    later = score_file(tmp_path / "later.parquet", {"a": 0.2}, target_week_start_date=next_week)
    publish(published, [other], 1, product="food_fresh")
    publish(published, [later], 1, target_week_start=next_week)
    # A week that is not the latest may be published again too.
    publish(published, sorted(str(path) for path in (tmp_path / "scores").iterdir()), 2)
    assert standing(published) == sorted(
        [*FOOD, ("a", "food_fresh", WEEK, 0.1, RUN), ("a", "food", next_week, 0.2, RUN)]
    )


@pytest.mark.parametrize(
    ("users", "changes", "rows", "failure"),
    [
        ({"c": 0.5}, {}, 2, "1 rows were loaded, but the run scored 2 users"),
        ({"c": 0.5, "d": 0.5}, {}, 1, "2 rows were loaded, but the run scored 1 users"),
        ({}, {}, 2, "0 rows were loaded, but the run scored 2 users"),
        ({"c": 1.5, "d": 0.5}, {}, 2, "1 probabilities are not in [0, 1]"),
        ({"c": -0.001, "d": float("nan")}, {}, 2, "2 probabilities are not in [0, 1]"),
        ({"c": 0.5, "d": float("nan")}, {}, 2, "1 probabilities are not in [0, 1]"),
        ({"c": float("inf")}, {}, 1, "1 probabilities are not in [0, 1]"),
        ({"c": 0.5}, {"product": "drink"}, 1, "1 rows are of another product, target week or run"),
        ({"c": 0.5}, {"target_week_start_date": AS_OF}, 1, "1 rows are of another product, target week"),
        ({"c": 0.5}, {"run_id": LATER_RUN}, 1, "1 rows are of another product, target week or run"),
    ],
)
def test_scores_that_are_not_the_runs_leave_the_table_as_it_was(
    tmp_path: Path,
    published: DuckDBWarehouse,
    users: dict[str, float],
    changes: dict[str, Any],
    rows: int,
    failure: str,
) -> None:
    # In a folder that says what a check would like to hear: it is the file's own columns that count.
    folder = tmp_path / "product=food" / f"run_id={RUN}"
    path = score_file(folder / "x.parquet", users or {"c": 0.5}, **changes)
    if not users:
        pq.write_table(pq.read_table(path).slice(0, 0), path)
    with pytest.raises(CheckError) as refused:
        publish(published, [path], rows)
    assert any(failure in sentence for sentence in refused.value.failures)
    assert standing(published) == FOOD
    assert tables(published) == ["scores"]


def test_a_user_who_is_there_twice_leaves_the_table_as_it_was(
    tmp_path: Path, published: DuckDBWarehouse
) -> None:
    paths = [score_file(tmp_path / f"{n}.parquet", {"c": 0.5}) for n in range(2)]
    with pytest.raises(CheckError, match="1 users occur more than once"):
        publish(published, paths, 2)
    assert standing(published) == FOOD


def test_every_fault_is_named_at_once(tmp_path: Path, published: DuckDBWarehouse) -> None:
    paths = [score_file(tmp_path / f"{n}.parquet", {"c": 2.0}, product="drink") for n in range(2)]
    with pytest.raises(CheckError) as refused:
        publish(published, paths, 3)
    assert len(refused.value.failures) == 4


@pytest.mark.parametrize("column", ["user_id", "predicted_probability", "model_version"])
def test_an_empty_cell_leaves_the_table_as_it_was(
    tmp_path: Path, published: DuckDBWarehouse, column: str
) -> None:
    path = score_file(tmp_path / "x.parquet", {"c": 0.5})
    table = pq.read_table(path)
    index = table.column_names.index(column)
    pq.write_table(table.set_column(index, column, pa.nulls(1, table.schema.field(index).type)), path)
    with pytest.raises(RunError, match=f"NOT NULL constraint failed: .*{column}"):
        publish(published, [path], 1)
    assert standing(published) == FOOD
    assert tables(published) == ["scores"]


def test_a_missing_column_or_file_leaves_the_table_as_it_was(
    tmp_path: Path, published: DuckDBWarehouse
) -> None:
    path = score_file(tmp_path / "x.parquet", {"c": 0.5})
    pq.write_table(pq.read_table(path).drop_columns(["margin"]), path)
    with pytest.raises(RunError, match='"margin" not found'):
        publish(published, [path], 1)
    with pytest.raises(RunError, match="No files found"):
        publish(published, [str(tmp_path / "none.parquet")], 1)
    assert standing(published) == FOOD
    assert tables(published) == ["scores"]


class LosesConnection:
    """A warehouse, and its session, whose connection is lost at the insert into the scores."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.seen: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> int:
        self.seen.append(sql.split()[0].lower())
        if sql.startswith("insert into churn.scores"):
            raise ConnectionError("connection lost")
        return int(self.real.execute(sql, parameters))

    @contextmanager
    def transaction(self) -> Iterator["LosesConnection"]:
        with self.real.transaction() as session:
            inner = LosesConnection(session)
            inner.seen = self.seen
            yield inner


def test_a_failure_after_the_delete_brings_the_old_rows_back(
    tmp_path: Path, published: DuckDBWarehouse
) -> None:
    path = score_file(tmp_path / "x.parquet", {"c": 0.5})
    losing = LosesConnection(published)
    with pytest.raises(ConnectionError):
        publish(losing, [path], 1)  # type: ignore[arg-type]
    assert losing.seen[-2:] == ["delete", "insert"]
    assert standing(published) == FOOD
    assert tables(published) == ["scores"]
    assert publish(published, [path], 1) == Published("churn.scores", 1, 2)


def test_what_a_dead_run_staged_does_not_count(tmp_path: Path, warehouse: DuckDBWarehouse) -> None:
    path = score_file(tmp_path / "x.parquet", {"a": 0.25})
    with pytest.raises(CheckError):
        publish(warehouse, [path], 2)
    assert publish(warehouse, [path], 1) == Published("churn.scores", 1, 0)


@pytest.mark.parametrize("name", ["bbc_hid3", "order"])
def test_the_id_column_has_the_name_that_its_readers_know(
    tmp_path: Path, warehouse: DuckDBWarehouse, name: str
) -> None:
    path = score_file(tmp_path / "x.parquet", {"a": 0.25})
    for replaced in (0, 1):
        assert publish(warehouse, [path], 1, id_column=name) == Published("churn.scores", 1, replaced)
    assert next(iter(warehouse.columns("churn.scores"))) == name
    assert warehouse.fetch(f'select "{name}" as id from churn.scores')["id"].to_pylist() == ["a"]


def test_another_id_column_than_the_tables_is_refused(tmp_path: Path, published: DuckDBWarehouse) -> None:
    path = score_file(tmp_path / "x.parquet", {"c": 0.5})
    with pytest.raises(RunError, match="calls its id column 'user_id', and the setting id_column says 'hid'"):
        publish(published, [path], 1, id_column="hid")
    assert standing(published) == FOOD
    assert tables(published) == ["scores"]


@pytest.mark.parametrize("product", ["x'; drop table churn.scores; --", "$week", ":week", "%s"])
def test_values_are_bound_whatever_they_say(tmp_path: Path, published: DuckDBWarehouse, product: str) -> None:
    path = score_file(tmp_path / "x.parquet", {"a": 0.5}, product=product)
    for replaced in (0, 1):
        assert publish(published, [path], 1, product=product).replaced == replaced
    assert standing(published) == sorted([*FOOD, ("a", product, WEEK, 0.5, RUN)])


@pytest.mark.parametrize("changes", [{"run_id": "x; drop table churn.scores"}, {"id_column": 'x" int); --'}])
def test_names_that_are_no_identifiers_are_refused(
    tmp_path: Path, published: DuckDBWarehouse, changes: dict[str, str]
) -> None:
    path = score_file(tmp_path / "x.parquet", {"a": 0.5})
    with pytest.raises(UsageError, match="cannot be used as a name"):
        publish(published, [path], 1, **changes)
    assert standing(published) == FOOD
