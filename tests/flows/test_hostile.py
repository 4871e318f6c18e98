"""Hostile input at every entry point: refused in a sentence (wrong usage: exit code 2), or bound as a value.

Names that lead out of the lake, texts in UNLOAD and COPY, and products' slugs have properties of their own in
``test_lake``, ``test_statements`` and ``test_config``.
"""

import contextlib
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlglot
from fsspec.implementations.local import LocalFileSystem
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from churn.config.load import load_settings
from churn.config.settings import Settings
from churn.config.store import StoreSettings
from churn.core.errors import ChurnError, ConfigError, RunError, UsageError
from churn.core.names import IDENTIFIER
from churn.dataset.build import plan_dataset, run_steps
from churn.dataset.plan import plan_without_data, rendered_steps
from churn.dataset.run_schemas import drop_schema
from churn.explain.user import explain_user
from churn.jobs.erase.erase import erase
from churn.jobs.erase.user_file import read_users
from churn.lake.filesystem import is_local
from churn.lake.lake import Lake
from churn.lake.manifest import PRODUCT_NAME
from churn.outputs import migrations
from churn.outputs.tables import publish_scores
from churn.warehouse.duckdb.client import DuckDBWarehouse
from churn.warehouse.templates import render
from tests.outputs.test_migrations import REDSHIFT
from tests.support.command_line import exit_code
from tests.support.data_folders import AS_OF, TODAY, event_folder, files_below, weekly_events

few = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
fewer = settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
many = settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])

