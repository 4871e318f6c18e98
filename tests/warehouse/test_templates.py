import re
from dataclasses import replace
from datetime import date, datetime
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, get_args

import duckdb
import pytest
import sqlglot
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jinja2 import Environment, UndefinedError, meta
from sqlglot import exp
from sqlglot.optimizer.qualify import qualify

from churn.config.settings import Product, Settings
from churn.config.training import TrainingSettings
from churn.core.errors import RunError, UsageError
from churn.dataset.plan import DatasetPlan, plan_without_data, rendered_steps
from churn.features.aggregates import lifetime, weekly
from churn.features.catalogue import catalogue
from churn.sources.availability import ABSENT, Availability, resolve_views
from churn.warehouse import templates
from churn.warehouse.base import Dialect
from churn.warehouse.templates import (
    DISTRIBUTED_BY,
    SORTED_BY,
    STEP_FOLDERS,
    Step,
    canonical_sql,
    create,
    load_step,
    render,
    render_for_humans,
    sql_root,
    steps_for,
)
from tests.support.data_folders import BBC, EVENTS

AS_OF = date(2024, 6, 30)
DIALECTS = get_args(Dialect)
HOSTILE = "x'); drop table scores; --"
FILES = sorted(path.relative_to(sql_root()).as_posix() for path in sql_root().rglob("*.sql"))
AGGREGATES = [
    f"aggregates/{name}.sql" for name in ("week_activity", *weekly.AGGREGATES, "user_life", "user_state")
]
STEP_FILES = [path for path in FILES if path.startswith((*STEP_FOLDERS, "sources/"))] + AGGREGATES

VIDEO = Product(
    title="video",
    match=("television", HOSTILE),
    value_unit="seconds",
    minimum_value=180,
    categories=("Drama", "Religion & Ethics", HOSTILE),
    devices=("smart-tv", HOSTILE + "2"),
    listening=True,
    factors=10,
    follows=("follow", "bookmark"),
    training=TrainingSettings(sampling="cohort", max_dates=4),
)
BARE = Product(title="bare", training=TrainingSettings(sampling="all", max_dates=2))


def planned(source: str, product: Product) -> DatasetPlan:
    chosen = Settings.model_validate(
        {"data": Path("data"), "out": Path("out"), "source": source, "products": {"tv": product}}
    )
    return plan_without_data(chosen, "tv", AS_OF)


def without_options(plan: DatasetPlan) -> DatasetPlan:
    """The same plan on data with nothing optional in it."""
    available = Availability(**dict.fromkeys(ABSENT, False))
    features = catalogue(plan.product, available)
    facts = replace(plan.facts, available=available)
    plan = replace(plan, facts=facts, catalogue=features)
    return replace(plan, steps=steps_for(plan.source, ["feature_set"], plan.names))


def with_every_view(plan: DatasetPlan) -> DatasetPlan:
    """The same plan with the source views too that none of its steps reads."""
    views = resolve_views(plan.source, {}).views
    return replace(plan, steps=steps_for(plan.source, ["feature_set", *views], plan.names))


def with_aggregates(plan: DatasetPlan) -> DatasetPlan:
    """The steps that make the kept tables, as a plan of their own."""
    activity = load_step(f"sources/{plan.source}/activity.sql", {})
    tables = plan.tables
    steps = (activity, *weekly.steps(tables.aggregates), *lifetime.steps(tables.lifetime))
    return replace(plan, schema=tables.aggregates.schema, steps=steps)


PLANS = {
    "bbc, every view": with_every_view(planned("bbc", VIDEO)),
    "bbc, everything": planned("bbc", VIDEO),
    "bbc, any product, nothing optional": without_options(planned("bbc", BARE)),
    "bbc, aggregates": with_aggregates(planned("bbc", VIDEO)),
    "events, every view": with_every_view(planned("events", VIDEO)),
    "events, aggregates": with_aggregates(planned("events", VIDEO)),
    "events, everything": planned("events", VIDEO),
    "events, nothing optional": without_options(planned("events", BARE)),
    "outcomes": planned("bbc", VIDEO).labels("outcomes"),
}
every_plan = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())
every_dialect = pytest.mark.parametrize("dialect", DIALECTS)


