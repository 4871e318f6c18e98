from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from churn.core import datasets
from churn.core.errors import CheckError, RunError, UsageError
from churn.outputs import migrations
from churn.outputs.tables import Published
from churn.warehouse.base import Warehouse
from churn.warehouse.duckdb.client import DuckDBWarehouse
from churn.warehouse.redshift.client import RedshiftWarehouse
from tests.support.data_folders import AS_OF, event, write_table
from tests.support.publishing import (
    LATER_RUN,
    REASONS,
    RUN,
    STARTED,
    TABLES,
    WEEK,
    Counted,
    Place,
    publish,
    reason_file,
    rows_of,
    runs,
    score_file,
    standing,
    standing_reasons,
    tables,
)


@pytest.fixture(params=["duckdb", "redshift"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place(tmp_path: Path, backend: str, request: pytest.FixtureRequest) -> Place:
    """Where the warehouse can read files."""
    return Place(str(tmp_path) if backend == "duckdb" else request.getfixturevalue("bucket").url)


@pytest.fixture
def warehouse(
    tmp_path: Path,
    backend: str,
    request: pytest.FixtureRequest,
    open_warehouse: Callable[..., DuckDBWarehouse],
) -> Iterator[Warehouse]:
    if backend == "duckdb":
        write_table(tmp_path / "data", "events.activity", [event("a", AS_OF)])
        yield open_warehouse(tmp_path / "data")
        return
    with closing(RedshiftWarehouse(request.getfixturevalue("redshift").settings())) as warehouse:
        yield warehouse


TYPES = {
    "duckdb": ("varchar", "double", "timestamp"),
    "redshift": ("character varying", "double precision", "timestamp without time zone"),
}
FOOD = [("a", "food", WEEK, 0.25, RUN), ("b", "food", WEEK, 0.5, RUN)]


def both(place: Place) -> list[str]:
    """The files of the run that stands."""
    return [(place / "scores" / f"part-0000{n}.parquet").url for n in range(2)]


@pytest.fixture
def published(place: Place, warehouse: Warehouse) -> Warehouse:
    """A warehouse in which one run's two scores stand."""
    first = score_file(place / "scores" / "part-00000.parquet", {"a": 0.25})
    second = score_file(place / "scores" / "part-00001.parquet", {"b": 0.5})
    assert publish(warehouse, [first, second], 2) == Published("churn.scores", 2, 0)
    return warehouse


def test_scores_stand_in_the_table_its_readers_know(published: Warehouse) -> None:
    assert standing(published) == FOOD
    assert tables(published) == TABLES
    text, number, moment = TYPES[published.dialect]
    assert published.columns("churn.scores") == {
        "user_id": text,
        "target_week_start_date": "date",
        "learner_type": text,
        "learner_name": text,
        "predicted_probability": number,
        "optimal_threshold": number,
        "optimal_classification": "integer",
        "score_datetime": moment,
        "product": text,
        "as_of": "date",
        "run_id": text,
        "model_version": text,
        "margin": number,
        "reason_1": text,
        "reason_2": text,
        "reason_3": text,
    }


def test_files_of_earlier_versions_which_have_the_product_are_published(
    place: Place, published: Warehouse
) -> None:
    paths = [score_file(place / "older.parquet", {"a": 0.25, "b": 0.5}, product="food")]
    assert publish(published, paths, 2) == Published("churn.scores", 2, 2)
    assert standing(published) == FOOD


def test_published_twice_is_published_once(place: Place, published: Warehouse) -> None:
    paths = both(place)
    for _ in range(2):
        assert publish(published, paths, 2) == Published("churn.scores", 2, 2)
        assert standing(published) == FOOD


@pytest.mark.parametrize("reasons", [0, 1, 3])
def test_a_table_of_an_earlier_version_is_brought_forward(
    place: Place, published: Warehouse, reasons: int
) -> None:
    """Before there were migrations a table had no reasons, or some, and nothing was written down about it."""
    for name in datasets.SCORES.column_names[-datasets.SCORE_REASONS :][reasons:]:
        published.execute(f"alter table churn.scores drop column {name}")
    for table in ("schema_version", "published", "reasons"):
        published.execute(f"drop table churn.{table}")
    earlier = score_file(place / "old.parquet", {"z": 0.5}, run_id="old")
    done = publish(published, [earlier], 1, run_id="old", started_at=STARTED - timedelta(hours=1))
    assert done.newer_run == RUN
    path = score_file(place / "new.parquet", {"c": 0.5}, product="sport")
    assert publish(published, [path], 1, product="sport").rows == 1
    found = published.fetch("select user_id, reason_1, reason_3 from churn.scores order by user_id")
    assert found["reason_1"].to_pylist() == [*(["+days_w2"] * 2 if reasons else [None] * 2), "+days_w2"]
    assert found["user_id"].to_pylist()[-1] == "c"
    assert standing(published)[:2] == FOOD
    assert runs(published) == [("food", RUN, "food-1", 2, 0), ("sport", RUN, "food-1", 1, 0)]
    assert tables(published) == TABLES


def member_files(place: Place, **changes: Any) -> list[str]:
    """Scores of two learners of a stack, for the users of ``FOOD``."""
    weak = {"learner_type": "weak-learner"} | changes
    return [
        score_file(place / f"{name}.parquet", {"a": p, "b": 1 - p}, **weak, learner_name=name)
        for name, p in (("xgboost", 0.25), ("logistic", 0.75))
    ]


def test_each_learner_of_a_stack_has_rows_beside_the_stacks(place: Place, published: Warehouse) -> None:
    paths = [
        score_file(
            place / "new.parquet", {"a": 0.5, "b": 0.5}, learner_type="meta-learner", learner_name="stack"
        )
    ]
    for _ in range(2):
        done = publish(published, paths, 2, learner_paths=member_files(place))
        assert done.rows == 2
        text = "select user_id, learner_name, predicted_probability from churn.scores order by 1, 2"
        assert [tuple(row.values()) for row in published.fetch(text).to_pylist()] == [
            ("a", "logistic", 0.75),
            ("a", "stack", 0.5),
            ("a", "xgboost", 0.25),
            ("b", "logistic", 0.25),
            ("b", "stack", 0.5),
            ("b", "xgboost", 0.75),
        ]
        assert runs(published) == [("food", RUN, "food-1", 6, 0)]
        assert tables(published) == TABLES
    publish(published, paths, 2)
    assert runs(published) == [("food", RUN, "food-1", 2, 0)]


@pytest.mark.parametrize(
    "fault", [{"run_id": "other"}, {"predicted_probability": 2.0}, {"learner_name": None}]
)
def test_wrong_scores_of_a_learner_leave_the_table_as_it_was(
    place: Place, published: Warehouse, fault: dict[str, Any]
) -> None:
    before = standing(published)
    wrong = [score_file(place / "wrong.parquet", {"a": 0.5, "b": 0.5}, **fault)]
    paths = [score_file(place / "new.parquet", {"a": 0.5, "b": 0.5})]
    with pytest.raises(CheckError, match="publish scores of learners"):
        publish(published, paths, 2, learner_paths=wrong)
    assert standing(published) == before
    assert tables(published) == TABLES


def test_a_later_run_takes_the_place_of_an_earlier_one(place: Place, published: Warehouse) -> None:
    later = STARTED + timedelta(hours=1)
    path = score_file(
        place / "new.parquet",
        {"b": 0.75, "c": 0.125, "d": 1.0},
        run_id=LATER_RUN,
        score_datetime=later.replace(tzinfo=None),
    )
    done = publish(published, [path], 3, run_id=LATER_RUN, started_at=later)
    assert done == Published("churn.scores", 3, 2)
    assert [row[0] for row in standing(published)] == ["b", "c", "d"]


def test_an_earlier_run_never_replaces_a_later_one(
    place: Place, published: Warehouse, caplog: pytest.LogCaptureFixture
) -> None:
    earlier = STARTED - timedelta(seconds=1)
    path = score_file(
        place / "old.parquet", {"z": 0.5}, run_id="old", score_datetime=earlier.replace(tzinfo=None)
    )
    done = publish(published, [path], 1, run_id="old", started_at=earlier)
    assert done == Published("churn.scores", 0, 0, newer_run=RUN)
    assert standing(published) == FOOD
    assert tables(published) == TABLES
    assert f"run {RUN} is newer than old and stays published" in caplog.text


def test_a_run_whose_start_is_still_to_come_is_replaced(
    place: Place, published: Warehouse, caplog: pytest.LogCaptureFixture
) -> None:
    """It was made while a clock was ahead, and would stay published until then."""
    ahead = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
    path = score_file(
        place / "ahead.parquet", {"z": 0.5}, run_id="ahead", score_datetime=ahead.replace(tzinfo=None)
    )
    assert publish(published, [path], 1, run_id="ahead", started_at=ahead).rows == 1
    path = score_file(place / "right.parquet", {"a": 0.25}, run_id=LATER_RUN)
    done = publish(published, [path], 1, run_id=LATER_RUN, started_at=STARTED)
    assert (done.rows, done.newer_run) == (1, None)
    assert [row[0] for row in standing(published)] == ["a"]
    assert "run ahead, published as of" in caplog.text


def test_starts_are_compared_as_moments_wherever_they_were_told(place: Place, published: Warehouse) -> None:
    # 19:30 in Paris is 17:30 UTC, half an hour before the run that stands.
    paris = datetime(2024, 7, 1, 19, 30, tzinfo=timezone(timedelta(hours=2)))
    path = score_file(place / "old.parquet", {"z": 0.5}, run_id="old")
    assert publish(published, [path], 1, run_id="old", started_at=paris).newer_run == RUN


def test_other_products_and_weeks_stay(place: Place, published: Warehouse) -> None:
    next_week = WEEK + timedelta(days=7)
    other = score_file(place / "other.parquet", {"a": 0.1}, product="food_fresh")
    later = score_file(place / "later.parquet", {"a": 0.2}, target_week_start_date=next_week)
    publish(published, [other], 1, product="food_fresh")
    publish(published, [later], 1, target_week_start=next_week)
    # A week that is not the latest may be published again too.
    publish(published, both(place), 2)
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
    place: Place,
    published: Warehouse,
    users: dict[str, float],
    changes: dict[str, Any],
    rows: int,
    failure: str,
) -> None:
    # In a folder that says what a check would like to hear: it is the file's own columns that count.
    path = score_file(place / "product=food" / f"run_id={RUN}" / "x.parquet", users or {"c": 0.5}, **changes)
    if not users:
        Place(path).write(Place(path).read().slice(0, 0))
    with pytest.raises(CheckError) as refused:
        publish(published, [path], rows)
    assert any(failure in sentence for sentence in refused.value.failures)
    assert standing(published) == FOOD
    assert tables(published) == TABLES


def test_a_user_who_is_there_twice_leaves_the_table_as_it_was(place: Place, published: Warehouse) -> None:
    paths = [score_file(place / f"{n}.parquet", {"c": 0.5}) for n in range(2)]
    with pytest.raises(CheckError, match="1 users occur more than once"):
        publish(published, paths, 2)
    assert standing(published) == FOOD


def test_every_fault_is_named_at_once(place: Place, published: Warehouse) -> None:
    paths = [score_file(place / f"{n}.parquet", {"c": 2.0}, product="drink") for n in range(2)]
    with pytest.raises(CheckError) as refused:
        publish(published, paths, 3)
    assert len(refused.value.failures) == 4


@pytest.mark.parametrize("column", ["user_id", "predicted_probability", "model_version"])
def test_an_empty_cell_leaves_the_table_as_it_was(place: Place, published: Warehouse, column: str) -> None:
    path = score_file(place / "x.parquet", {"c": 0.5})
    table = Place(path).read()
    index = table.column_names.index(column)
    Place(path).write(table.set_column(index, column, pa.nulls(1, table.schema.field(index).type)))
    with pytest.raises(CheckError, match=f"1 check.* failed\n  - 1 rows have no {column}"):
        publish(published, [path], 1)
    assert standing(published) == FOOD
    assert tables(published) == TABLES


def test_a_missing_column_or_file_leaves_the_table_as_it_was(place: Place, published: Warehouse) -> None:
    path = score_file(place / "x.parquet", {"c": 0.5})
    Place(path).write(Place(path).read().drop_columns(["margin"]))
    with pytest.raises(RunError, match="margin"):
        publish(published, [path], 1)
    missing = (place / "none.parquet").url
    with pytest.raises(RunError, match=r"No files found|none.parquet"):
        publish(published, [missing], 1)
    assert standing(published) == FOOD
    assert tables(published) == TABLES


class LostError(Exception):
    pass


def replacement(folder: Place) -> dict[str, Any]:
    """A later run of the same product and week, with reasons."""
    later = STARTED + timedelta(hours=1)
    users = {"b": 0.75, "c": 0.125}
    when = later.replace(tzinfo=None)
    score = score_file(
        folder / "s.parquet", users, run_id=LATER_RUN, score_datetime=when, model_version="food-2"
    )
    return {
        "paths": [score],
        "rows": 2,
        "reason_paths": [reason_file(folder / "r.parquet", list(users))],
        "run_id": LATER_RUN,
        "started_at": later,
    }


AFTER = [("b", "food", WEEK, 0.75, LATER_RUN), ("c", "food", WEEK, 0.125, LATER_RUN)]
STEPS = {"redshift": 17, "duckdb": 15}  # the embedded warehouse reads the files where they are


def test_a_failure_before_any_statement_leaves_the_old_rows(place: Place, published: Warehouse) -> None:
    change = replacement(place / "new")
    for fatal in range(1, STEPS[published.dialect] + 1):

        def lose(step: int, name: str, fatal: int = fatal) -> None:
            if step == fatal:
                raise LostError(name)

        with pytest.raises(LostError):
            publish(Counted(published, lose), **change)
        assert standing(published) == FOOD
        assert standing_reasons(published) == []
        assert runs(published) == [("food", RUN, "food-1", 2, 0)]
        assert tables(published) == TABLES
    assert publish(published, **change) == Published("churn.scores", 2, 2, reasons=6)
    assert standing(published) == AFTER
    assert runs(published) == [("food", LATER_RUN, "food-2", 2, 6)]


def test_one_transaction_does_all_of_it_behind_the_lock(place: Place, published: Warehouse) -> None:
    counted = Counted(published, lambda step, name: None)
    publish(counted, **replacement(place))
    assert counted.steps[0] == "lock churn.published"
    assert counted.steps[1] == "select", "the generation is checked under the lock, before anything is loaded"
    assert [name for name in counted.steps if name.startswith(("delete", "insert", "commit"))] == [
        "delete from churn.scores",
        "delete from churn.reasons",
        "insert into churn.scores",
        "insert into churn.reasons",
        "delete from churn.published",
        "insert into churn.published",
        "commit",
    ]
    assert len(counted.steps) == STEPS[published.dialect], "each is a place to fail at, above"


def test_what_a_dead_run_staged_does_not_count(place: Place, warehouse: Warehouse) -> None:
    path = score_file(place / "x.parquet", {"a": 0.25})
    with pytest.raises(CheckError):
        publish(warehouse, [path], 2)
    assert publish(warehouse, [path], 1) == Published("churn.scores", 1, 0)


@pytest.mark.parametrize("name", ["bbc_hid3", "order"])
def test_the_id_column_has_the_name_that_its_readers_know(
    place: Place, warehouse: Warehouse, name: str
) -> None:
    path = score_file(place / "x.parquet", {"a": 0.25})
    for replaced in (0, 1):
        assert publish(warehouse, [path], 1, id_column=name) == Published("churn.scores", 1, replaced)
    assert next(iter(warehouse.columns("churn.scores"))) == name
    assert warehouse.fetch(f'select "{name}" as id from churn.scores')["id"].to_pylist() == ["a"]


def test_another_id_column_than_the_tables_is_refused(place: Place, published: Warehouse) -> None:
    path = score_file(place / "x.parquet", {"c": 0.5})
    with pytest.raises(RunError, match="calls its id column 'user_id', and the setting id_column says 'hid'"):
        publish(published, [path], 1, id_column="hid")
    assert standing(published) == FOOD
    assert tables(published) == TABLES


@pytest.mark.parametrize("product", ["x'; drop table churn.scores; --", "$week", ":week", "%s"])
def test_values_are_bound_whatever_they_say(place: Place, published: Warehouse, product: str) -> None:
    path = score_file(place / "x.parquet", {"a": 0.5}, product=product)
    for replaced in (0, 1):
        assert publish(published, [path], 1, product=product).replaced == replaced
    assert standing(published) == sorted([*FOOD, ("a", product, WEEK, 0.5, RUN)])


@pytest.mark.parametrize("changes", [{"run_id": "x; drop table churn.scores"}, {"id_column": 'x" int); --'}])
def test_names_that_are_no_identifiers_are_refused(
    place: Place, published: Warehouse, changes: dict[str, str]
) -> None:
    path = score_file(place / "x.parquet", {"a": 0.5})
    with pytest.raises(UsageError, match="cannot be used as a name"):
        publish(published, [path], 1, migrate=False, **changes)
    assert standing(published) == FOOD


# --- reasons ---


def reasons(*users: str) -> list[tuple[Any, ...]]:
    return [
        (user, rank, f"days_w{rank}", None if rank == REASONS else f"{user}{rank}", contribution, RUN)
        for user in users
        for rank, contribution in ((1, 0.5), (2, 0.25), (3, 0.125))
    ]


def test_the_reasons_are_those_that_scoring_writes() -> None:
    types = {
        "user_id": "string",
        "rank": "int16",
        "feature": "string",
        "value": "string",
        "contribution": "float",
        "sentence": "string",
    }
    # Redshift has nothing for int8.
    assert {field.name: str(field.type) for field in datasets.REASONS.schema} == types


def test_reasons_stand_beside_their_scores(place: Place, published: Warehouse) -> None:
    paths = both(place)
    files = [reason_file(place / "reasons" / f"{user}.parquet", [user]) for user in "ab"]
    for _ in range(2):
        done = publish(published, paths, 2, reason_paths=files)
        assert done == Published("churn.scores", 2, 2, reasons=6)
        assert standing(published) == FOOD
        assert standing_reasons(published) == reasons("a", "b")
        assert runs(published) == [("food", RUN, "food-1", 2, 6)]
    assert rows_of(published, "select distinct product, target_week_start_date from churn.reasons") == [
        ("food", WEEK)
    ]


def test_a_run_without_reasons_takes_those_of_the_run_before_away(place: Place, published: Warehouse) -> None:
    paths = both(place)
    other = score_file(place / "sport.parquet", {"a": 0.5}, product="sport")
    publish(published, paths, 2, reason_paths=[reason_file(place / "r.parquet", ["a", "b"])])
    publish(published, [other], 1, product="sport", reason_paths=[reason_file(place / "q.parquet", ["a"])])
    publish(published, paths, 2)
    assert standing_reasons(published) == reasons("a")
    assert runs(published) == [("food", RUN, "food-1", 2, 0), ("sport", RUN, "food-1", 1, 3)]


@pytest.mark.parametrize(
    ("users", "changes", "failure"),
    [
        (["a"], {}, "3 reasons of 1 users were loaded, but the run scored 2 users"),
        ([], {}, "0 reasons of 0 users were loaded, but the run scored 2 users"),
        (["a", "b", "c"], {}, "3 reasons are of users who were not scored"),
        (["a", "b", "b"], {}, "1 users do not have each rank from 1 to 3 once"),
        (["a", "b"], {"rank": 3}, "2 users do not have each rank from 1 to 3 once"),
        (["a", "b"], {"rank": None}, "6 rows have no rank"),
        (["a", "b"], {"rank": 1}, "2 users do not have each rank from 1 to 1 once"),
        (["a", "b"], {"rank": 0}, "2 users do not have each rank from 1 to 0 once"),
        (["a", "b"], {"contribution": float("nan")}, "6 contributions are not finite numbers"),
        (["a", "b"], {"contribution": float("-inf")}, "6 contributions are not finite numbers"),
        (["a", "b"], {"feature": None}, "6 rows have no feature"),
        (["a", "b"], {"user_id": None}, "6 rows have no user_id"),
    ],
)
def test_reasons_that_are_not_the_scores_leave_both_tables_as_they_were(
    place: Place, published: Warehouse, users: list[str], changes: dict[str, Any], failure: str
) -> None:
    paths = both(place)
    publish(published, paths, 2, reason_paths=[reason_file(place / "good.parquet", ["a", "b"])])
    bad = reason_file(place / "bad.parquet", users, **changes)
    with pytest.raises(CheckError) as refused:
        publish(published, paths, 2, reason_paths=[bad])
    assert any(failure in sentence for sentence in refused.value.failures), refused.value
    assert standing(published) == FOOD
    assert standing_reasons(published) == reasons("a", "b")
    assert tables(published) == TABLES


def test_a_long_value_is_cut_and_not_refused(place: Place, warehouse: Warehouse) -> None:
    path = score_file(place / "s.parquet", {"a": 0.5})
    publish(
        warehouse, [path], 1, reason_paths=[reason_file(place / "r.parquet", ["a"], value="\u20ac" * 400)]
    )
    assert {row[3] for row in standing_reasons(warehouse)} == {"\u20ac" * 250}


# --- which run stands ---


def test_of_two_runs_that_started_together_the_same_one_stands_whatever_their_order(
    place: Place, warehouse: Warehouse
) -> None:
    files = {run: score_file(place / f"{run}.parquet", {"a": 0.5}, run_id=run) for run in ("x1", "x2")}
    for order in (("x1", "x2"), ("x2", "x1"), ("x2", "x1", "x2")):
        warehouse.execute("drop schema if exists churn cascade")
        for run in order:
            publish(warehouse, [files[run]], 1, run_id=run)
        assert [row[1] for row in runs(warehouse)] == ["x2"]


def run_at(folder: Place, minute: int, users: int = 3) -> dict[str, Any]:
    """A run that started at that minute: its users are its own, and its model too."""
    started = STARTED + timedelta(minutes=minute)
    run_id = f"run_{minute:02d}"
    names = [f"{run_id}_{n}" for n in range(users)]
    scores = score_file(
        folder / f"{run_id}.parquet",
        dict.fromkeys(names, 0.5),
        run_id=run_id,
        score_datetime=started.replace(tzinfo=None),
        model_version=f"food-{minute}",
    )
    return {
        "paths": [scores],
        "rows": users,
        "run_id": run_id,
        "started_at": started,
        "reason_paths": [reason_file(folder / f"{run_id}-reasons.parquet", names)],
    }


def test_of_many_that_publish_at_once_the_newest_stands(place: Place, warehouse: Warehouse) -> None:
    """The tables are made by whoever comes first, too."""
    minutes = [3, 0, 5, 1, 4, 2]
    changes = [run_at(place, minute) for minute in minutes]
    with ThreadPoolExecutor(len(minutes)) as pool:
        done = list(pool.map(lambda change: publish(warehouse, **change), changes))
    assert all(
        each.newer_run or each == Published("churn.scores", 3, each.replaced, reasons=9) for each in done
    )
    assert done[minutes.index(5)].rows == 3
    assert {row[4] for row in standing(warehouse)} == {"run_05"}
    assert len(standing(warehouse)) == 3
    assert {row[5] for row in standing_reasons(warehouse)} == {"run_05"}
    assert runs(warehouse) == [("food", "run_05", "food-5", 3, 9)]
    assert tables(warehouse) == TABLES


def test_products_published_at_once_are_all_there(place: Place, warehouse: Warehouse) -> None:
    products = ["a", "b", "c", "d"]
    files = {name: score_file(place / f"{name}.parquet", {"u": 0.5}, product=name) for name in products}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: publish(warehouse, [files[name]], 1, product=name), products))
    assert [row[1] for row in standing(warehouse)] == products
    assert [row[0] for row in runs(warehouse)] == products


def test_scores_of_two_models_are_no_run(place: Place, published: Warehouse) -> None:
    first = score_file(place / "1.parquet", {"c": 0.5})
    second = score_file(place / "2.parquet", {"d": 0.5}, model_version="food-2")
    with pytest.raises(CheckError, match="the scores are of 2 model versions"):
        publish(published, [first, second], 2)
    assert standing(published) == FOOD


def test_a_warehouse_that_is_not_migrated_by_itself_says_what_to_run(
    place: Place, warehouse: Warehouse
) -> None:
    path = score_file(place / "s.parquet", {"a": 0.5})
    if warehouse.exclusive:
        assert publish(warehouse, [path], 1, migrate=False).rows == 1
        return
    with pytest.raises(
        RunError, match=r"need migrations first \(0 schema version, 1 scores, .*`churn migrate`"
    ):
        publish(warehouse, [path], 1, migrate=False)
    assert tables(warehouse) == []
    migrations.apply(warehouse, "user_id")
    assert publish(warehouse, [path], 1, migrate=False).rows == 1