WORDS = [
    "",
    " ",
    "'; drop table main.sentinel; --",
    "'); drop table main.sentinel; --",
    '"; drop table main.sentinel; --',
    "x\\'; drop table main.sentinel; --",
    "*/; drop table main.sentinel; /*",
    "{{ ref('sentinel') }}",
    "{% include 'x' %}",
    ":as_of",
    "$as_of",
    "%(as_of)s",
    "%s",
    "?",
    "../../etc/passwd",
    "/etc/passwd",
    "food/../..",
    "food\n",
    "FOOD",
    "select",
    "true",
    "null",
    "é",
    "\u202efood",
    "\uff07; drop table main.sentinel",
    "a" * 300,
    "0",
    "-1",
    "nan",
    "-h",
    "--",
]
SIGNS = "'\"`;-/\\.%${}()[]:=*?~ \n\tabAZ09_é\0"
HOSTILE = st.one_of(st.sampled_from(WORDS), st.text(SIGNS, max_size=16), st.text(max_size=24))
# Of which a value may be made: half a surrogate pair is no text, and is refused where it comes in.
TEXTS = HOSTILE.filter(lambda text: not re.search("[\ud800-\udfff]", text))
# What a shell can hand over: bytes that are no UTF-8 come as lone surrogates.
ARGUMENTS = st.one_of(HOSTILE, st.binary(max_size=8).map(os.fsdecode)).filter(
    lambda text: "\0" not in text and not re.search("[\ud800-\udc7f\udd00-\udfff]", text)
)
NAMES = st.one_of(st.sampled_from(["select", "order", "table", "user", "a", "_"]), HOSTILE)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data folder and a file that must survive."""
    place = tmp_path_factory.mktemp("hostile")
    event_folder(
        place / "data", weekly_events(["ann", "bob"], 20) + weekly_events(["cy"], 20, product="wine")
    )
    (place / "sentinel").write_text("still here", "utf-8")
    return place


@pytest.fixture(scope="module")
def opened(place: Path) -> Iterator[DuckDBWarehouse]:
    with closing(DuckDBWarehouse(None, place / "data", memory="1GB", threads=1)) as warehouse:
        warehouse.execute("create table main.sentinel as select 'still here' as a")
        migrations.apply(warehouse, "user_id")
        yield warehouse


@pytest.fixture
def warehouse(opened: DuckDBWarehouse) -> Iterator[DuckDBWarehouse]:
    """A real DuckDB with a table and published tables that must survive."""
    yield opened
    assert_unharmed(opened)


def assert_unharmed(warehouse: DuckDBWarehouse) -> None:
    assert warehouse.fetch("select a from main.sentinel").to_pylist() == [{"a": "still here"}]
    found = warehouse.fetch(
        "select table_schema || '.' || table_name as name from information_schema.tables"
        " where table_schema in ('main', 'churn') order by 1"
    )
    published = [migrations.PUBLISHED, migrations.REASONS, migrations.VERSIONS, migrations.SCORES]
    assert found["name"].to_pylist() == sorted([*published, "main.sentinel"])


def product_settings(place: Path, name: str, **fields: Any) -> Settings:
    training = {"sampling": "all", "max_dates": 4}
    given_by_hand = {"products": {name: {"title": "x", "training": training, **fields}}}
    return load_settings(place / "data", place / "out", given_by_hand)


# --- settings ---


@many
@given(name=HOSTILE, value=HOSTILE, key=HOSTILE)
def test_settings_given_by_hand_are_refused_or_safe(place: Path, name: str, value: str, key: str) -> None:
    for given_by_hand in (
        {"products": {name: {"title": value}}},
        {"products": {"food": {"title": "food", key: value}}},
        {"id_column": value},
        {"profile": value},
        {"sql_memory": value},
        {"source": value},
        {"seed": value},
        {"store": {"lake": value, "endpoint_url": key}},
        {"warehouse": {"group": value, "host": name, "iam_role": key}},
        {key: value},
    ):
        try:
            chosen = load_settings(place / "data", place / "out", given_by_hand)
        except ConfigError:
            continue
        names = [*chosen.products, chosen.id_column, chosen.warehouse.group or "none"]
        assert all(IDENTIFIER.fullmatch(name) for name in names)
        assert chosen.source in ("bbc", "events")
        for product in chosen.products:
            plan_without_data(chosen, product, AS_OF)


@many
@given(name=TEXTS, value=TEXTS)
def test_a_settings_file_is_refused_or_safe(tmp_path: Path, name: str, value: str) -> None:
    quoted, content = json.dumps(name, ensure_ascii=False), json.dumps(value, ensure_ascii=False)
    for text in (
        f"[products.{quoted}]\ntitle = {content}",
        f"[products.food]\ntitle = 'food'\ncategories = [{content}]\nmatch = [{quoted}]",
        f"profile = {content}\n[profiles.{quoted}]\nseed = 3",
        f"{quoted} = {content}",
        value,
    ):
        (tmp_path / "churn.toml").write_text(f"source = 'events'\n{text}", "utf-8")
        try:
            chosen = load_settings(tmp_path, tmp_path / "out")
        except ConfigError:
            continue
        for product in chosen.products:
            assert IDENTIFIER.fullmatch(product)
            assert plan_without_data(chosen, product, AS_OF).schema == f"churn_{product}"


@many
@given(content=st.binary(max_size=40))
def test_a_settings_file_of_any_bytes_is_refused_or_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "churn.toml").write_bytes(content)
    with contextlib.suppress(ConfigError):
        load_settings(tmp_path, tmp_path / "out")


@many
@given(name=ARGUMENTS.filter(lambda text: "=" not in text), value=ARGUMENTS)
def test_the_environment_is_refused_or_safe(place: Path, name: str, value: str) -> None:
    for variable in (f"CHURN_{name}", f"CHURN_PRODUCTS__{name}__TITLE", "CHURN_ID_COLUMN", "CHURN_PROFILE"):
        with mock.patch.dict(os.environ, {variable: value}):
            try:
                chosen = load_settings(place / "data", place / "out")
            except ConfigError:
                continue
        assert all(IDENTIFIER.fullmatch(each) for each in (*chosen.products, chosen.id_column))


# --- statements ---

_schemas = (f"run_food_20240701t000000z_{number}" for number in count(1))


@few
@given(
    match=st.lists(TEXTS, max_size=2),
    categories=st.lists(TEXTS, max_size=3),
    devices=st.lists(TEXTS, max_size=2),
)
@example(match=["'; drop table main.sentinel; --"], categories=WORDS[2:6], devices=WORDS[7:9])
def test_whatever_a_product_matches_is_bound_and_matches_itself(
    place: Path,
    warehouse: DuckDBWarehouse,
    match: list[str],
    categories: list[str],
    devices: list[str],
) -> None:
    try:
        chosen = product_settings(
            place, "food", match=["food", *match], categories=categories, devices=devices
        )
    except ConfigError:
        return
    made = plan_dataset(warehouse, chosen, "food", AS_OF, next(_schemas), today=TODAY)
    try:
        run_steps(warehouse, made)
        found = warehouse.fetch(f"select distinct user_id from {made.schema}.feature_set order by 1")
        assert found["user_id"].to_pylist() == ["ann", "bob", *(["cy"] if "wine" in match else [])]
        assert_unharmed(warehouse)
    finally:
        drop_schema(warehouse, made.schema)


@fewer
@given(
    match=st.lists(TEXTS, max_size=2, unique=True),
    categories=st.lists(TEXTS, max_size=3, unique=True),
    devices=st.lists(TEXTS, max_size=2, unique=True),
)
@example(match=["'; drop table main.sentinel; --"], categories=WORDS[2:6], devices=WORDS[7:9])
def test_whatever_is_written_out_for_reading_is_one_statement_a_step(
    place: Path,
    warehouse: DuckDBWarehouse,
    match: list[str],
    categories: list[str],
    devices: list[str],
) -> None:
    assume("\0" not in "".join([*match, *categories, *devices]))  # no client takes a statement with one
    try:
        chosen = product_settings(place, "food", match=match, categories=categories, devices=devices)
    except ConfigError:
        return
    made = plan_without_data(chosen, "food", AS_OF)
    warehouse.execute(f"create schema {made.schema}")
    try:
        for name, text in rendered_steps(made, "duckdb").items():
            warehouse.execute(text)
            assert warehouse.columns(f"{made.schema}.{name}")
        for text in rendered_steps(made, "redshift").values():
            assert [type(tree).__name__ for tree in sqlglot.parse(text, read="redshift")] == ["Create"]
        assert_unharmed(warehouse)
    finally:
        drop_schema(warehouse, made.schema)


@many
@given(schema=NAMES, table=NAMES)
def test_names_in_a_statement_are_refused_or_names(
    warehouse: DuckDBWarehouse, schema: str, table: str
) -> None:
    safe = all(IDENTIFIER.fullmatch(name) and len(name) <= 63 for name in (schema, table))
    try:
        statement = render("select 1 as a from {{ ref(name) }}", {"name": table}, {}, schema, "redshift")
    except UsageError:
        assert not safe
        return
    except RunError:
        assert "select" in (schema, table)
        return
    assert safe
    tree = sqlglot.parse_one(statement.sql, read="redshift")
    assert [(each.db, each.name) for each in tree.find_all(sqlglot.exp.Table)] == [(schema, table)]


@many
@given(
    value=st.one_of(
        TEXTS,
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False),
        st.dates(),
        st.datetimes(),
        st.none(),
        st.booleans(),
    )
)
def test_a_value_bound_for_the_embedded_warehouse_is_that_value(
    warehouse: DuckDBWarehouse, value: Any
) -> None:
    statement = render("select :value as value", {}, {"value": value}, "run", "duckdb")
    assert warehouse.fetch(statement.sql, statement.parameters)["value"].to_pylist() == [value]


# --- published tables ---


@many
@given(name=NAMES)
@pytest.mark.parametrize("dialect", ["duckdb", "redshift"])
def test_an_id_column_or_group_is_refused_or_a_quoted_name(dialect: Any, name: str) -> None:
    safe = bool(IDENTIFIER.fullmatch(name)) and len(name) <= 63
    try:
        statements = [sql for each in migrations.migrations(dialect, name) for sql in each.statements]
    except UsageError:
        assert not safe or name in ("rank", "feature", "value", "contribution")
    else:
        assert safe
        assert all(len(sqlglot.parse(sql, read=dialect)) == 1 for sql in statements)
        columns = [
            column.this
            for sql in statements
            for column in sqlglot.parse_one(sql, read=dialect).find_all(sqlglot.exp.ColumnDef)
        ]
        assert sum(column.name == name and column.args["quoted"] for column in columns) == 2
    try:
        granted = migrations.grants(REDSHIFT, name)
    except UsageError:
        assert not safe
    else:
        assert safe
        assert all(sql.endswith(f' to group "{name}"') for sql in granted)


@few
@given(product=TEXTS, run_id=HOSTILE, id_column=HOSTILE, path=TEXTS)
@example(product="food", run_id="r1", id_column="user_id", path="s3://bucket/*.parquet")
@example(product="food", run_id="r1", id_column="user_id", path="https://localhost:1/x.parquet")
@example(product="food", run_id="r1", id_column="user_id", path="'); drop table main.sentinel; --")
def test_nothing_hostile_can_be_published(
    warehouse: DuckDBWarehouse, product: str, run_id: str, id_column: str, path: str
) -> None:
    with pytest.raises(ChurnError):
        publish_scores(
            warehouse,
            [path],
            product=product,
            target_week_start=date(2024, 7, 8),
            run_id=run_id,
            started_at=datetime(2024, 7, 1, tzinfo=UTC),
            rows=1,
            id_column=id_column,
            reason_paths=[path],
        )
    assert_unharmed(warehouse)


_INSERT = """
    insert into churn.scores
    values (:user, '2024-07-08', 'x', 'x', 0.5, 0.5, 1, '2024-07-01', 'food', '2024-06-30', 'r', 'v', 0, null, null, null)