def names_of(plan: DatasetPlan, step: Step) -> dict[str, Any]:
    """What a step's template may use."""
    if step.name in (lifetime.LIFETIME, lifetime.LATEST):
        return {**plan.tables.lifetime.names}
    return plan.tables.aggregates.in_templates if step.path.startswith("aggregates/") else plan.names


def values_of(plan: DatasetPlan) -> dict[str, Any]:
    """What a step's statement may bind."""
    days = {"first_day": AS_OF, "last_day": AS_OF}
    weeks = {"first_week": AS_OF, "last_week": AS_OF}
    return {**plan.parameters, **plan.tables.aggregates.values, **days, **weeks}


def trees(plan: DatasetPlan) -> list[tuple[str, exp.Query]]:
    """Each step's query as Redshift is sent it."""
    return _trees(next(name for name, other in PLANS.items() if other is plan))


@cache
def _trees(name: str) -> list[tuple[str, exp.Query]]:
    plan, found = PLANS[name], []
    for step in plan.steps:
        statement = create(step, names_of(plan, step), values_of(plan), plan.schema, "redshift")
        made = sqlglot.parse_one(statement.sql, read="redshift")
        assert isinstance(made, exp.Create)
        assert isinstance(made.expression, exp.Query)
        found.append((step.path, made.expression))
    return found


def test_the_plans_here_render_every_step_file() -> None:
    assert {step.path for plan in PLANS.values() for step in plan.steps} == set(STEP_FILES)


@pytest.mark.parametrize("path", [path for path in FILES if not path.startswith("duckdb/")])
def test_each_file_says_what_it_makes_at_which_grain_from_what(path: str) -> None:
    header = Step("x", path, "table", (sql_root() / path).read_text("utf-8"), frozenset()).header
    starts = [line.split(":")[0] for line in header.splitlines() if re.match(r"[A-Z][a-z]+:", line)]
    assert starts[:3] == ["Makes", "Grain", "From"]
    made = re.search(r"Makes: (\w+), ", header)
    if path in STEP_FILES:
        assert made
        assert made[1] == Path(path).stem


@every_plan
def test_the_header_names_exactly_the_steps_that_are_read(plan: DatasetPlan) -> None:
    everything = {Path(path).stem for path in STEP_FILES}
    for step in plan.steps:
        named = re.search(r"From: (.*?)\.(?: |\n|\Z)", step.header, re.DOTALL)
        assert named
        words = set(re.findall(r"\w+", named[1])) & everything
        if step.name == "feature_rows":
            words |= set(plan.catalogue.steps)
        if step.kind == "table":
            assert step.needs <= words, step.path


@every_plan
@every_dialect
def test_every_statement_is_valid_in_every_dialect(plan: DatasetPlan, dialect: Dialect) -> None:
    for step in plan.steps:
        statement = create(step, names_of(plan, step), values_of(plan), plan.schema, dialect)
        made = sqlglot.parse_one(statement.sql, read=dialect)
        assert isinstance(made, exp.Create), step.path
        assert made.kind == step.kind.upper()


@every_dialect
def test_every_statement_written_out_for_reading_is_valid(dialect: Dialect) -> None:
    for name, text in rendered_steps(PLANS["bbc, everything"], dialect).items():
        assert text.startswith("-- Makes: "), name
        assert isinstance(sqlglot.parse_one(text, read=dialect), exp.Create), name


LAYOUTS = {
    "user_week": "distkey(user_id) sortkey(week_start)",
    "user_item_week": "distkey(user_id) sortkey(week_start)",
    "week_activity": "distkey(user_id) sortkey(week_start)",
    "user_life": "distkey(user_id) sortkey(week_start)",
    "user_state": "distkey(user_id) sortkey(week_start)",
    "week_facts": "diststyle auto sortkey(week_start)",
    "week_users": "diststyle auto sortkey(week_start)",
    "genre_schedule": "diststyle auto sortkey(as_of_date)",
    "other_week": "distkey(user_id) sortkey(week_start)",
    "series_state": "diststyle auto sortkey(as_of_date)",
    "title_state": "diststyle auto sortkey(as_of_date)",
}
USUAL_LAYOUT = "distkey(user_id) sortkey(as_of_date)"


