"""From SQL files to statements: templates, dependencies, dialects.

Every statement of any length is a file under ``sql/``, a Jinja template in Redshift's dialect. A step's
dependencies are the ``ref(...)`` calls it makes, so the graph cannot differ from the SQL. Values are
bound parameters (``:as_of``); names pass ``identifier``; an undefined name is an error.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache, lru_cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Literal

import sqlglot
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, TemplateError
from sqlglot import exp
from sqlglot.errors import ParseError

from churn.core.errors import RunError
from churn.core.names import identifier
from churn.warehouse.base import Dialect, Values
from churn.warehouse.quoting import literal, qualified

_HEADER = re.compile(r"\A((?:--[^\n]*\n)+)")
# Redshift's layout of a table with these columns: a user's rows lie together, as nearly every join is by
# user, sorted by the dates that queries select ranges of.
DISTRIBUTED_BY = "user_id"
SORTED_BY = ("week_start", "as_of_date")
# Folders of a plan's steps. `aggregates/` is computed separately, week by week.
STEP_FOLDERS = ("dataset", "intermediate", "features")


@cache
def sql_root() -> Path:
    """Return the folder of SQL files: in the installed package, or in a checkout."""
    packaged = Path(__file__).parents[1] / "_sql"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "sql"


@dataclass(frozen=True)
class Step:
    """One SQL file that makes one table or view.

    Attributes:
        name: the table's name within the run's schema.
        path: the file, relative to ``sql/``.
        kind: ``view`` for source mappings and where the file sets ``materialized`` to it, else ``table``.
        text: the template.
        needs: names of the steps it reads.
    """

    name: str
    path: str
    kind: Literal["view", "table"]
    text: str
    needs: frozenset[str]

    @property
    def header(self) -> str:
        """The comment at the top of the file: what it makes, at which grain, from what."""
        comment = _HEADER.match(self.text)
        return "\n".join(line[2:].strip() for line in comment[1].splitlines()) if comment else ""


@dataclass(frozen=True)
class Statement:
    """SQL in one dialect with the values of its bound parameters."""

    sql: str
    parameters: Values


@cache
def _environment() -> Environment:
    # The output is SQL, not HTML; values never pass through the template (they are bound).
    return Environment(
        loader=FileSystemLoader(sql_root()),  # templates may import macros
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


@lru_cache(maxsize=1024)
def _template(text: str) -> Template:
    """Compile a template; it takes ten times as long as rendering it."""
    return _environment().from_string(text)


@cache
def _read(path: str) -> str:
    return (sql_root() / path).read_text("utf-8")


def load_step(path: str, names: Values) -> Step:
    """Read one file under ``sql/`` as a step; it needs what it calls ``ref`` with, given ``names``."""
    return _step(identifier(Path(path).stem), path, _read(path), names)


def _step(name: str, path: str, text: str, names: Values) -> Step:
    needs: set[str] = set()

    def ref(name: str) -> str:
        needs.add(identifier(name))
        return name

    module = _template(text).make_module({**names, "ref": ref})
    is_view = path.startswith("sources/") or getattr(module, "materialized", "table") == "view"
    kind: Literal["view", "table"] = "view" if is_view else "table"
    return Step(name, path, kind, text, frozenset(needs))


def own_step(name: str, text: str, names: Values) -> Step:
    """Return a step from the text of a file outside ``sql/``.

    Raises:
        RunError: the template is wrong, or names something that templates do not have.
    """
    try:
        return _step(identifier(name), f"{name}.sql", text, names)
    except TemplateError as error:
        raise RunError(f"the template is wrong: {error}") from error


def columns_of(step: Step, names: Values, parameters: Values) -> Sequence[str]:
    """Return the names of a step's columns, as its query states them: ``*`` is one of them.

    Raises:
        RunError: it is no query, or binds unknown parameters.
    """
    return _query(step, names, parameters, "run", "redshift")[0]


def step_path(name: str, source: str) -> str:
    """Return the file, relative to ``sql/``, that makes a step or a view of a source.

    Raises:
        RunError: there is none.
    """
    for folder in (*STEP_FOLDERS, f"sources/{source}"):
        if (sql_root() / folder / f"{name}.sql").is_file():
            return f"{folder}/{name}.sql"
    folders = ", ".join(STEP_FOLDERS)
    raise RunError(f"no SQL file makes {name!r}: looked in {folders} and sources/{source} of {sql_root()}")


def canonical_sql(step: Step, names: Values) -> str:
    """Return a step's rendered SQL for a digest: comments and white space do not change it."""
    return _without_comments(_template(step.text).render(**names, ref=identifier))