"""


@few
@given(users=st.lists(TEXTS, min_size=1, max_size=4))
@example(users=[word for word in WORDS if word.strip() and len(word) <= 250])
def test_whoever_is_erased_nobody_else_is(place: Path, warehouse: DuckDBWarehouse, users: list[str]) -> None:
    here = Settings.model_validate({"data": place / "data", "out": place / "out", "source": "events"})
    keepers = ["keeper", "", "%", "_", *(f"{user}." for user in users)]
    warehouse.execute("delete from churn.scores")
    for user in {*users, *keepers}:
        statement = render(_INSERT, {}, {"user": user}, "churn", "duckdb")
        warehouse.execute(statement.sql, statement.parameters)
    before = warehouse.fetch("select user_id from churn.scores")["user_id"].to_pylist()
    try:
        erased = erase(here, warehouse, users, dry_run=False)
    except UsageError:
        assert any(not user.strip() for user in users)
        erased, users = [], []
    left = warehouse.fetch("select user_id from churn.scores")["user_id"].to_pylist()
    assert sorted(left) == sorted(user for user in before if user not in users)
    assert sum(each.rows for each in erased) == len(before) - len(left)
    assert_unharmed(warehouse)


@many
@given(
    content=st.one_of(st.binary(max_size=60), st.lists(TEXTS).map(lambda lines: "\n".join(lines).encode()))
)
def test_a_file_of_users_is_refused_or_holds_users(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "users").write_bytes(content)
    try:
        users = read_users(tmp_path / "users")
    except UsageError:
        return
    assert users
    assert all(user.strip() and "\n" not in user for user in users)


# --- the lake ---


@many
@given(text=TEXTS)
@example("file:///etc")
@example("memory://x")
@example("s3://b/../../x")
@example("https://example.invalid/x")
@example("~/x")
@example("$HOME/x")
def test_a_lakes_address_is_refused_or_means_what_it_says(tmp_path: Path, text: str) -> None:
    with contextlib.chdir(tmp_path):
        for root in (text, f"file://{text}", f"s3://{text}", f"{tmp_path}/lake/{text}"):
            try:
                store = StoreSettings(lake=root)
            except ValidationError:
                continue
            try:
                lake = Lake(root, store)
            except UsageError:
                continue
            if isinstance(lake.fs, LocalFileSystem):
                said = os.path.expanduser(root.removeprefix("file://"))
                assert os.path.abspath(lake._base or "/") == os.path.abspath(said)
            else:
                assert root.startswith("s3://")


@many
@given(text=TEXTS)
def test_a_run_is_written_below_its_lake_and_nowhere_else(place: Path, text: str) -> None:
    root = f"{place}/lake/{text}"
    inside = f"{os.path.abspath(root)}/".startswith(f"{place}/lake/") and len(os.fsencode(text)) < 200
    if not inside:
        return
    try:
        lake = Lake(root)
        folder = lake.start_run("food", date(2024, 7, 8), "r1")
    except ChurnError:
        return
    assert is_local(lake.fs)
    assert os.path.realpath(folder.base).startswith(os.path.realpath(root) + "/")
    folder.discard()
    assert set(os.listdir(place)) <= {"data", "sentinel", "lake", "out"}


# --- one user ---


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has scored one user, and holds nothing else."""
    run = tmp_path_factory.mktemp("scored")
    (run / "scores").mkdir()
    columns = ["user_id", "predicted_probability", "margin", "target_week_start_date", "as_of", "run_id"]
    row = pa.table({name: ["ann" if name == "user_id" else "x"] for name in columns})
    pq.write_table(row, run / "scores" / "part-00000.parquet")
    return run