@every_plan
def test_redshift_lays_each_table_out_by_columns_that_it_has(plan: DatasetPlan) -> None:
    for step in plan.steps:
        statement = create(step, names_of(plan, step), values_of(plan), plan.schema, "redshift").sql
        made = sqlglot.parse_one(statement, read="redshift")
        keys = made.find_all(exp.DistKeyProperty, exp.SortKeyProperty)
        columns = {column.name for key in keys for column in key.find_all(exp.Identifier)}
        if step.kind == "view":
            assert not columns
            assert statement.startswith(f"create view {plan.schema}.{step.name} as\n")
            assert statement.endswith("\nwith no schema binding")
        else:
            assert columns <= set(made.expression.named_selects)
            layout = LAYOUTS.get(step.name, USUAL_LAYOUT)
            assert statement.startswith(f"create table {plan.schema}.{step.name}\n{layout} as\n")


def test_every_column_that_tables_are_laid_out_by_is_made_by_a_step() -> None:
    made = {name for plan in PLANS.values() for _, tree in trees(plan) for name in tree.named_selects}
    assert {DISTRIBUTED_BY, *SORTED_BY} <= made


def test_a_table_without_such_columns_is_left_to_redshift() -> None:
    step = Step("x", "features/x.sql", "table", "select 1 as user, 2 as week", frozenset())
    assert create(step, {}, {}, "run", "redshift").sql.startswith("create table run.x\ndiststyle auto as\n")


@every_plan
@pytest.mark.parametrize("dialect", ["duckdb", "postgres"])
def test_only_redshift_is_told_a_layout(plan: DatasetPlan, dialect: Dialect) -> None:
    for step in plan.steps:
        for text in (
            create(step, names_of(plan, step), values_of(plan), plan.schema, dialect).sql,
            render_for_humans(step, names_of(plan, step), values_of(plan), plan.schema, dialect),
        ):
            assert not re.search(r"distkey|sortkey|diststyle|schema binding", text, re.I), step.path
            assert f"create {step.kind} {plan.schema}.{step.name} as\n" in text


def test_what_is_written_out_for_reading_is_laid_out_as_what_is_run() -> None:
    plan = PLANS["bbc, everything"]
    texts = rendered_steps(plan, "redshift")
    for name, step in steps_of(plan).items():
        text = texts[name]
        run = create(step, names_of(plan, step), values_of(plan), plan.schema, "redshift").sql
        head = run[: run.index(" as\n")]
        assert f"\n{head} as\n" in text
        assert text.endswith("\nwith no schema binding;\n") == (step.kind == "view")


def test_a_step_that_is_no_query_is_refused() -> None:
    step = Step("x", "features/x.sql", "table", "delete from run.y", frozenset())
    with pytest.raises(RunError, match=r"features/x\.sql is no query"):
        create(step, {}, {}, "run", "duckdb")


FORBIDDEN_NODES = (
    exp.GroupConcat,
    exp.IgnoreNulls,
    exp.Merge,
    exp.Pivot,
    exp.ApproxDistinct,
    exp.Rand,
    exp.CurrentDate,
    exp.CurrentTimestamp,
    exp.CurrentTime,
    exp.DateDiff,  # only whole days are counted, and dates subtract
    exp.Qualify,
    exp.Lateral,
)
FORBIDDEN_WORDS = re.compile(
    r"\b(sysdate|getdate|random|now|fnv_hash|listagg|exclude|trunc|approximate|datediff|dateadd|merge|pivot)\b"
    r"|#\w|\bignore\s+nulls\b|select\s+\*",
    re.IGNORECASE,
)


@pytest.mark.parametrize("path", [path for path in FILES if not path.startswith("duckdb/")])
def test_no_file_says_what_engines_read_differently(path: str) -> None:
    code = re.sub(r"--[^\n]*", "", (sql_root() / path).read_text("utf-8"))
    assert not FORBIDDEN_WORDS.search(code), FORBIDDEN_WORDS.search(code)


def _counts_or_takes_whole_rows(star: exp.Star) -> bool:
    """`count(*)`, and `select distinct *`, which takes each different row of a source table once."""
    parent = star.parent
    whole = isinstance(parent, exp.Select) and parent.args.get("distinct") is not None
    return isinstance(parent, exp.Count) or whole