@lru_cache(512)
def _without_comments(query: str) -> str:
    """Return a query's tokens with one space between them; a parse would take three times as long."""
    return " ".join(
        literal(token.text) if token.token_type.name == "STRING" else token.text
        for token in sqlglot.tokenize(query, read="redshift")
    )


def steps_for(source: str, wanted: Iterable[str], names: Values) -> tuple[Step, ...]:
    """Return the wanted steps and all that they need, each after those that it needs.

    Args:
        source: which ``sql/sources/<source>`` maps the raw tables.
        wanted: names of steps.
        names: what the templates may use, which may switch a dependency on or off. ``own_steps``, if there,
            has the texts of steps without a file under ``sql/``, by name.

    Raises:
        RunError: a step is needed that has no file.
    """
    own = names.get("own_steps", {})
    steps: dict[str, Step] = {}
    waiting = list(wanted)
    while waiting:
        name = waiting.pop()
        if name not in steps:
            if name in own:
                steps[name] = own_step(name, own[name], names)
            else:
                steps[name] = load_step(step_path(name, source), names)
            waiting.extend(steps[name].needs)
    graph = {name: sorted(steps[name].needs) for name in sorted(steps)}
    return tuple(steps[name] for name in TopologicalSorter(graph).static_order())


def render(text: str, names: Values, parameters: Values, schema: str, dialect: Dialect) -> Statement:
    """Render a template into one statement.

    Args:
        text: template in Redshift's dialect.
        names: what the template may use besides ``ref``: lists of validated names, flags, numbers.
        parameters: values that the statement may bind; only those it uses are returned.
        schema: the run's schema, which ``ref('x')`` is qualified with.
        dialect: dialect of the result.
    """
    layout = {"redshift": dialect == "redshift"}  # whether a table is given Redshift's keys
    return _bound(_translated(_filled(text, layout | dict(names), schema), dialect), parameters)


def _filled(text: str, names: Values, schema: str) -> str:
    schema = identifier(schema)
    return _template(text).render(**names, ref=lambda name: f"{schema}.{identifier(name)}")


def _parsed(query: str) -> exp.Expr:
    try:
        return sqlglot.parse_one(query, read="redshift")
    except ParseError as error:  # a name that is a word of SQL, such as a schema called `select`
        raise RunError(f"a statement is not SQL: {str(error).splitlines()[0]}") from error


@dataclass(frozen=True)
class _Translated:
    """A statement in a dialect, the parameters that it binds, and the columns of a query."""

    sql: str
    used: tuple[str, ...]
    columns: tuple[str, ...] | None


@lru_cache(512)
def _translated(query: str, dialect: Dialect) -> _Translated:
    """Translate a statement; publishing and the weekly aggregates run the same ones many times."""
    tree = _parsed(query)
    used = tuple(sorted({node.name for node in tree.find_all(exp.Placeholder)}))
    columns = tuple(tree.named_selects) if isinstance(tree, exp.Query) else None
    return _Translated(_written(tree, dialect), used, columns)


def _bound(translated: _Translated, parameters: Values) -> Statement:
    missing = sorted(set(translated.used) - parameters.keys())
    if missing:
        raise RunError(f"the statement binds unknown parameters: {', '.join(missing)}")
    return Statement(translated.sql, {name: parameters[name] for name in translated.used})


def _written(tree: exp.Expr, dialect: Dialect) -> str:
    """Return a tree as SQL; Redshift's without backslashes, which ``quoting.bind`` refuses."""
    if dialect == "redshift":
        tree = tree.transform(
            lambda node: exp.Var(this=literal(node.this)) if _needs_escapes(node) else node, copy=False
        )
    return tree.sql(dialect=dialect, pretty=True, comments=False, copy=False)


def _needs_escapes(node: Any) -> bool:
    return (
        isinstance(node, exp.Literal) and node.is_string and not re.fullmatch(r"[^'\\\x00-\x1f]*", node.this)
    )