@many
@given(user=st.one_of(HOSTILE, ARGUMENTS))
def test_a_user_who_was_not_scored_is_refused_whatever_the_id(scored: Path, user: str) -> None:
    with pytest.raises(UsageError):
        explain_user(str(scored), user)


# --- the command line ---


def _said(arguments: list[str]) -> tuple[int, str]:
    """Call the program with streams like a terminal's: exit code and what it said."""
    out = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    err = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace", write_through=True)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = exit_code(arguments)
    return code, b"".join(stream.buffer.getvalue() for stream in (out, err)).decode()  # type: ignore[attr-defined]  # BytesIO


LINES: dict[str, Callable[[str], list[str]]] = {
    "run --product": lambda text: ["run", "--product", text],
    "run --as-of": lambda text: ["run", "--product", "food", "--as-of", text],
    "backtest --product": lambda text: ["backtest", "--product", text, "--as-of", "2024-06-23", "--json", "f"],
    "backtest --as-of": lambda text: ["backtest", "--product", "food", "--as-of", text, "--json", "f"],
    "render --product": lambda text: ["render", "--product", text],
    "render --step": lambda text: ["render", "--product", "food", "--step", text],
    "render --dialect": lambda text: ["render", "--product", "food", "--dialect", text],
    "explain --product": lambda text: ["explain", "--product", text, "--user", text],
    "explain --user": lambda text: ["explain", "--product", "food", "--user", text],
    "prune --product": lambda text: ["prune", "--keep-weeks", "1", "--yes", "--product", text],
    "an unknown command": lambda text: [f"{text}'"],
}  # fmt: skip