@every_plan
def test_no_statement_uses_what_engines_do_differently(plan: DatasetPlan) -> None:
    for path, tree in trees(plan):
        found = [node.sql() for node in tree.find_all(*FORBIDDEN_NODES)]
        assert not found, path
        stars = [star for star in tree.find_all(exp.Star) if not _counts_or_takes_whole_rows(star)]
        assert not stars, path


@every_plan
def test_no_statement_uses_a_column_that_the_same_select_names(plan: DatasetPlan) -> None:
    schema: dict[str, dict[str, dict[str, str]]] = {
        "events": {"activity": dict.fromkeys(EVENTS.names, "text")}
    }
    for table, columns in BBC.items():
        schema.setdefault(table.split(".")[0], {})[table.split(".")[1]] = dict.fromkeys(columns.names, "text")
    own = schema.setdefault(plan.schema, {})
    tables = plan.tables
    weekly = schema.setdefault(tables.aggregates.schema, {})
    weekly[tables.lifetime.name(lifetime.LATEST)] = dict.fromkeys(
        lifetime.columns(tables.lifetime.names), "text"
    )
    for path, tree in trees(PLANS[f"{plan.source}, aggregates"]):
        name = Path(path).stem
        made = tables.lifetime if name in (lifetime.LIFETIME, lifetime.LATEST) else tables.aggregates
        weekly[made.name(name)] = dict.fromkeys(tree.named_selects, "text")
    if plan.steps[-1].name == "snapshots":  # reads feature rows that were made before
        own["feature_rows"] = dict.fromkeys(("user_id", "as_of_date"), "text")
    for path, tree in trees(plan):
        # Without expansion, a name that only the same select's list makes cannot be resolved.
        qualified = qualify(tree.copy(), dialect="redshift", schema=schema, expand_alias_refs=False)
        assert qualified.named_selects == tree.named_selects
        own[Path(path).stem] = dict.fromkeys(tree.named_selects, "text")


def test_the_check_on_column_names_finds_one_that_the_same_select_makes() -> None:
    tree = sqlglot.parse_one("select a + 1 as b, b * 2 as c from s.t", read="redshift")
    with pytest.raises(sqlglot.errors.OptimizeError, match="'b' could not be resolved"):
        qualify(tree, dialect="redshift", schema={"s": {"t": {"a": "int"}}}, expand_alias_refs=False)


@every_plan
def test_integers_are_divided_only_where_the_result_is_whole_or_a_side_is_a_double(plan: DatasetPlan) -> None:
    for path, tree in trees(plan):
        for division in tree.find_all(exp.Div):
            sides = division.this.sql() + division.expression.sql()
            whole = division.expression.sql() == "7"  # days of a span that is whole weeks
            double = "DOUBLE" in sides or any(
                name in sides
                for name in ("sum_", "slope", "intercept")  # cast where they are made
            )
            assert whole or double, f"{path}: {division.sql()}"


STEP = Step(
    "x", "features/x.sql", "table", "-- Makes: x.\nselect a, b from {{ ref('y') }} where a > 1", frozenset()
)


@pytest.mark.parametrize(
    "text",
    [
        "select a, b from {{ ref('y') }} where a > 1",
        "-- Makes: another.\n-- Grain: row.\nselect a, b from {{ ref('y') }} where a > 1",
        "select a, -- the first\n b /* the second */ from {{ ref('y') }} where a > 1 -- the end",
        "{# macros -#}\nselect a, b {# both #} from {{ ref('y') }} where a > 1\n",
        "select\n    a,\n    b\nfrom {{ ref('y') }}\n\nwhere\n    a > 1",
    ],
    ids=["no header", "another header", "line and block comments", "comments of the template", "white space"],
)
def test_comments_and_white_space_do_not_change_what_a_digest_is_of(text: str) -> None:
    assert canonical_sql(replace(STEP, text=text), {}) == canonical_sql(STEP, {})


@pytest.mark.parametrize(
    "change", [("a > 1", "a > 2"), ("a, b", "b, a"), ("a > 1", "a > '1'"), ("'y'", "'z'")]
)
def test_other_sql_changes_what_a_digest_is_of(change: tuple[str, str]) -> None:
    assert canonical_sql(replace(STEP, text=STEP.text.replace(*change)), {}) != canonical_sql(STEP, {})