def create(
    step: Step, names: Values, parameters: Values, schema: str, dialect: Dialect, *, into: str | None = None
) -> Statement:
    """Render the statement that makes a step's table or view, in the schema ``into`` if given."""
    columns, body = _query(step, names, parameters, schema, dialect)
    if step.kind == "view" and body.parameters:  # a view cannot bind parameters
        body = Statement(_written(_with_values(step, names, parameters, schema), dialect), {})
    return Statement(_create(step, into or schema, columns, body.sql, dialect), body.parameters)


def insert(
    step: Step, names: Values, parameters: Values, schema: str, table: str, dialect: Dialect
) -> Statement:
    """Render the statement that adds the rows of a step's query to a table that has its columns."""
    columns, body = _query(step, names, parameters, schema, dialect)
    listed = ", ".join(identifier(name) for name in columns)
    return Statement(f"insert into {qualified(table)} ({listed})\n{body.sql}", body.parameters)


def create_empty(
    step: Step, names: Values, parameters: Values, schema: str, table: str, dialect: Dialect
) -> Statement:
    """Render the statement that makes a table with a step's columns and no rows."""
    columns, body = _query(step, names, parameters, schema, dialect)
    start = f"create table {qualified(table)}{_layout(columns, dialect)} as"
    return Statement(f"{start}\nselect * from (\n{body.sql}\n) as shape where 1 = 0", body.parameters)


def create_table(table: str, columns: Mapping[str, str], dialect: Dialect) -> str:
    """Return ``create table if not exists`` for columns with Redshift's types."""
    listed = ", ".join(f"{identifier(name)} {kind}" for name, kind in columns.items())
    tree = sqlglot.parse_one(f"create table if not exists {qualified(table)} ({listed})", read="redshift")
    return tree.sql(dialect=dialect) + _layout(tuple(columns), dialect)


def render_for_humans(step: Step, names: Values, parameters: Values, schema: str, dialect: Dialect) -> str:
    """Return a step's statement with its values as literals, for a person to read or paste."""
    columns, _ = _query(step, names, parameters, schema, dialect)
    filled = _with_values(step, names, parameters, schema)
    body = filled.sql(dialect=dialect, pretty=True, comments=False)
    header = "".join(f"-- {line}\n" for line in step.header.splitlines())
    return f"{header}{_create(step, schema, columns, body, dialect)};\n"


def _with_values(step: Step, names: Values, parameters: Values, schema: str) -> exp.Expr:
    filled: exp.Expr = _parsed(_filled(step.text, names, schema)).transform(
        lambda node: _literal(parameters[node.name]) if isinstance(node, exp.Placeholder) else node
    )
    return filled


def _query(
    step: Step, names: Values, parameters: Values, schema: str, dialect: Dialect
) -> tuple[Sequence[str], Statement]:
    """Return the columns and the text of a step's query."""
    translated = _translated(_filled(step.text, names, schema), dialect)
    if translated.columns is None:
        raise RunError(f"{step.path} is no query: write one `select`, of which a {step.kind} is made")
    return translated.columns, _bound(translated, parameters)


def _create(step: Step, schema: str, columns: Sequence[str], body: str, dialect: Dialect) -> str:
    start = f"create {step.kind} {identifier(schema)}.{step.name}"
    if step.kind == "table":
        return f"{start}{_layout(columns, dialect)} as\n{body}"
    # A view that binds late can read external tables, and its tables can be replaced.
    return f"{start} as\n{body}" + ("\nwith no schema binding" if dialect == "redshift" else "")


def _layout(columns: Sequence[str], dialect: Dialect) -> str:
    """Return Redshift's distribution and sort keys of a table, on a line of their own."""
    if dialect != "redshift":
        return ""
    distributed = f"distkey({DISTRIBUTED_BY})" if DISTRIBUTED_BY in columns else "diststyle auto"
    sorted_by = ", ".join(name for name in SORTED_BY if name in columns)
    return f"\n{distributed} sortkey({sorted_by})" if sorted_by else f"\n{distributed}"


def _literal(value: Any) -> Any:
    if isinstance(value, date | datetime):
        return exp.Literal.string(value.isoformat())
    return exp.convert(value)