@pytest.mark.parametrize("line", list(LINES))
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=ARGUMENTS)
def test_a_hostile_argument_is_wrong_usage_and_changes_nothing(place: Path, line: str, text: str) -> None:
    before = files_below(place)
    arguments = LINES[line](text)
    folders = ["--data", str(place / "data"), "--out", str(place / "out")]
    takes_out = arguments[0] in ("run", "explain", "prune")
    known = arguments[0] in ("run", "backtest", "render", "explain", "prune")
    code, said = _said([*arguments, *(folders if takes_out else folders[:2] if known else [])])
    assert files_below(place) == before
    assert "Traceback" not in said
    if line == "prune --product" and PRODUCT_NAME.fullmatch(text):
        return  # a product that is no longer made may still have runs
    assert code == 2
    assert re.search(r"^(churn|Error): .", said, re.MULTILINE), said


@pytest.mark.parametrize("command", ["run", "render", "explain", "products", "prune", "migrate", "erase"])
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=ARGUMENTS)
def test_a_hostile_profile_is_refused_and_changes_nothing(place: Path, command: str, text: str) -> None:
    needed = {
        "render": ["--product", "food"],
        "explain": ["--product", "food", "--user", "ann"],
        "prune": ["--keep-weeks", "1", "--yes"],
        "erase": ["--user-file", str(place / "sentinel"), "--yes"],
    }
    before = files_below(place)
    line = [command, *needed.get(command, []), "--data", str(place / "data"), "--profile", text]
    code, said = _said(line)
    assert code == 1
    assert re.search(r"^churn: ", said, re.MULTILINE)
    assert files_below(place) == before


# --- the command line ---


@pytest.mark.parametrize("option", ["--data", "--out"])
@pytest.mark.parametrize("name", ["x" * 300, "/".join(["x" * 200] * 30), os.fsdecode(b"\xff\xfe")])
def test_a_folder_that_no_disk_takes_is_wrong_usage(option: str, name: str) -> None:
    assert exit_code(["run", option, name]) == 2


@pytest.mark.parametrize("name", ["o?", "?", "a?b/out", "o?x=1"])
def test_a_question_mark_in_the_output_folder_is_wrong_usage(place: Path, name: str) -> None:
    """DuckDB and SQLite take what follows it for options: their files would be elsewhere."""
    before = files_below(place)
    for command in (
        ["check"],
        ["run"],
        ["erase", "--user-file", "x"],
        ["explain", "--product", "p", "--user", "u"],
    ):
        code, said = _said([*command, "--data", str(place / "data"), "--out", str(place / name)])
        assert code == 2
        assert "with a question mark in its name: choose another" in said
    assert _said(["demo", "--into", str(place / name)])[0] == 2
    assert files_below(place) == before
    with pytest.raises(RunError, match="its path holds a question mark"):
        DuckDBWarehouse(place / name / "warehouse.duckdb", place / "data")
    with pytest.raises(ConfigError, match="with a question mark in its name"):
        assert Settings(data=place / "data", out=place / name).tracking_uri


@pytest.mark.parametrize("day", ["0001-01-07", "1969-12-28", "9999-12-26", "9999-12-31"])
def test_a_date_that_is_no_time_of_ours_is_wrong_usage(day: str, place: Path) -> None:
    assert exit_code(["run", "--data", str(place / "data"), "--as-of", day]) == 2
    assert exit_code(["simulate", "--into", str(place / "new"), "--end", day]) == 2