@every_plan
def test_a_digest_is_of_every_step_without_its_comments(plan: DatasetPlan) -> None:
    for step in plan.steps:
        commented = f"-- A comment's mark.\n{step.text}\n/* a block's end */ -- and a line's\n"
        text = canonical_sql(step, names_of(plan, step))
        assert "--" not in text
        assert canonical_sql(replace(step, text=commented), names_of(plan, step)) == text


def test_only_changed_sql_changes_the_names_of_kept_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    def digests(old: str, new: str) -> list[str]:
        text_of = templates._read.__wrapped__
        monkeypatch.setattr(templates, "_read", lambda path: text_of(path).replace(old, new))
        tables = planned("bbc", VIDEO).tables
        monkeypatch.undo()
        return [made.digest for made in (tables.aggregates, tables.lifetime, tables.rows)]

    before = digests("", "")
    assert digests("-- Grain: ", "-- Another line.\n-- Grain: ") == before
    assert digests("group by", "/* by */ group   by") == before
    assert not set(digests("count(*)", "count(1)")) & set(before)


def steps_of(plan: DatasetPlan) -> dict[str, Step]:
    return {step.name: step for step in plan.steps}


@every_plan
def test_steps_come_after_what_they_need(plan: DatasetPlan) -> None:
    made = {"feature_rows"} if plan is PLANS["outcomes"] else set()  # which users were scored by
    for step in plan.steps:
        assert step.needs <= made, step.name
        assert step.name not in made
        made.add(step.name)
    TopologicalSorter({step.name: step.needs for step in plan.steps}).prepare()  # raises on a cycle


def test_steps_are_a_graph_and_not_a_chain() -> None:
    steps = steps_of(PLANS["bbc, everything"])
    features = {name for name in steps if name.startswith("features_")}
    assert len(features) == 22
    # What is made of shares is made from them, so that there is one definition of a share.
    assert {name for name in features if steps[name].needs & features} == {"features_schedule"}
    sorter = TopologicalSorter({name: step.needs for name, step in steps.items()})
    sorter.prepare()
    rounds = []
    while sorter.is_active():
        rounds.append(set(sorter.get_ready()))
        sorter.done(*rounds[-1])
    assert max(len(ready) for ready in rounds) >= 6
    assert rounds[-1] == {"feature_set"}


@every_plan
def test_only_one_step_reads_raw_activity(plan: DatasetPlan) -> None:
    readers = {name for name, step in steps_of(plan).items() if "activity" in step.needs}
    assert readers <= {"week_activity"}


def test_switches_take_away_what_is_not_there() -> None:
    steps = steps_of(PLANS["events, nothing optional"])
    assert set(steps) == {
        "user_week",
        "eligible",
        "window_sums",
        "features_activity",
        "features_trend",
        "features_lifetime",
        "features_memory",
        "features_shares",
        "feature_rows",
        "snapshots",
        "feature_set",
    }
    assert steps["eligible"].needs == {"user_week"}
    assert steps["snapshots"].needs == {"feature_rows"}
    assert "profile" in steps_of(PLANS["bbc, everything"])["eligible"].needs
    assert "profile" in steps_of(PLANS["bbc, everything"])["snapshots"].needs


def test_the_outcomes_need_the_label_and_nothing_else() -> None:
    assert set(steps_of(PLANS["outcomes"])) == {"profile", "snapshots"}


def test_a_step_that_no_file_makes_is_named() -> None:
    with pytest.raises(
        RunError,
        match="no SQL file makes 'nothing': looked in dataset, intermediate, features and sources/bbc",
    ):
        steps_for("bbc", ["nothing"], {})


def test_a_step_that_needs_itself_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = tmp_path / "features"
    steps.mkdir()
    (steps / "a_one.sql").write_text("select * from {{ ref('a_two') }}", "utf-8")
    (steps / "a_two.sql").write_text("select * from {{ ref('a_one') }}", "utf-8")
    monkeypatch.setattr("churn.warehouse.templates.sql_root", lambda: tmp_path)
    with pytest.raises(CycleError):
        steps_for("bbc", ["a_one"], {})


@pytest.mark.parametrize("text", ["select {{ nothing }}", "{% if nothing %}select 1{% endif %}"])
def test_an_undefined_name_is_an_error(text: str) -> None:
    with pytest.raises(UndefinedError, match="'nothing' is undefined"):
        render(text, {}, {}, "run", "duckdb")


@every_plan
def test_every_name_that_a_file_uses_is_given(plan: DatasetPlan) -> None:
    for step in plan.steps:
        used = meta.find_undeclared_variables(Environment().parse(step.text))
        assert used <= names_of(plan, step).keys() | {"ref"}, step.path


def test_a_value_that_is_not_given_is_an_error() -> None:
    with pytest.raises(RunError, match="binds unknown parameters: also, missing"):
        render("select :missing, :also, :known", {}, {"known": 1}, "run", "duckdb")


def test_only_values_that_are_used_are_bound() -> None:
    statement = render("select :a as a", {}, {"a": 1, "b": 2}, "run", "duckdb")
    assert (statement.sql, dict(statement.parameters)) == ("SELECT\n  $a AS a", {"a": 1})


@every_plan
@every_dialect
def test_values_are_bound_and_never_part_of_the_text(plan: DatasetPlan, dialect: Dialect) -> None:
    bound: set[Any] = set()
    for step in plan.steps:
        statement = create(step, names_of(plan, step), values_of(plan), plan.schema, dialect)
        assert "drop table" not in statement.sql.lower(), step.path
        for value in (*statement.parameters.values(), *plan.product.match, *plan.product.categories):
            if isinstance(value, str):
                assert f"'{value}'" not in statement.sql, step.path
            if isinstance(value, date):
                assert value.isoformat() not in statement.sql, step.path
        bound |= set(statement.parameters.values())
    assert plan.windows.as_of in bound
    if plan.schema != plan.tables.aggregates.schema:
        assert set(plan.product.match) <= bound


@pytest.mark.parametrize("schema", ["run; drop schema x", 'run"', "Run", ""])
def test_a_schema_that_is_no_identifier_is_refused(schema: str) -> None:
    step = Step("x", "features/x.sql", "table", "select 1 as a", frozenset())
    with pytest.raises(UsageError):
        render(step.text, {}, {}, schema, "duckdb")
    with pytest.raises(UsageError):
        create(step, {}, {}, schema, "duckdb")
    with pytest.raises(UsageError):
        render_for_humans(step, {}, {}, schema, "duckdb")


def test_a_reference_that_is_no_identifier_is_refused() -> None:
    with pytest.raises(UsageError):
        render("select 1 from {{ ref('a; drop table b') }}", {}, {}, "run", "duckdb")


@settings(max_examples=25)
@given(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])))
@example(HOSTILE)
@example("it's")
@example("back\\slash\\'")
@example('"quoted" -- and /* not */ a comment')
@example("{{ nothing }} :name $name %(name)s ?")
def test_a_text_written_out_for_reading_is_the_text(value: str) -> None:
    step = Step("x", "features/x.sql", "table", "-- Makes: x.\nselect :value as value", frozenset())
    text = render_for_humans(step, {}, {"value": value}, "main", "duckdb")
    with duckdb.connect() as connection:
        connection.execute(text)
        assert connection.execute("select value from main.x").fetchall() == [(value,)]
        # A view cannot bind what it compares with.
        shown = create(replace(step, kind="view", name="shown"), {}, {"value": value}, "main", "duckdb")
        connection.execute(shown.sql)
        assert (shown.parameters, connection.execute("select value from main.shown").fetchall()) == (
            {},
            [(value,)],
        )
    for dialect in DIALECTS:
        text = render_for_humans(step, {}, {"value": value}, "main", dialect)
        made = sqlglot.parse_one(text, read=dialect)
        assert [node.this for node in made.find_all(exp.Literal)] == [value]


def test_dates_and_numbers_are_written_out_for_reading() -> None:
    text = "select cast(:day as date) as day, cast(:at as timestamp) as at, :number as number, :none as none"
    values = {"day": AS_OF, "at": datetime(2024, 6, 30, 12, 30), "number": 180.5, "none": None}
    step = Step("x", "features/x.sql", "table", text, frozenset())
    with duckdb.connect() as connection:
        connection.execute(render_for_humans(step, {}, values, "main", "duckdb"))
        assert connection.execute("from main.x").fetchall() == [tuple(values.values())]
